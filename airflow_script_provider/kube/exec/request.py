"""What is asked of a run in a pod that is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_script_provider.kube.durations import Deadline, Duration, positive_seconds
from airflow_script_provider.kube.exec.program import Invocation
from airflow_script_provider.kube.exec.workloads import Workload
from airflow_script_provider.kube.request import interpreters
from airflow_script_provider.kube.request.inputs import ScriptInputs
from airflow_script_provider.kube.request.options import ExitCodes, exit_codes
from airflow_script_provider.kube.request.payload import Payload, checked_words
from airflow_script_provider.kube.request.sizes import check_script
from airflow_script_provider.script import Script

_OF_A_SCRIPT = ("script_conn_id", "sha256", "args", "arguments")


@dataclass(frozen=True, kw_only=True)
class ExecOptions:
    """Where and how it runs; names and defaults are the operator's. Durations are seconds or ``timedelta``."""

    deployment: str | None = None
    statefulset: str | None = None
    pod: str | None = None
    label_selector: str | None = None
    container: str | None = None
    command: Sequence[str] | None = None
    working_dir: str | None = None
    interpreter: Sequence[str] | None = None
    timeout: Duration | None = 600
    termination_grace_period: Duration = 30
    skip_on_exit_code: ExitCodes = None

    def checked_before_rendering(self, call: ScriptInputs) -> ExecOptions:
        """Refuse what is wrong whatever the templates turn out to be."""
        given = [name for name, value in self.places.items() if value is not None]
        if len(given) != 1:
            what = f"{' and '.join(given)} exclude each other" if given else "it is not said where to run"
            raise ValueError(f"{what}: give exactly one of {', '.join(self.places)}")
        if (call.script is None) == (self.command is None):
            raise ValueError("give exactly one of script and command")
        if self.command is not None:
            self._check_command(call)
        if self.interpreter is not None:
            self._check_words("interpreter", self.interpreter)
        positive_seconds(self.timeout, "timeout", none_allowed=True)
        positive_seconds(self.termination_grace_period, "termination_grace_period", zero_allowed=True)
        exit_codes(self.skip_on_exit_code, "skip_on_exit_code")
        return self

    @property
    def places(self) -> dict[str, str | None]:
        """The arguments of which one says where it runs."""
        return {
            "deployment": self.deployment,
            "statefulset": self.statefulset,
            "pod": self.pod,
            "label_selector": self.label_selector,
        }

    @property
    def grace(self) -> float:
        """Seconds between SIGTERM and SIGKILL."""
        return positive_seconds(self.termination_grace_period, "termination_grace_period", zero_allowed=True) or 0

    def _check_command(self, call: ScriptInputs) -> None:
        for name in _OF_A_SCRIPT:
            if getattr(call, name) is not None:
                raise ValueError(f"{name} belongs to script; a command is a list that has its arguments")
        if self.interpreter is not None:
            raise ValueError("interpreter belongs to script; a command names its program itself")
        if isinstance(self.command, Sequence | Mapping | int):
            self._check_words("command", self.command)

    def _check_words(self, name: str, words: Any) -> None:
        if isinstance(words, str):
            raise ValueError(f'{name}={words!r} must be a list of strings: ["sh", "-c", …] to have a shell read it')
        if not checked_words(words, name):
            raise ValueError(f"{name} must be a list of strings that is not empty")


@dataclass(frozen=True)
class ExecRequest:
    """All that decides one run; ``call`` has the values of arguments and environment, rendered."""

    workload: Workload
    options: ExecOptions
    call: ScriptInputs = field(repr=False)
    script: Script | None = None
    files: Mapping[str, Script] = field(default_factory=dict)
    deadline: Deadline = field(default_factory=Deadline)

    def __post_init__(self) -> None:
        if self.script is not None:
            check_script(self.script)
        self.invocation("")  # what cannot work fails before a pod is looked for

    @property
    def noun(self) -> str:
        """What it is called in a sentence."""
        return "the script" if self.script is not None else "the command"

    def invocation(self, image: str) -> Invocation:
        """What runs in a container of this image."""
        if self.script is None:
            payload = Payload.of(None, None, self.call.env)
            command = tuple(checked_words(self.options.command, "command"))
            return Invocation(command, payload, files=self.files, working_dir=self.options.working_dir)
        chosen = self.interpreter(image)
        is_sql = chosen is not None and chosen.program == "psql"
        return Invocation.of_script(
            self.script,
            image,
            Payload.of(self.call.args, self.call.arguments, self.call.env, as_psql_variables=is_sql),
            interpreter=self.options.interpreter,
            files=self.files,
            working_dir=self.options.working_dir,
        )

    def interpreter(self, image: str) -> interpreters.Interpreter | None:
        """The program that runs the script in a container of this image, None for a command."""
        if self.script is None:
            return None
        return interpreters.choose(self.script, image, self.options.interpreter)

    @property
    def is_bare(self) -> bool:
        """Whether a container without a shell can run it: a command that is given nothing."""
        return self.script is None and not self.call.env and not self.files and self.options.working_dir is None


def described(request: ExecRequest) -> dict[str, Any]:
    """What would run where, as plain JSON types; every value of arguments and environment is hidden."""
    place, options, script = request.workload, request.options, request.script
    invocation, interpreter = request.invocation(""), request.interpreter("")
    what: dict[str, Any] = {"command": list(options.command or ())}
    if script is not None and interpreter is not None:
        what = {
            "script": {"origin": script.origin, "sha256": script.sha256, "bytes": script.size},
            "interpreter": list(interpreter.argv),
            "interpreter_chosen_by": f"{interpreter.chosen_by}; the container's image may choose another",
            "arguments": f"{len(invocation.payload.arguments)} (values hidden)",
        }
        if interpreter.chosen_by != "default":
            what["interpreter_chosen_by"] = interpreter.chosen_by
    return {
        "namespace": place.namespace,
        place.kind: place.name,
        "container": options.container or "the pod's only one",
        **what,
        "env": dict.fromkeys(invocation.payload.environment, "(hidden)"),
        "working_dir": options.working_dir or "the container's",
        "files": {path: file.sha256 for path, file in request.files.items()},
        request.deadline.argument: request.deadline.seconds,
    }
