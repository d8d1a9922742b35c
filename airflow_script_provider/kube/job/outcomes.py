"""From the verdict on a run to its result, and to the error that says why it failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from airflow_script_provider import exceptions
from airflow_script_provider.kube.causes import cluster_messages
from airflow_script_provider.kube.job import diagnosis, termination
from airflow_script_provider.kube.job.diagnosis import Case, Diagnosis
from airflow_script_provider.kube.job.launched import LaunchedJob
from airflow_script_provider.kube.job.observed import unseen
from airflow_script_provider.kube.job.observed.view import View
from airflow_script_provider.kube.job.verdict import Cause, Verdict
from airflow_script_provider.kube.logs.output import Output
from airflow_script_provider.kube.logs.value import Value, clean_text
from airflow_script_provider.kube.pods import pod_status
from airflow_script_provider.kube.wording import reported
from airflow_script_provider.result import RunEnd, RunLocation, ScriptResult, Status

LAST_LINES = 20
"""Lines of output that a failure shows again."""
_BY_EXIT_CODE = (Cause.SCRIPT_FAILED, Cause.JOB_FAILED)
"""Causes with an exit code that the cluster has not brought about."""


@dataclass(frozen=True)
class Outcome:
    """A run that is over.

    ``diagnosis`` is None on success. ``skipped`` means an exit code of ``skip_on_exit_code``.
    A run whose script may still run is not ``retryable``. With ``has_running_sidecar``, a native
    sidecar of a success is still being stopped.
    """

    result: ScriptResult
    diagnosis: Diagnosis | None
    value: Value
    warnings: Sequence[str] = ()
    last_lines: Sequence[str] = ()
    skipped: bool = False
    is_unknown: bool = False
    retryable: bool = True
    has_running_sidecar: bool = False

    @property
    def is_retried(self) -> bool:
        """Whether Airflow tries again if the task has tries left."""
        return self.diagnosis is not None and not self.skipped and self.retryable


def conclude(
    case: Case,
    output: Output,
    launched: LaunchedJob,
    seconds: float,
) -> Outcome:
    """The outcome of a case; ``seconds`` is the time since the launch."""
    diagnosed = None if case.verdict.is_success else termination.diagnosed(case, diagnosis.diagnose(case))
    value = output.value()
    result = ScriptResult.of_run(
        _run_end(case, diagnosed),
        RunLocation(
            job_name=launched.ref.name,
            namespace=launched.ref.namespace,
            pod_name=pod_status.name(case.pod) if case.pod else None,
        ),
        output,
        seconds,
        script=launched.script,
        files=launched.files,
        value=value.value,
        attempts=tuple(pod_status.attempt(pod) for pod in case.view.pods.values()),
        disruptions=tuple(case.view.disruptions.values()),
        failed=case.view.failures,
    )
    code = _deciding_code(case)
    return Outcome(
        result,
        diagnosed,
        value,
        warnings=tuple(case.warnings),
        last_lines=case.last_lines,
        skipped=code in launched.skip_codes,
        is_unknown=_is_unknown(case),
        retryable=code not in case.limits.final_codes and not _may_run_on(case),
        has_running_sidecar=termination.has_running_sidecar(case.view, case.verdict),
    )


def unread(job: str, verdict: Verdict, view: View) -> list[str]:
    """What the result of a success lacks because its pod was not seen, as one line."""
    if not verdict.is_success or verdict.pod_uid is not None:
        return []
    why = unseen.in_words(view) or ("the pod that succeeded is gone" if view.pods else "its pods are gone")
    return [f"Job {job}: {why}. The result has no exit code, no output and no value"]


def failure(outcome: Outcome) -> exceptions.ScriptFailedError | None:
    """The error of an outcome, None on success.

    Its message is the headline, then the script's termination message, then disruptions and
    warnings, then the last lines of output.
    """
    if outcome.diagnosis is None:
        return None
    advice = [outcome.diagnosis.advice] if outcome.diagnosis.advice else []
    written = _section("Termination message:", outcome.diagnosis.termination_message)
    disruptions = _section("Pods that the cluster ended:", outcome.result.disruptions)
    parts = [outcome.diagnosis.headline, *advice, *written, *disruptions]
    message = "\n".join([*parts, *_warning_lines(outcome), *_output_lines(outcome)])
    is_timeout = outcome.result.status is Status.TIMEOUT
    kind = exceptions.JobTimeoutError if is_timeout else exceptions.ScriptFailedError
    if outcome.is_unknown:
        kind = exceptions.OutcomeUnknownError
    return kind(message, result=outcome.result, retryable=outcome.retryable)


def successful(outcome: Outcome) -> ScriptResult:
    """The result of a success. Raises the error of any other outcome."""
    if (error := failure(outcome)) is not None:
        raise error
    return outcome.result


def summary(result: ScriptResult) -> str:
    """One line about the end of a run."""
    attempts = f", {len(result.attempts)} attempts" if len(result.attempts) > 1 else ""
    exit_code = f", exit code {result.exit_code}" if result.exit_code is not None else ""
    size = f"{result.output_bytes:,} bytes of output"
    ended = f"{result.status.verb} in {result.execution_time:.1f} s{exit_code}{attempts}"
    return f"Job {result.namespace}/{result.job_name} {ended}, {size}"


def _run_end(case: Case, diagnosed: Diagnosis | None) -> RunEnd:
    return RunEnd(
        _status(case),
        exit_code=case.script_end.exit_code if case.script_end else _code_of_the_job(case),
        error=_error(case, diagnosed),
        reason=diagnosed.reason if diagnosed else None,
        category=diagnosed.category if diagnosed else None,
    )


def _deciding_code(case: Case) -> int | None:
    """The exit code that skips the task or ends its tries, None without one.

    A script that was stopped, at a deadline or with its pod, may end with any code. Not every code
    of its container is the script's.
    """
    if case.verdict.cause not in _BY_EXIT_CODE or case.script_end is None:
        return _code_of_the_job(case)
    if case.pod is None or not case.view.ended_by_itself(case.verdict.pod_uid):
        return None
    return pod_status.own_exit_code(case.pod)


def _code_of_the_job(case: Case) -> int | None:
    """The exit code that ended the Job by its condition, where the script's end was not reported.

    None if it is not known, or if something else ended the script.
    """
    is_stopped = case.pod is not None and case.view.ended_by_deletion(pod_status.uid(case.pod))
    if case.script_end is not None or is_stopped:
        return None
    return cluster_messages.final_code(case.verdict.message)


def _status(case: Case) -> Status:
    if case.verdict.is_success:
        return Status.COMPLETED
    is_timeout = case.verdict.is_timeout and not _may_run_on(case)
    return Status.TIMEOUT if is_timeout else Status.FAILED


def _may_run_on(case: Case) -> bool:
    return termination.may_run_on(case.view, case.verdict)


def _is_unknown(case: Case) -> bool:
    return case.verdict.is_unknown or _may_run_on(case)


def _error(case: Case, diagnosed: Diagnosis | None) -> str | None:
    if diagnosed is None:
        return None
    if case.verdict.is_timeout or _is_unknown(case):
        return clean_text(f"Job {diagnosed.cause}")
    return clean_text(f"Job failed with {case.view.failures} failures: {diagnosed.cause}")


def _warning_lines(outcome: Outcome) -> list[str]:
    return _section("Warning events:", outcome.warnings)


def _output_lines(outcome: Outcome) -> list[str]:
    if not outcome.last_lines:
        return []
    title = (
        f"Last {len(outcome.last_lines)} lines of output:" if len(outcome.last_lines) > 1 else "Last line of output:"
    )
    return _section(title, [reported(line[:1000]) for line in outcome.last_lines])


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return ["", title, *(f"  {line}" for line in lines)] if lines else []
