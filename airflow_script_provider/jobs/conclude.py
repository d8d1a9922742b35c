"""Concluding a run: follow its Job, clear up, hand the outcome over, mark or delete the Job."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from airflow_script_provider.jobs import launching, read_mark
from airflow_script_provider.jobs.changes import OwnChanges
from airflow_script_provider.jobs.context import JobContext, may_quote
from airflow_script_provider.jobs.follow import Followed, Follower
from airflow_script_provider.jobs.guard import JobGuard, MeaningOfKill
from airflow_script_provider.jobs.job_logs import JobLogs, Outputs, container_logs
from airflow_script_provider.jobs.log_reader import IF_GONE, IF_KEPT
from airflow_script_provider.kube.causes import script_error
from airflow_script_provider.kube.hiding import Hide
from airflow_script_provider.kube.job import diagnosis, outcomes, termination
from airflow_script_provider.kube.job.follow_state import FollowState, JobEnd
from airflow_script_provider.kube.job.launched import LaunchedJob
from airflow_script_provider.kube.job.outcomes import LAST_LINES, Outcome
from airflow_script_provider.kube.job.verdict import Cause
from airflow_script_provider.kube.labels import SCRIPT_CONTAINER
from airflow_script_provider.kube.logs.container_logs import logs_left
from airflow_script_provider.kube.logs.groups import shown_text
from airflow_script_provider.kube.logs.output import Output
from airflow_script_provider.kube.logs.value import Value
from airflow_script_provider.kube.names import TaskIdentity
from airflow_script_provider.run_log import NoRunLog, RunLog

OnOutcome = Callable[[Outcome], None]

READ_TIMEOUT = 60.0
"""Seconds for the output of a script that has ended, where its task has no time left."""
_ONLY_THE_END = "Only the end of the output was kept"


@dataclass(frozen=True)
class Deferral:
    """A Job that a trigger is to follow, how far it was followed, and its API server's address."""

    job: LaunchedJob
    state: FollowState
    server: str


async def conclude(
    context: JobContext,
    start: FollowState | JobEnd,
    *,
    task: TaskIdentity | None = None,
    on_outcome: OnOutcome | None = None,
    meaning_of_kill: MeaningOfKill | None = None,
) -> Outcome:
    """The outcome of a launched Job.

    ``start`` is how far an earlier follower came, or the end that it saw. ``on_outcome`` gets the
    outcome before the Job is marked as read; what it raises leaves the Job unread. ``task`` is the
    try that the Job runs for. For ``meaning_of_kill`` see ``JobGuard``. Raises
    ``KubernetesApiError`` when Job or pods cannot be watched.
    """
    guard = JobGuard(context, meaning_of_kill)
    async with guard.protecting():
        if isinstance(start, JobEnd):
            followed = await _read_left(context, start)
            outcome = await _clear_up(context, followed, start.seconds)
        else:
            followed = await _follower(context, start).follow()
            outcome = await _clear_up(context, followed)
    return await _hand_over(guard, outcome, task, on_outcome, deletes_job=followed.verdict.delete_job)


async def conclude_or_defer(
    context: JobContext,
    start: FollowState | JobEnd,
    defer_after: float,
    *,
    task: TaskIdentity | None = None,
    on_outcome: OnOutcome | None = None,
    meaning_of_kill: MeaningOfKill | None = None,
) -> Outcome | Deferral:
    """As ``conclude``; but a Job that runs after ``defer_after`` seconds is left to a trigger."""
    if isinstance(start, JobEnd):
        return await conclude(context, start, task=task, on_outcome=on_outcome, meaning_of_kill=meaning_of_kill)
    guard = JobGuard(context, meaning_of_kill)
    async with guard.protecting():
        follower = _follower(context, start)
        followed = await follower.follow_until(time.monotonic() + defer_after)
        if followed is None:
            return Deferral(context.job, follower.state, context.api.host)
        outcome = await _clear_up(context, followed)
    return await _hand_over(guard, outcome, task, on_outcome, deletes_job=followed.verdict.delete_job)


def conclude_without_cluster(
    job: LaunchedJob,
    end: JobEnd,
    log: RunLog,
    *,
    hide: Hide | None = None,
    why: Exception | str,
    on_outcome: OnOutcome | None = None,
) -> Outcome:
    """The outcome of an end that an earlier follower saw, where the cluster cannot be asked.

    ``why`` says why not. The output is what that follower kept. The Job stays as it is.
    """
    followed = Followed(end.verdict, end.view, _output_of(job, end, log), end.warnings)
    outcome = _outcome(job, hide, followed, end.seconds)
    is_kept = end.kept.text or end.kept.is_whole
    has = "only the output that the triggerer kept" if is_kept else "no output and no value"
    log.note(
        f"{str(why) or type(why).__name__}\nThe triggerer has seen how the script ended, so the result has {has}",
        logging.WARNING,
    )
    if not end.view.job_deleted:
        how = launching.how_to_delete(job.ref)
        log.note(f"What is left of Job {job.ref} is not removed. Run: {how}", logging.WARNING)
    _note(outcome, followed, log, quotes=may_quote(job, hide))
    if on_outcome is not None:
        on_outcome(outcome)
    return outcome


