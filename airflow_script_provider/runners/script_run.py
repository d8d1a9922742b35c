"""What every executor is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from airflow_script_provider.kube.logs.output import DEFAULT_MAX_OUTPUT
from airflow_script_provider.kube.request.payload import Payload
from airflow_script_provider.spec import choice

if TYPE_CHECKING:
    from airflow_script_provider.result import ScriptResult
    from airflow_script_provider.script import Script
    from airflow_script_provider.sources.base import ScriptSource

GRACE = 10.0
"""Seconds between TERM and KILL for what is ended by a timeout or by Ctrl+C."""


class Screen(Protocol):
    """Where output goes as it comes."""

    def stdout(self, data: bytes) -> None:
        """Bytes of the script's stdout; of a terminal all there is."""

    def stderr(self, data: bytes) -> None:
        """Bytes of the script's stderr."""

    def note(self, text: str, *, important: bool = False) -> None:
        """A line of ours; one that is not important is for people who watch."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a script is to run, as far as that was said; each executor reads what it knows.

    ``service`` and ``project`` are Docker Compose's, ``container`` is a running one's name, in a pod or not.
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
    """One run. ``interactive`` passes our stdin on, ``terminal`` gives the script a terminal; seconds in ``timeout``.

    ``job_arguments`` are what else the operator's own path is told.
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
    place: Target = field(default_factory=Target)
    job_arguments: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def script(self) -> Script:
        """The script, read once."""
        return self.source.fetch(folder=self.folder)

    @cached_property
    def file_contents(self) -> dict[str, Script]:
        """The files beside it, by relative path, read once."""
        return {path: source.fetch(folder=self.folder) for path, source in self.files.items()}

    def payload(self, program: str) -> Payload:
        """Arguments and environment, checked; psql takes ``args`` in a form of its own."""
        return Payload.of(self.args, self.arguments, self.env, as_psql_variables=program == "psql")


def missing_setting(executor: str, place: Target) -> str | None:
    """What nobody has said that this executor must know, None where it knows enough."""
    if executor == choice.KUBERNETES and place.deployment is None:
        return "neither the task's component nor --deployment says in whose pod"
    if executor == choice.CONTAINER and not (place.container or place.service or place.image):
        return "neither the task's component nor --container or --image says in which container"
    return None


class Runner(Protocol):
    """One place where scripts run."""

    def unavailable(self, task: ScriptRun) -> str | None:
        """Why this task cannot run there, None if it can."""

    def run(self, task: ScriptRun, screen: Screen) -> ScriptResult:
        """Run to the end; ``KeyboardInterrupt`` once everything is ended that Ctrl+C was to end."""
