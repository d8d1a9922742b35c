"""From the end of a run in a pod to its result, and to the line that says why it failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from airflow_script_provider.kube.exec.request import ExecRequest
from airflow_script_provider.kube.job.diagnosis import Diagnosis, ended_as
from airflow_script_provider.kube.job.outcomes import LAST_LINES, Outcome
from airflow_script_provider.kube.job.pod_status import ContainerEnd
from airflow_script_provider.kube.logs.output import Output, clean_text
from airflow_script_provider.kube.request import provenance
from airflow_script_provider.kube.request.options import exit_codes
from airflow_script_provider.kube.wording import headline_of, one_line
from airflow_script_provider.result import Attempt, ScriptResult, Status


@dataclass(frozen=True)
class PodPlace:
    """Where it runs. ``owner`` is what the pod belongs to, in words."""

    namespace: str
    pod: str
    container: str
    image: str
    node: str | None = None
    owner: str = ""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.pod}"


@dataclass(frozen=True)
class Exited:
    """It ended by itself, or of a signal."""

    code: int


@dataclass(frozen=True)
class NotStarted:
    """Nothing of it ran. ``what`` is ``sh``, ``code``, ``program``, ``working_dir``, ``folder`` or ``write``."""

    what: str
    message: str = ""


@dataclass(frozen=True)
class TimedOut:
    """It was ended at its deadline; ``ending`` says what came of that, in words. ``may_run`` where that failed."""

    ending: str
    may_run: bool = False


@dataclass(frozen=True)
class PodEnded:
    """Pod or container ended under it."""

    why: str
    code: int | None = None


@dataclass(frozen=True)
class Broken:
    """The connection broke after so many seconds.

    ``runs`` says whether the process was seen after that, None if nobody could tell; ``process`` is its group.
    """

    why: str
    seconds: float
    runs: bool | None = None
    process: int | None = None


End = Exited | NotStarted | TimedOut | PodEnded | Broken


@dataclass
class Printed:
    """Both streams, together in the order of arrival and each for itself."""

    both: Output
    stdout: Output
    stderr: Output

    @classmethod
    def of(cls, max_bytes: int) -> Printed:
        """Nothing yet; each keeps so many bytes."""
        return cls(Output(max_bytes), Output(max_bytes), Output(max_bytes))


@dataclass(frozen=True)
class ExecCase:
    """A run that is over; ``seconds`` from its beginning."""

    request: ExecRequest
    place: PodPlace
    end: End
    printed: Printed
    seconds: float
    times: Mapping[str, str] = field(default_factory=dict)


def conclude(case: ExecCase) -> Outcome:
    """The outcome: success is exit code 0 and nothing else."""
    diagnosed = None if case.end == Exited(0) else _diagnose(case)
    code = case.end.code if isinstance(case.end, Exited | PodEnded) else None
    value = case.printed.stdout.value()
    result = _result(case, code, diagnosed, value.value)
    return Outcome(
        result,
        diagnosed,
        value,
        last_lines=case.printed.both.last_lines(LAST_LINES) if diagnosed else (),
        skipped=isinstance(case.end, Exited) and code in exit_codes(case.request.options.skip_on_exit_code, ""),
        is_unknown=isinstance(case.end, Broken),
        retryable=_is_retryable(case.end),
    )


def summary(case: ExecCase, result: ScriptResult) -> str:
    """One line on how it ended."""
    exit_code = f", exit code {result.exit_code}" if result.exit_code is not None else ""
    ended = f"{result.status.verb} in {result.execution_time:.1f} s{exit_code}, {result.output_bytes:,} bytes of output"
    return f"{_capital(case.request.noun)} in pod {case.place} {ended}"


def _result(case: ExecCase, code: int | None, diagnosed: Diagnosis | None, value: object) -> ScriptResult:
    script, printed, is_success = case.request.script, case.printed, diagnosed is None
    reason = diagnosed.reason if diagnosed else None
    failed_as = Status.TIMEOUT if isinstance(case.end, TimedOut) else Status.FAILED
    attempt = Attempt(case.place.pod, case.place.node, code, reason or "Completed", **case.times)
    return ScriptResult(
        status=Status.COMPLETED if is_success else failed_as,
        job_name=None,
        namespace=case.place.namespace,
        pod_name=case.place.pod,
        execution_time=round(case.seconds, 3),
        output=printed.both.tail(),
        succeeded=int(is_success),
        failed=int(not is_success),
        exit_code=code,
        value=value,
        error=clean_text(_capital(diagnosed.cause)) if diagnosed else None,
        reason=reason,
        attempts=(attempt,),
        duration_ms=round(case.seconds * 1000),
        output_bytes=printed.both.size,
        output_truncated=printed.both.truncated,
        script_sha256=script.sha256 if script else None,
        script_origin=script.origin if script else None,
        script_bytes=script.size if script else None,
        files=provenance.of_files(case.request.files),
        container_name=case.place.container,
        stdout_tail=printed.stdout.tail(),
        stderr_tail=printed.stderr.tail(),
    )


def _is_retryable(end: End) -> bool:
    """Whether another try can help, and cannot run beside this one.

    After a broken connection only where the process was seen to be gone, after a timeout where it could be ended.
    """
    match end:
        case Broken():
            return end.runs is False
        case TimedOut():
            return not end.may_run
        case NotStarted():
            return end.what in ("code", "folder", "write")
        case _:
            return True


def _diagnose(case: ExecCase) -> Diagnosis:
    match case.end:
        case Exited(code):
            return _exited(case, code)
        case NotStarted():
            return _not_started(case, case.end)
        case TimedOut(ending, may_run):
            deadline = case.request.deadline
            cause = f"{case.request.noun} ran longer than its {deadline.argument} of {deadline.seconds} s; {ending}"
            hint = "Nothing is tried again beside it." if may_run else f"Raise {deadline.argument}."
            return _diagnosis(case, cause, hint, "DeadlineExceeded")
        case PodEnded(why):
            return _diagnosis(case, one_line(why), "A retry chooses a ready pod anew.", "PodEnded")
        case Broken():
            return _broken(case, case.end)


def _exited(case: ExecCase, code: int) -> Diagnosis:
    cause = ended_as(ContainerEnd(code, "Error"), None).replace("the script", case.request.noun)
    return _diagnosis(case, cause, _advice(case, code), "Error")


def _advice(case: ExecCase, code: int) -> str:
    chosen = case.request.interpreter(case.place.image)
    program = chosen.argv[0] if chosen else (case.request.options.command or ("",))[0]
    if code == 127:
        return f'A command was not found, perhaps "{program}" itself: check that image {case.place.image} has it.'
    if code == 126:
        return f'A command cannot be executed, perhaps "{program}" itself: check its permissions.'
    if code == 137:
        return (
            f"SIGKILL: by hand, or for memory. Check: kubectl -n {case.place.namespace} describe pod {case.place.pod}"
        )
    return ""


def _not_started(case: ExecCase, end: NotStarted) -> Diagnosis:
    image, options = case.place.image, case.request.options
    no_shell = "give it as command=[…] without env, files and working_dir, or use an image with sh"
    causes = {
        "sh": (f'image {image} has no "sh", so {case.request.noun} cannot run', f"Without sh, {no_shell}."),
        "code": (
            f"sh in image {image} could not read {case.request.noun} ({end.message})",
            "Check that the image has head, mkdir and rm.",
        ),
        "program": (f"{case.request.noun} cannot be started: {one_line(end.message)}", "Check command and image."),
        "working_dir": (
            f"working_dir {options.working_dir!r} cannot be entered in image {image}",
            "Check working_dir.",
        ),
        "folder": ("the container has no folder that can be written to", "Mount an emptyDir at /tmp, or set TMPDIR."),
        "write": ("script and files cannot be written in the container", "Free space in /dev/shm and /tmp."),
    }
    cause, advice = causes[end.what]
    return _diagnosis(case, cause, advice, "StartError")


def _broken(case: ExecCase, end: Broken) -> Diagnosis:
    cause = f"outcome unknown: the connection to pod {case.place} broke after {end.seconds:.1f} s"
    if end.runs:
        where = f"-n {case.place.namespace} {case.place.pod} -c {case.place.container}"
        end_it = f"kubectl exec {where} -- sh -c 'kill -- -{end.process}'"
        advice = f"It still runs, so nothing is tried again. To end it: {end_it}"
    elif end.runs is None:
        advice = f"Whether it still runs is unknown, so nothing is tried again ({one_line(end.why)})."
    else:
        advice = f"It runs no longer ({one_line(end.why)})."
    headline, rest = headline_of(f"{cause[0].upper()}{cause[1:]}.", advice)
    return Diagnosis(cause, headline, "ConnectionBroken", rest)


def _diagnosis(case: ExecCase, cause: str, hint: str, reason: str) -> Diagnosis:
    headline, advice = headline_of(f"Pod {case.place}: {cause.rstrip('.')}.", hint)
    return Diagnosis(cause, headline, reason, advice)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