async def after_timeout(
    context: JobContext,
    end: JobEnd | None = None,
    *,
    task: TaskIdentity | None = None,
    on_outcome: OnOutcome | None = None,
    meaning_of_kill: MeaningOfKill | None = None,
    alone: bool = True,
) -> Outcome | None:
    """The outcome of a Job whose task has no time left; None if only another try can have one.

    A script that has ended by itself is concluded: a success, and an exit code that ends the
    tries. If the task runs other code (not ``alone``), no time is left for that, so the Job is
    left to the next try. Everything else ends now, and the end of its pods is waited for. What
    they print meanwhile is not read. ``end`` is the one that an earlier follower saw. A known
    outcome counts as it is: its Job may be deleted. For ``meaning_of_kill`` see ``JobGuard``.
    """
    job, guard = context.job, JobGuard(context, meaning_of_kill)
    if alone and context.known.outcome is not None:
        return await _conclude_known(guard, context.known.outcome, task, on_outcome)
    quiet = replace(context, job=replace(job, get_logs=False), log=NoRunLog())
    async with guard.protecting():
        followed = await _ended(quiet, end)
        may_run_on = termination.may_run_on(followed.view, followed.verdict)
        if may_run_on and followed.verdict.cause is not Cause.UNREACHABLE:
            job, followed = _timed_out(job, followed)
        outcome = _outcome(job, quiet.hide, followed)
        is_needed = alone or (task is not None and task.has_tries_left)
        if may_run_on or outcome.is_retried or not is_needed:
            await _delete_job(context)
            return outcome if may_run_on and alone else None
    fate = "The rest of its log is not shown" if alone else f"Job {job.ref} is left to the next try"
    context.log.note(f"The task has no time left, but its script has ended by itself. {fate}")
    if not alone:
        return None
    async with guard.protecting():
        end = end or JobEnd(followed.verdict, followed.view, time.time() - job.launched_at)
        followed = replace(await _read_in_time(quiet, end), warnings=followed.warnings)
        outcome = await _clear_up(context, followed, end.seconds)
    return await _hand_over(guard, outcome, task, on_outcome, deletes_job=followed.verdict.delete_job)


def _timed_out(job: LaunchedJob, followed: Followed) -> tuple[LaunchedJob, Followed]:
    """A run that may go on after the task's time, which is named unless the Job's was over."""
    if followed.verdict.cause is Cause.DEADLINE and not followed.verdict.delete_job:
        return job, followed
    limits = replace(job.limits, deadline=None, deadline_name="execution_timeout")
    verdict = replace(followed.verdict, cause=Cause.DEADLINE)
    return replace(job, limits=limits), replace(followed, verdict=verdict)


async def _conclude_known(
    guard: JobGuard, outcome: Outcome, task: TaskIdentity | None, on_outcome: OnOutcome | None
) -> Outcome:
    """Do what is left to do with an outcome that was known before the task's time was over."""
    context = guard.context
    context.log.note("The task has no time left, but its outcome is known already")
    async with guard.protecting():
        await launching.delete_secret(context.api, context.job, context.log)
    return await _hand_over(guard, outcome, task, on_outcome, deletes_job=context.known.deletes_job)


async def _ended(context: JobContext, end: JobEnd | None) -> Followed:
    """The end that an earlier follower saw, otherwise the one that there is now."""
    if end is not None:
        return Followed(end.verdict, end.view, Output(0), end.warnings)
    start = FollowState(clock=context.job.launched_at, has_begun=None)
    return await _follower(context, start, keeps_output=False).follow_or_end(time.monotonic())


async def _read_in_time(context: JobContext, end: JobEnd) -> Followed:
    """Read the output that a result needs; what is known of it if that takes too long."""
    try:
        async with asyncio.timeout(READ_TIMEOUT):
            return await _read_left(context, end)
    except TimeoutError:
        return Followed(end.verdict, end.view, _output_of(context.job, end, context.log), end.warnings)


def _follower(context: JobContext, start: FollowState, *, keeps_output: bool = True) -> Follower:
    is_new = start.clock is None
    changes = OwnChanges(context.api, lists_pods=not is_new, created=context.created if is_new else None)
    return Follower(context, changes, start, keeps_output=keeps_output)


