"""Running a script as a Kubernetes Job from any Python code."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from airflow_script_provider import exceptions
from airflow_script_provider._airflow import AirflowTaskTimeout, masked
from airflow_script_provider._task_identity import current_task
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.clusters.access import ClusterAccess
from airflow_script_provider.hooks._held import left_to_trigger, why_not_shown
from airflow_script_provider.hooks._launched import Unguarded
from airflow_script_provider.hooks._prepare import job_request, log_origins, mask_secrets_of
from airflow_script_provider.hooks._task_run import JobTaskRun
from airflow_script_provider.hooks.base import ScriptHook
from airflow_script_provider.jobs import launching
from airflow_script_provider.jobs.answers import saved_progress
from airflow_script_provider.jobs.begin import begin
from airflow_script_provider.jobs.conclude import (
    Deferral,
    OnOutcome,
    after_timeout,
    conclude,
    conclude_or_defer,
    conclude_without_cluster,
)
from airflow_script_provider.jobs.context import JobContext, Known
from airflow_script_provider.jobs.guard import JobGuard, MeaningOfKill
from airflow_script_provider.kube import hiding
from airflow_script_provider.kube.job import outcomes
from airflow_script_provider.kube.job.follow_state import FollowState, JobEnd, from_event
from airflow_script_provider.kube.job.launched import JobRef, LaunchedJob
from airflow_script_provider.kube.job.outcomes import Outcome
from airflow_script_provider.kube.names import TaskIdentity
from airflow_script_provider.kube.request.inputs import ScriptInputs, split
from airflow_script_provider.kube.request.options import JobOptions
from airflow_script_provider.kube.request.request import JobRequest
from airflow_script_provider.result import ScriptResult
from airflow_script_provider.run_log import RunLog

T = TypeVar("T")

_OF_ANOTHER_VERSION = (
    "The triggerer reports an end that this version does not know, so a worker follows the Job again. "
    "Install the same version of airflow-script-provider on workers and triggerers"
)


_OF_THE_CLUSTER = (exceptions.KubernetesApiError, exceptions.ConnectionFieldError, AirflowTaskTimeout)
"""Errors because of which the cluster cannot be asked, in time at least. Any other one may come
where its connection is looked up: after a secrets backend's bad moment, Airflow raises that there
is no connection."""
_TOO_LATE = "execution_timeout was over before the cluster had answered all that was asked"


class KubernetesScriptHook(ScriptHook["ScriptTaskRun"]):
    """Run scripts as Kubernetes Jobs."""

    hook_name = "Kubernetes script"

    def _new_task_run(self) -> ScriptTaskRun:
        return ScriptTaskRun(self.cluster, self.log)

    def run(self, script: Any, *, folder: str | None = None, **arguments: Any) -> ScriptResult:
        """Run a script and wait for it.

        :param script: text, URI or source, as the operator takes it.
        :param folder: where relative paths of files start, by default the working directory.
        :param arguments: the operator's arguments of the same names.
        :return: the result of a script that succeeded.

        Raises ``ScriptFailedError`` with the result, ``ValueError`` for a bad argument,
        ``ScriptSourceError`` if the script cannot be read, ``KubernetesApiError`` and
        ``LaunchError`` if the Job cannot be created.
        """
        inputs, options = split(arguments | {"script": script}, ScriptInputs, JobOptions)
        with self._task_run.ended_by_kill():
            return outcomes.successful(self._task_run.outcome(inputs, options, folder=folder))

    def prepare(self, script: Any, *, folder: str | None = None, **arguments: Any) -> JobRequest:
        """Read the script and check everything; nothing is created. Takes what ``run`` takes.

        The Job of the request belongs to no task: a retry does not reattach to it, as it does to
        that of ``run``.
        """
        inputs, options = split(arguments | {"script": script}, ScriptInputs, JobOptions)
        return self._task_run.prepare(inputs, options, folder=folder)

    def launch(self, request: JobRequest) -> JobRef:
        """Create the Job of a request and return at once.

        A Job that is not followed is kept for ``unread_ttl``. Raises ``LaunchError`` if the
        request was launched before and its Job exists: another run needs a request of its own.
        """

        async def launched(api: KubernetesApi) -> JobRef:
            return JobRef.of(await launching.launch(api, request, self._task_run.run_log()))

        return self._task_run.launch(launched)

    def follow(self, request: JobRequest, ref: JobRef) -> ScriptResult:
        """Wait for a launched Job, and show its log; returns and raises as ``run``."""
        with self._task_run.ended_by_kill():
            return outcomes.successful(self._task_run.followed(ref, lambda: self._task_run.follow(request, ref)))

    async def afollow(self, request: JobRequest, ref: JobRef) -> ScriptResult:
        """``follow`` for code in an event loop. Cancelled, it deletes the Job."""
        follow = partial(self._task_run.follow, request, ref)
        return outcomes.successful(await self._task_run.followed_in_loop(ref, follow))

    def delete(self, ref: JobRef) -> bool:
        """Delete a Job with everything that belongs to it; False if it was gone already."""
        return self._task_run.delete(ref)


class ScriptTaskRun(JobTaskRun):
    """A script as a Job in the place of a task: what operators need beyond the hook."""

    def prepare(
        self, inputs: ScriptInputs, options: JobOptions, *, folder: str | None = None, task: TaskIdentity | None = None
    ) -> JobRequest:
        """Read the script and check everything; nothing is created."""
        return job_request(self.cluster.resolve(), inputs, options.checked(), folder=folder, task=task)

    def outcome(
        self,
        inputs: ScriptInputs,
        options: JobOptions,
        *,
        folder: str | None = None,
        task: TaskIdentity | None = None,
        seconds_left: float | None = None,
        on_outcome: OnOutcome | None = None,
        alone: bool = False,
    ) -> Outcome:
        """Run and wait; a failure is returned, not raised.

        ``on_outcome`` gets it before the Job is marked as read: until then another try of the task
        would reattach to it. ``alone`` means that the task runs nothing else, so this run uses or
        deletes what an earlier try left.
        """
        access, task = self.cluster.resolve(), task or current_task()
        meaning = partial(self.meaning_of_kill, task, alone=alone, outlasts_timeout=True)
        with self.instead_of_earlier(access, inputs.namespace, task):
            request = self._read(access, inputs, options, folder=folder, task=task, seconds_left=seconds_left)

            async def main(api: KubernetesApi) -> Outcome:
                job, start = await self._begin(api, request, meaning, alone=alone)
                return await conclude(job, start, task=task, on_outcome=on_outcome, meaning_of_kill=meaning)

            settle = self._after_timeout(task, on_outcome, alone=alone)
            return self.outlasting_timeout(access, main, settle, task, on_outcome)

    def outcome_or_deferral(
        self,
        inputs: ScriptInputs,
        options: JobOptions,
        defer_after: float,
        *,
        folder: str | None = None,
        task: TaskIdentity | None = None,
        seconds_left: float | None = None,
        on_outcome: OnOutcome | None = None,
    ) -> Outcome | Deferral:
        """As ``outcome`` with ``alone``; after ``defer_after`` seconds a trigger follows the Job.

        ``resume`` takes that trigger's event.
        """
        access, task = self.cluster.resolve(), task or current_task()
        meaning = partial(self.meaning_of_kill, task, outlasts_timeout=True)
        with self.instead_of_earlier(access, inputs.namespace, task), self.unguarded(task=task) as unguarded:
            request = self._read(access, inputs, options, folder=folder, task=task, seconds_left=seconds_left)

            async def main(api: KubernetesApi) -> Outcome | Deferral:
                job, start = await self._begin(api, request, meaning, alone=True)
                followed = await conclude_or_defer(
                    job, start, defer_after, task=task, on_outcome=on_outcome, meaning_of_kill=meaning
                )
                if not isinstance(followed, Deferral):
                    return followed
                unguarded.ref = followed.job.ref
                digits = hiding.check_digits(inputs.values) if job.has_values else ""
                left = left_to_trigger(replace(followed.job, check_digits=digits), request)
                return replace(followed, job=left)

            settle = self._after_timeout(task, on_outcome)
            return self.outlasting_timeout(access, main, settle, task, on_outcome)

    def resume(
        self,
        event: Mapping[str, Any],
        inputs: ScriptInputs | None = None,
        *,
        task: TaskIdentity | None = None,
        on_outcome: OnOutcome | None = None,
    ) -> Outcome:
        """The outcome from the event of a trigger; follows on where the trigger could not.

        The values of ``inputs`` are hidden in messages. If the Job was launched with others,
        messages have only the name of the script's error, and nothing of it without ``inputs``.
        Lines that a trigger has held are shown if the secrets in them are masked here.
        """
        job, start = from_event(event)
        mask_secrets_of(inputs)
        hidden = why_not_shown(job, inputs)
        hide = hiding.hider_of_launched(job.check_digits, None if hidden else inputs.values, masked) if inputs else None
        self._launched.job, self._launched.hide, self._launched.known = job, hide, Known()
        log = self.log_of_resumed(job, hidden)
        _note_resumed(log, event, start)
        self._launched.end = start if isinstance(start, JobEnd) else None

        def context_of(api: KubernetesApi) -> JobContext:
            return JobContext(api, job, log, hide, known=self._launched.known)

        with self.unguarded(job.ref, task) as unguarded:
            is_resolved = False
            try:
                access, is_resolved = self.cluster.resolve(), True
                outcome = self._resumed(access, context_of, event.get("server"), start, unguarded, task, on_outcome)
            except (Exception, AirflowTaskTimeout) as error:
                lacks_cluster, end = not is_resolved or isinstance(error, _OF_THE_CLUSTER), self._launched.end
                if end is None or unguarded.ref is None or not lacks_cluster or _may_read_later(end, task, error):
                    raise
                why = error if isinstance(error, Exception) else _TOO_LATE
                outcome = conclude_without_cluster(job, end, log, hide=hide, why=why, on_outcome=on_outcome)
        return replace(outcome, last_lines=()) if hidden else outcome

    def _resumed(
        self,
        access: ClusterAccess,
        context_of: Callable[[KubernetesApi], JobContext],
        server: str | None,
        start: FollowState | JobEnd,
        unguarded: Unguarded,
        task: TaskIdentity | None,
        on_outcome: OnOutcome | None,
    ) -> Outcome:
        """The outcome of the Job that a trigger had on this API server, in a session with it."""
        meaning = partial(self.meaning_of_kill, task, outlasts_timeout=True)
        settle, ref, is_settled = self._after_timeout(task, on_outcome), unguarded.ref, False

        async def main(api: KubernetesApi) -> Outcome:
            context = context_of(api)
            await self.check_server(context, server, unguarded, meaning, is_over=isinstance(start, JobEnd))
            known = await self._last_known(context, start, meaning)
            return await conclude(context, known, task=task, on_outcome=on_outcome, meaning_of_kill=meaning)

        async def settled(api: KubernetesApi, job: LaunchedJob) -> Outcome | None:
            nonlocal is_settled
            is_settled, unguarded.ref = True, None  # from here on a guard has the Job
            if self._launched.end is None:
                async with JobGuard(context_of(api), partial(self.meaning_of_kill, task)).protecting():
                    self._launched.end = await saved_progress.end_on(api, job.ref)
            return await settle(api, job)

        try:
            return self.outlasting_timeout(access, main, settled, task, on_outcome)
        except AirflowTaskTimeout:
            if not (is_settled or self.interruptible.is_killed):  # the first session's guards have left the Job
                unguarded.ref = ref
            raise

    async def _last_known(
        self, context: JobContext, start: FollowState | JobEnd, meaning: MeaningOfKill
    ) -> FollowState | JobEnd:
        """The Job's end, or how far the last triggerer came: both may be saved on the Job."""
        if isinstance(start, JobEnd):
            return start
        job = context.job
        async with JobGuard(context, meaning).protecting():
            found = await saved_progress.last_known(
                context.api, job.ref, start, context.log, holds_lines=job.holds_lines
            )
        self._launched.end = found if isinstance(found, JobEnd) else None
        return found

    async def follow(self, request: JobRequest, ref: JobRef) -> Outcome:
        """Follow a launched Job to its outcome. Cancelled, it deletes the Job."""

        async def main(api: KubernetesApi, job: LaunchedJob, start: FollowState) -> Outcome:
            hide = hiding.hider(hiding.values_in(request.payload.variables), mask=masked)
            context = JobContext(api, job, self.run_log(get_logs=request.get_logs), hide)
            return await conclude(context, start, task=request.identity.task)

        return await self.with_launched(request, ref, main)

    def _read(
        self,
        access: ClusterAccess,
        inputs: ScriptInputs,
        options: JobOptions,
        *,
        folder: str | None,
        task: TaskIdentity | None,
        seconds_left: float | None,
    ) -> JobRequest:
        """The request; the log names the script and its files."""
        request = job_request(access, inputs, options.checked(), folder=folder, task=task, seconds_left=seconds_left)
        log_origins(self.log, request.script, request.files)
        return request

    async def _begin(
        self, api: KubernetesApi, request: JobRequest, meaning: MeaningOfKill, *, alone: bool
    ) -> tuple[JobContext, FollowState | JobEnd]:
        return await begin(
            api,
            request,
            self.run_log(get_logs=request.get_logs),
            mask=masked,
            alone=alone,
            recovers=self.recovers,
            on_begun=self._keep,
            on_launch=self.on_launch,
            meaning_of_kill=meaning,
        )

    def _keep(self, context: JobContext, start: FollowState | JobEnd) -> None:
        """Know the Job of this run from its first moment on: execution_timeout may expire then."""
        self._launched.job, self._launched.hide, self._launched.known = context.job, context.hide, context.known
        self._launched.end = start if isinstance(start, JobEnd) else None

    def _after_timeout(
        self, task: TaskIdentity | None, on_outcome: OnOutcome | None, *, alone: bool = True
    ) -> Callable[[KubernetesApi, LaunchedJob], Coroutine[Any, Any, Outcome | None]]:
        """What concludes the Job, or ends it, after ``execution_timeout``."""
        meaning = partial(self.meaning_of_kill, task)

        async def settled(api: KubernetesApi, job: LaunchedJob) -> Outcome | None:
            log, hide, known = self.run_log(get_logs=job.get_logs), self._launched.hide, self._launched.known
            context = JobContext(api, job, log, hide, known=known)
            end, kill = self._launched.end, meaning
            return await after_timeout(
                context, end, task=task, on_outcome=on_outcome, meaning_of_kill=kill, alone=alone
            )

        return settled


def _note_resumed(log: RunLog, event: Mapping[str, Any], start: FollowState | JobEnd) -> None:
    """Log why a worker follows a Job again that a trigger had."""
    if "ended" in event and not isinstance(start, JobEnd):
        log.note(_OF_ANOTHER_VERSION, logging.WARNING)
    if event.get("reason"):
        log.note(f"The triggerer could not follow the Job, so a worker does: {event['reason']}", logging.WARNING)


def _may_read_later(end: JobEnd, task: TaskIdentity | None, error: BaseException) -> bool:
    """Whether a next try may read the outcome from the Job, after an error that may be over."""
    has_next_try = task is not None and task.has_tries_left and getattr(error, "retryable", True)
    return has_next_try and not end.view.job_deleted
