"""The outcome of a script in a running pod: its result, and the line that says why it failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from airflow_script_provider.kube.causes import script_error, signs
from airflow_script_provider.kube.exec.ends import (
    ConnectionBroken,
    ExecEnd,
    Exited,
    NotStarted,
    PodEnded,
    ShellKilled,
    Stopped,
    TimedOut,
)
from airflow_script_provider.kube.exec.request import ExecRequest
from airflow_script_provider.kube.hiding import Hide, shown_report
from airflow_script_provider.kube.job.diagnosis import Diagnosis
from airflow_script_provider.kube.job.outcomes import LAST_LINES, Outcome
from airflow_script_provider.kube.logs.output import Output
from airflow_script_provider.kube.logs.value import clean_text, storable
from airflow_script_provider.kube.pods import ending
from airflow_script_provider.kube.pods.pod_status import ContainerEnd
from airflow_script_provider.kube.request import provenance
from airflow_script_provider.kube.request.options import exit_codes
from airflow_script_provider.kube.wording import headline_of, one_line
from airflow_script_provider.result import Attempt, Category, RunEnd, RunLocation, ScriptResult, Status

_KILLED = 137
_RETRY = "A retry chooses a ready pod again."
_STEPS = {
    "connection": Category.NODE_UNREACHABLE,
    "refused": Category.START_ERROR,
    "sh": Category.NO_SHELL,
    "code": Category.START_ERROR,
    "container": Category.START_ERROR,
    "program": Category.PROGRAM_NOT_FOUND,
    "permission": Category.NOT_EXECUTABLE,
    "working_dir": Category.NO_WORKING_DIRECTORY,
    "folder": Category.NO_WRITABLE_FOLDER,
    "write": Category.NO_SPACE_LEFT,
    "killed": Category.SHELL_KILLED,
}

_PASSING_STEPS = ("connection", "refused", "container", "code", "folder", "write", "killed")
"""Steps that may succeed in another try, which chooses a pod again."""


@dataclass(frozen=True)
class PodLocation:
    """The container that the script runs in.

    ``chosen_as`` says in words why this pod was chosen, empty for a pod that the author named.
    """

    namespace: str
    pod: str
    container: str
    image: str
    node: str | None = None
    chosen_as: str = ""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.pod}"


@dataclass
class ExecOutput:
    """Both streams together in the order of arrival, and each of them apart."""

    both: Output
    stdout: Output
    stderr: Output

    @classmethod
    def of(cls, max_bytes: int) -> ExecOutput:
        """An empty one; each of the three keeps so many bytes."""
        return cls(Output(max_bytes), Output(max_bytes), Output(max_bytes))


@dataclass(frozen=True)
class ExecCase:
    """A run that is over.

    ``program`` is what was executed, ``seconds`` the time since its beginning. ``hide`` makes what
    it printed safe for a message; without it no line of it stands in one.
    """

    request: ExecRequest
    program: str
    location: PodLocation
    end: ExecEnd
    output: ExecOutput
    seconds: float
    times: Mapping[str, str] = field(default_factory=dict)
    hide: Hide | None = None


def conclude(case: ExecCase) -> Outcome:
    """The outcome of a run; only exit code 0 is success."""
    diagnosed = None if isinstance(case.end, Exited) and case.end.code == 0 else _diagnose(case)
    code = case.end.code if isinstance(case.end, Exited | PodEnded | Stopped) else None
    value = case.output.stdout.value()
    return Outcome(
        _result(case, code, diagnosed, value.value),
        diagnosed,
        value,
        last_lines=case.output.both.last_lines(LAST_LINES) if diagnosed else (),
        skipped=isinstance(case.end, Exited) and code in exit_codes(case.request.options.skip_on_exit_code, ""),
        is_unknown=isinstance(case.end, ConnectionBroken | ShellKilled | Stopped),
        retryable=_is_retryable(case.end),
    )


def summary(case: ExecCase, result: ScriptResult) -> str:
    """One line on how a run ended."""
    exit_code = f", exit code {result.exit_code}" if result.exit_code is not None else ""
    ended = f"{result.status.verb} in {result.execution_time:.1f} s{exit_code}, {result.output_bytes:,} bytes of output"
    return f"{_capitalized(case.request.noun)} in pod {case.location} {ended}"


def _result(case: ExecCase, code: int | None, diagnosed: Diagnosis | None, value: object) -> ScriptResult:
    script, output, location = case.request.script, case.output, case.location
    end = RunEnd(Status.COMPLETED, code)
    if diagnosed is not None:
        status = Status.TIMEOUT if isinstance(case.end, TimedOut) else Status.FAILED
        error = clean_text(_capitalized(diagnosed.cause))
        end = RunEnd(status, code, error, diagnosed.reason, diagnosed.category)
    return ScriptResult.of_run(
        end,
        RunLocation(namespace=location.namespace, pod_name=location.pod, container_name=location.container),
        output.both,
        case.seconds,
        script=script.facts if script else None,
        files=storable(provenance.of_files(case.request.files)).value,
        value=value,
        attempts=(Attempt(location.pod, location.node, code, end.reason, **case.times),),
        stdout_tail=output.stdout.tail(),
        stderr_tail=output.stderr.tail(),
    )


def _is_retryable(end: ExecEnd) -> bool:
    """Whether another try can help, and cannot run beside this process.

    If its outcome is unknown, the process must have been seen to be gone. After a timeout it must
    have been ended.
    """
    match end:
        case ConnectionBroken() | ShellKilled():
            return end.is_running is False
        case TimedOut():
            return not end.may_still_run
        case NotStarted():
            return end.failed_step in _PASSING_STEPS
        case _:
            return True


def _diagnose(case: ExecCase) -> Diagnosis:
    match case.end:
        case Exited(code):
            return _diagnose_exit(case, code)
        case NotStarted():
            return _diagnose_start(case, case.end)
        case TimedOut():
            return _diagnose_timeout(case, case.end)
        case PodEnded() | Stopped():
            return _diagnose_end_of_pod(case, case.end)
        case ConnectionBroken():
            return _diagnose_broken_connection(case, case.end)
        case ShellKilled():
            return _diagnose_killed_shell(case, case.end)


def _diagnose_exit(case: ExecCase, code: int) -> Diagnosis:
    cause = ending.in_words(ContainerEnd(code, "Error"), None).replace("the script", case.request.noun)
    output = case.output.both.last_lines(script_error.LINES)
    found = script_error.of_output(code, output, output[-LAST_LINES:])
    if shown := case.hide(found.line) if case.hide and found.line else "":
        cause = f"{cause}: {shown}"
    advice = _advice(case, code) or signs.advice_in_a_running_pod(found.advice, found.category)
    return _diagnosis(case, cause, advice, found.category)


def _advice(case: ExecCase, code: int) -> str:
    if code == 127:
        return f'Command not found, perhaps "{case.program}" itself: check that image {case.location.image} has it.'
    if code == 126:
        return f'A command cannot be executed, perhaps "{case.program}" itself: check its permissions.'
    return _advice_on_memory(case) if code == _KILLED else ""


def _advice_on_memory(case: ExecCase) -> str:
    pod = f"-n {case.location.namespace} describe pod {case.location.pod}"
    return f"It was killed, perhaps for memory (OOMKilled). Check: kubectl {pod}"


def _diagnose_start(case: ExecCase, end: NotStarted) -> Diagnosis:
    image, options, noun = case.location.image, case.request.options, case.request.noun
    reported = shown_report(case.hide, one_line(end.message))
    no_shell = "pass command=[…] without env, files and working_dir, or use an image with sh"
    causes = {
        "connection": (f"{noun} was not started: its node cannot be reached ({one_line(end.message)})", _RETRY),
        "refused": (f"{noun} was not started: its node refused the exec ({one_line(end.message)})", _RETRY),
        "sh": (f'image {image} has no "sh" (executable file not found), so {noun} cannot run', f"Either {no_shell}."),
        "code": (
            f"sh in image {image} could not read {noun} ({end.message})",
            "Check that the image has head, mkdir and rm.",
        ),
        "killed": (
            f"sh in image {image} was killed before {noun} began ({end.message})",
            _advice_on_memory(case) if str(_KILLED) in end.message else _RETRY,
        ),
        "container": (f"{noun} was not started: {reported}", _RETRY),
        "program": (f"{noun} cannot be started: {reported}", "Check command and image."),
        "permission": (f"{noun} cannot be started: {reported}", "Check command and image."),
        "working_dir": (
            f"working_dir {options.working_dir!r} cannot be entered in image {image}",
            "Check working_dir.",
        ),
        "folder": ("the container has no writable folder", "Mount an emptyDir at /tmp, or set TMPDIR."),
        "write": ("script and files cannot be written in the container", "Free space in /dev/shm and /tmp."),
    }
    cause, advice = causes[end.failed_step]
    return _diagnosis(case, cause, advice, _STEPS[end.failed_step])


def _diagnose_end_of_pod(case: ExecCase, end: PodEnded | Stopped) -> Diagnosis:
    category = signs.category_of_word(end.reason) or Category.POD_ENDED
    if isinstance(end, Stopped):
        return _diagnose_stopped(case, end, category)
    return _diagnosis(case, one_line(end.why), _RETRY, category, end.reason)


def _diagnose_stopped(case: ExecCase, end: Stopped, category: Category) -> Diagnosis:
    ended = f"{case.request.noun} in pod {case.location} ended with exit code 0 after a SIGTERM"
    cause = f"outcome unknown: {ended}; {one_line(end.why)}"
    headline, advice = headline_of(f"{_capitalized(cause)}.", _RETRY)
    return Diagnosis(cause, headline, category, end.reason, advice)


def _diagnose_timeout(case: ExecCase, end: TimedOut) -> Diagnosis:
    deadline = case.request.deadline
    limit = f"{deadline.argument} of {deadline.seconds} s (DeadlineExceeded)"
    hint = "It may still be running, so Airflow does not retry." if end.may_still_run else f"Raise {deadline.argument}."
    cause = f"{case.request.noun} ran longer than its {limit}; {end.termination}"
    return _diagnosis(case, cause, hint, Category.DEADLINE_EXCEEDED)


def _diagnose_broken_connection(case: ExecCase, end: ConnectionBroken) -> Diagnosis:
    cause = f"outcome unknown: the connection to pod {case.location} broke after {end.seconds:.1f} s"
    return _diagnosis_of_unknown(case, cause, end, one_line(end.why), Category.CONNECTION_BROKEN)


def _diagnose_killed_shell(case: ExecCase, end: ShellKilled) -> Diagnosis:
    cause = f"outcome unknown: {case.request.noun} in pod {case.location} {end.cause}"
    why = "perhaps the shell was OOMKilled" if end.code == _KILLED else "a signal ended the shell"
    return _diagnosis_of_unknown(case, cause, end, why, Category.SHELL_KILLED)


def _diagnosis_of_unknown(
    case: ExecCase, cause: str, end: ConnectionBroken | ShellKilled, why: str, category: Category
) -> Diagnosis:
    if end.is_running:
        container = f"-n {case.location.namespace} {case.location.pod} -c {case.location.container}"
        command = f"kubectl exec {container} -- sh -c 'kill -- -{end.process_group}'"
        advice = f"It is still running, so Airflow does not retry. To end it: {command}"
    elif end.is_running is None:
        advice = f"It may still be running, so Airflow does not retry ({why})."
    else:
        advice = f"It is no longer running ({why})."
    headline, rest = headline_of(f"{_capitalized(cause)}.", advice)
    return Diagnosis(cause, headline, category, None, rest)


def _diagnosis(case: ExecCase, cause: str, hint: str, category: Category, reason: str | None = None) -> Diagnosis:
    headline, advice = headline_of(f"Pod {case.location}: {cause.rstrip('.')}.", hint)
    return Diagnosis(cause, headline, category, reason, advice)


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]