async def _read_left(context: JobContext, end: JobEnd) -> Followed:
    """Read what is left of the logs of a Job that an earlier follower saw end.

    The log of the pod that decided is read again from its beginning, because lines do not travel.
    Where the log has gone with its pod, the result has what the earlier follower kept. If that is
    all of the output, the log is not read.
    """
    uid, kept = end.verdict.pod_uid, end.kept
    outputs = Outputs(context.job.max_output_bytes, whole=True)
    logs = JobLogs(context, end.state, outputs.begin, if_gone=IF_KEPT if kept.text else IF_GONE)
    left = logs_left(container_logs(end.view), end.state.logs, uid, get_logs=context.job.get_logs)
    async with logs.reading():
        await logs.read_left(log for log in left if not (kept.is_whole and log.key == (uid, SCRIPT_CONTAINER)))
    output = outputs.of(uid, lacks_end=logs.lacks_end(uid))
    if kept.is_whole or (kept.text and (logs.lacks_end(uid) or not output.size)):
        output = _output_of(context.job, end, context.log)
    return Followed(end.verdict, end.view, output, end.warnings)


def _output_of(job: LaunchedJob, end: JobEnd, log: RunLog) -> Output:
    """What an earlier follower kept of the output; the log gets the lines that it lacks."""
    outputs, kept = Outputs(job.max_output_bytes, whole=True), end.kept
    if job.holds_lines or end.is_of_other_log:
        log.output(shown_text(kept.text[kept.shown :]))
    if not (kept.text or kept.is_whole):
        return outputs.of(end.verdict.pod_uid, lacks_end=True)
    return outputs.of_kept(kept, lacks_end=kept.lacks_end)


async def _clear_up(context: JobContext, followed: Followed, seconds: float | None = None) -> Outcome:
    """Remove the Secret of a Job that is over; its outcome.

    ``seconds`` is the time from the launch to the end, by default to now.
    """
    outcome = _outcome(context.job, context.hide, followed, seconds)
    context.known.outcome, context.known.deletes_job = outcome, followed.verdict.delete_job
    await launching.delete_secret(context.api, context.job, context.log)
    _note(outcome, followed, context.log, quotes=context.may_quote)
    return outcome


def _note(outcome: Outcome, followed: Followed, log: RunLog, *, quotes: bool) -> None:
    """Log how the run ended, below what its result lacks."""
    job = f"{outcome.result.namespace}/{outcome.result.job_name}"
    why = _ONLY_THE_END if followed.output.lacks_start else followed.output.no_value_because
    may_lack_value = followed.verdict.is_success and outcome.value == Value() and why
    lacking = [f"{why}, so the result may lack its value"] if may_lack_value else []
    lacking += outcomes.unread(job, followed.verdict, followed.view)
    for warning in (*outcome.value.notes(may_quote=quotes), *lacking):
        log.note(warning, logging.WARNING)
    log.note(outcomes.summary(outcome.result))


def _outcome(job: LaunchedJob, hide: Hide | None, followed: Followed, seconds: float | None = None) -> Outcome:
    output = followed.output
    case = diagnosis.Case(
        str(job.ref),
        followed.verdict,
        followed.view,
        job.limits,
        image=job.image,
        program=job.program,
        last_lines=output.last_lines(LAST_LINES),
        lines=() if followed.verdict.is_success else output.last_lines(script_error.LINES),
        warnings=followed.warnings,
        files=job.files,
        hide=hide,
    )
    return outcomes.conclude(case, output, job, time.time() - job.launched_at if seconds is None else seconds)


async def _delete_job(context: JobContext) -> None:
    """Delete the Job, with which Kubernetes would go on."""
    if not await launching.remove(context.api, context.job.ref):
        context.log.note(launching.left_over(context.job.ref), logging.WARNING)


async def _hand_over(
    guard: JobGuard, outcome: Outcome, task: TaskIdentity | None, on_outcome: OnOutcome | None, *, deletes_job: bool
) -> Outcome:
    """Hand the outcome over; then, as the last call, mark the Job as read.

    If this process is lost before, the next try reads the outcome from the Job. So a Job with
    which Kubernetes would go on is deleted afterwards. If no try follows, or if the next one runs
    the script again, it is deleted at once. Airflow does not wait long for an outcome because of
    that: what the API server does not answer at once is repeated afterwards.
    """
    api, ref, is_left = guard.context.api, guard.context.job.ref, deletes_job
    has_tries_left = task is not None and task.has_tries_left
    is_retried = has_tries_left and outcome.is_retried
    is_needed = has_tries_left and not is_retried
    has_sidecar, is_failed = outcome.has_running_sidecar, bool(outcome.diagnosis and not outcome.skipped)
    async with guard.protecting():
        if is_left and not is_needed:
            is_left = not await launching.abandon(api, ref)
    guard.context.known.hand_over(outcome, on_outcome)
    async with guard.protecting():
        is_left = is_left and not await launching.remove(api, ref)
        await read_mark.close(
            guard.context,
            is_retried=is_retried,
            is_failed=is_failed,
            has_running_sidecar=has_sidecar,
            is_left=is_left,
        )
    return outcome
