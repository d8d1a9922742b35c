"""A request to run a script or a command in a running pod."""

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

_ONLY_FOR_SCRIPTS = ("script_conn_id", "sha256", "args", "arguments")


@dataclass(frozen=True, kw_only=True)
class ExecOptions:
    """Where and how the script runs. Names and defaults are the operator's.

    Durations are seconds or ``timedelta``.
    """

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

    def check_before_rendering(self, inputs: ScriptInputs) -> None:
        """Refuse what is wrong for every possible value of the templates."""
        given = [name for name, value in self.places.items() if value is not None]
        if len(given) != 1:
            what = f"{' and '.join(given)} exclude each other" if given else "no pod is chosen"
            raise ValueError(f"{what}: give exactly one of {', '.join(self.places)}")
        if (inputs.script is None) == (self.command is None):
            raise ValueError("give exactly one of script and command")
        if self.command is not None:
            self._check_command(inputs)
        if self.interpreter is not None:
            self._check_words("interpreter", self.interpreter)
        positive_seconds(self.timeout, "timeout", none_allowed=True)
        positive_seconds(self.termination_grace_period, "termination_grace_period", zero_allowed=True)
        exit_codes(self.skip_on_exit_code, "skip_on_exit_code")

    @property
    def places(self) -> dict[str, str | None]:
        """The arguments that choose the pod; one of them is set."""
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

    def _check_command(self, inputs: ScriptInputs) -> None:
        for name in _ONLY_FOR_SCRIPTS:
            if getattr(inputs, name) is not None:
                raise ValueError(f"{name} is only for script; write a command's arguments into its list")
        if self.interpreter is not None:
            raise ValueError("interpreter is only for script; a command begins with its program")
        if isinstance(self.command, Sequence | Mapping | int):
            self._check_words("command", self.command)

    def _check_words(self, name: str, words: Any) -> None:
        if isinstance(words, str):
            raise ValueError(f'{name}={words!r} must be a list of strings; for a shell write ["sh", "-c", …]')
        if not checked_words(words, name):
            raise ValueError(f"{name} must be a list of at least one string")


@dataclass(frozen=True)
class ExecRequest:
    """Everything that decides one run. ``inputs`` has the rendered arguments and environment."""

    workload: Workload
    options: ExecOptions
    inputs: ScriptInputs = field(repr=False)
    script: Script | None = None
    files: Mapping[str, Script] = field(default_factory=dict)
    deadline: Deadline = field(default_factory=Deadline)

    def __post_init__(self) -> None:
        if self.script is not None:
            check_script(self.script)
        self.invocation("")  # bad values fail before a pod is looked for

    @property
    def noun(self) -> str:
        """The subject of sentences about the run."""
        return "the script" if self.script is not None else "the command"

    def invocation(self, image: str) -> Invocation:
        """What runs in a container of this image, which may decide the interpreter."""
        if self.script is None:
            payload = Payload.of(None, None, self.inputs.env)
            command = tuple(checked_words(self.options.command, "command"))
            return Invocation(command, payload, files=self.files, working_dir=self.options.working_dir)
        interpreter = interpreters.choose(self.script, image, self.options.interpreter)
        is_sql = interpreter.program == "psql"
        return Invocation.of_script(
            self.script,
            interpreter,
            Payload.of(self.inputs.args, self.inputs.arguments, self.inputs.env, as_psql_variables=is_sql),
            files=self.files,
            working_dir=self.options.working_dir,
        )

    @property
    def is_bare(self) -> bool:
        """Whether it needs no shell: a command without env, files and working_dir."""
        return self.script is None and not self.inputs.env and not self.files and self.options.working_dir is None


def described(request: ExecRequest) -> dict[str, Any]:
    """What would run where, as plain JSON types.

    Every value of arguments and environment is hidden.
    """
    workload, options, script = request.workload, request.options, request.script
    invocation = request.invocation("")
    interpreter = invocation.interpreter
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
        "namespace": workload.namespace,
        workload.kind: workload.name,
        "container": options.container or "the pod's only container",
        **what,
        "env": dict.fromkeys(invocation.payload.environment, "(hidden)"),
        "working_dir": options.working_dir or "the container's",
        "files": {path: file.sha256 for path, file in request.files.items()},
        request.deadline.argument: request.deadline.seconds,
    }
