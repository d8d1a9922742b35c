"""One run from launch to outcome."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.jobs import adopt, launching, read_mark
from airflow_script_provider.jobs.adopt import Adopted
from airflow_script_provider.jobs.conclude import Tracking
from airflow_script_provider.jobs.guard import JobGuard
from airflow_script_provider.kube.job import manifest
from airflow_script_provider.kube.job.adoption import Kill
from airflow_script_provider.kube.job.follow_state import FollowState, JobEnd
from airflow_script_provider.kube.job.launched import JobRef, LaunchedJob
from airflow_script_provider.kube.job.outcomes import Outcome
from airflow_script_provider.kube.job.progress import Limits
from airflow_script_provider.kube.logs.output import DEFAULT_MAX_OUTPUT
from airflow_script_provider.kube.names import TaskIdentity
from airflow_script_provider.kube.request import provenance
from airflow_script_provider.kube.request.request import JobRequest
from airflow_script_provider.run_log import RunLog

OnOutcome = Callable[[Outcome], None]


@dataclass(frozen=True)
class Deferral:
    """A Job that a trigger is to follow on, how far the worker came, and the API server that it runs on."""

    job: LaunchedJob
    handover: FollowState
    server: str


@dataclass(frozen=True)
class Run:
    """A request under way. ``log`` gets our lines and the script's.

    ``alone`` means that its task runs nothing else: what an earlier try has left and this run doesn't take over is of
    no use. ``meaning_of_kill`` is asked when the run is interrupted; without an answer its Job is deleted.
    ``on_launch`` is told which Job it is, new or taken over.
    """

    api: KubernetesApi
    request: JobRequest
    log: RunLog
    max_output_bytes: int = DEFAULT_MAX_OUTPUT
    alone: bool = False
    meaning_of_kill: Callable[[], Awaitable[Kill | None]] | None = None
    get_logs: bool = True
    on_launch: Callable[[JobRef], None] | None = None

    async def run(self, on_outcome: OnOutcome | None = None) -> Outcome:
        """Begin, follow, clear up; an interruption sees to the Job first.

        ``on_outcome`` gets the outcome before the Job is marked as read; what it raises leaves the Job unread.
        """
        job, start = await self.begin()
        return await see_through(Tracking(self.api, job, self.log), self._guard, start, self._task, on_outcome)

    async def run_or_defer(self, defer_after: float, on_outcome: OnOutcome | None = None) -> Outcome | Deferral:
        """As ``run``; but a Job that is not over after ``defer_after`` seconds is left to a trigger."""
        job, start = await self.begin()
        tracking = Tracking(self.api, job, self.log)
        async with self._guard.protecting(job.ref):
            followed = await tracking.outcome_until(time.monotonic() + defer_after, start)
        if isinstance(followed, FollowState):
            return Deferral(job, followed, self.api.host)
        return await finish(tracking, self._guard, followed, self._task, on_outcome)

    async def begin(self) -> tuple[LaunchedJob, FollowState]:
        """The Job to follow: one that an earlier try has left, else a new one. And what is known of it already."""
        adopted = await adopt.find(self.api, self.request, self.log, alone=self.alone)
        if adopted is None:
            return await self._launch(), FollowState()
        async with self._guard.protecting(adopted.ref):
            await adopt.complete(self.api, adopted, self.log)
            self._say_adopted(adopted)
            self._announce(adopted.ref)
        return self.launched(adopted.ref, adopted.launched_at, adopted.request), FollowState(clock=adopted.clock)

    async def _launch(self) -> LaunchedJob:
        request = await read_mark.allowed(self.api, self.request, self.log)
        started = time.time()
        ref = await launching.launch(self.api, request)
        async with self._guard.protecting(ref):
            self._say_launched(ref)
            self._announce(ref)
        return self.launched(ref, started, request)

    @property
    def _task(self) -> TaskIdentity | None:
        return self.request.identity.task

    @property
    def _guard(self) -> JobGuard:
        return JobGuard(self.api, self.log, self.meaning_of_kill)

    def launched(self, ref: JobRef, started: float, request: JobRequest | None = None) -> LaunchedJob:
        """What is needed of the request from now on; ``started`` is the time of day of its launch."""
        request = request or self.request
        return LaunchedJob(
            ref,
            started,
            limits_of(request),
            request.script.facts,
            provenance.of_files(request.files),
            image=request.options.image,
            program=request.interpreter.argv[0],
            config_map_name=request.identity.config_map_name,
            secret_name=request.identity.secret_name if request.secret_variables else None,
            mark=request.identity.launch_id if request.provision.packages else None,
            skip_codes=request.options.skip_codes,
            max_output_bytes=self.max_output_bytes,
            ttl_when_read=request.ttl_when_read,
            may_be_marked=request.may_be_marked,
            get_logs=self.get_logs,
        )

    def _announce(self, ref: JobRef) -> None:
        if self.on_launch is not None:
            self.on_launch(ref)

    def _say_adopted(self, adopted: Adopted) -> None:
        ref = adopted.ref
        self.log.note(
            f"Job {ref} of try {adopted.try_number}, whose worker was lost, is taken over: its log comes from its "
            f"start. Look at it: {_kubectl('describe', ref)}"
        )

    def _say_launched(self, ref: JobRef) -> None:
        chosen = self.request.interpreter
        self.log.note(f"Job {ref} created. Look at it: {_kubectl('describe', ref)}")
        how = f"{' '.join(chosen.argv)} (by {chosen.chosen_by})"
        self.log.note(f"Interpreter: {how}, image {self.request.options.image}")
        if self.request.provision.packages:
            self.log.note(
                "install_packages needs root and keeps the runtime's default capabilities; "
                "an image that has the packages needs neither",
                logging.WARNING,
            )


async def see_through(
    tracking: Tracking,
    guard: JobGuard,
    told: FollowState | JobEnd,
    task: TaskIdentity | None,
    on_outcome: OnOutcome | None = None,
) -> Outcome:
    """From what is known of a launched Job to its outcome, which is handed over and the Job marked as read."""
    async with guard.protecting(tracking.job.ref):
        concluded = await tracking.outcome(told)
    return await finish(tracking, guard, concluded, task, on_outcome)


async def finish(
    tracking: Tracking, guard: JobGuard, concluded: Outcome, task: TaskIdentity | None, on_outcome: OnOutcome | None
) -> Outcome:
    """Hand an outcome over; then, as the last call, mark the Job as read."""
    if on_outcome is not None:
        on_outcome(concluded)
    async with guard.protecting(tracking.job.ref):
        is_retried = task is not None and task.has_tries_left and concluded.is_retried
        await read_mark.close(tracking.api, tracking.job, tracking.log, is_retried=is_retried)
    return concluded


def limits_of(request: JobRequest) -> Limits:
    """The bounds of the request's run."""
    options = request.options
    return Limits(
        startup_timeout=options.startup_timeout,
        deadline=request.deadline.seconds,
        deadline_name=request.deadline.argument,
        # As merged: pod_overrides may say another one.
        grace_period=manifest.pod_template(request)["spec"]["terminationGracePeriodSeconds"],
        backoff_limit=options.backoff_limit,
        final_codes=options.final_codes,
    )


def _kubectl(verb: str, ref: JobRef) -> str:
    return f"kubectl -n {ref.namespace} {verb} job {ref.name}"
