"""One run of the command line: script, values, target, and the interface of a runner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from airflow_script_provider.kube.logs.output import DEFAULT_MAX_OUTPUT
from airflow_script_provider.kube.request.payload import Payload
from airflow_script_provider.kube.request.sizes import check_script
from airflow_script_provider.sources.base import fetch_file
from airflow_script_provider.spec import choice

if TYPE_CHECKING:
    from airflow_script_provider.result import ScriptResult
    from airflow_script_provider.script import Script
    from airflow_script_provider.sources.base import ScriptSource

GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL when a timeout or Ctrl+C ends the script."""


class Screen(Protocol):
    """Shows output as it arrives."""

    def stdout(self, data: bytes) -> None:
        """Show bytes of the script's stdout; on a terminal this is all output."""

    def stderr(self, data: bytes) -> None:
        """Show bytes of the script's stderr."""

    def note(self, text: str, *, important: bool = False) -> None:
        """Show a line of our own. An unimportant one is only shown to people who watch."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a script is to run, as far as the user has set it.

    Each runner reads the fields it knows.

    ``service`` and ``project`` are Docker Compose's. ``container`` is the name of a running
    container, or of a container in the pod. ``pod_container`` is the task file's name for the
    latter.
    """

    deployment: str | None = None
    container: str | None = None
    pod_container: str | None = None
    service: str | None = None
    project: str | None = None
    image: str | None = None
    namespace: str | None = None
    context: str | None = None
    conn_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class ScriptRun:
    """One run of a script.

    ``interactive`` passes our stdin on, ``terminal`` gives the script a terminal. ``timeout`` is
    in seconds. ``job_arguments`` are further arguments of the operator, for a Job.
    """

    source: ScriptSource
    folder: str | None = None
    args: Any = None
    arguments: Sequence[str] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, ScriptSource] = field(default_factory=dict)
    interpreter: Sequence[str] | None = None
    working_dir: str | None = None
    timeout: float | None = None
    interactive: bool = False
    terminal: bool = False
    max_output_bytes: int = DEFAULT_MAX_OUTPUT
    target: Target = field(default_factory=Target)
    job_arguments: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def script(self) -> Script:
        """The script; it is read once. Raises ``ValueError`` if it has nothing to run."""
        script = self.source.fetch(folder=self.folder).as_run()
        check_script(script)
        return script

    @cached_property
    def file_contents(self) -> dict[str, Script]:
        """The files beside the script, by relative path; they are read once."""
        return {path: fetch_file(source, path, self.folder) for path, source in self.files.items()}

    def payload(self, program: str) -> Payload:
        """Arguments and environment, checked. For psql, ``args`` become variables."""
        return Payload.of(self.args, self.arguments, self.env, as_psql_variables=program == "psql")


def missing_setting(executor: str, target: Target) -> str | None:
    """Which setting this executor lacks, None if it has all that it needs."""
    if executor == choice.KUBERNETES and target.deployment is None:
        return "no Deployment is set; set the task's component, or --deployment"
    if executor == choice.CONTAINER and not (target.container or target.service or target.image):
        return "no container is set; set the task's component, --container or --image"
    return None


class Runner(Protocol):
    """Runs scripts in one kind of place."""

    def why_unavailable(self, script_run: ScriptRun) -> str | None:
        """Why the script cannot run in this place, None if it can."""

    def run(self, script_run: ScriptRun, screen: Screen) -> ScriptResult:
        """Run the script to its end.

        ``KeyboardInterrupt`` is raised after everything that Ctrl+C must end has ended.
        """
