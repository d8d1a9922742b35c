"""One run from launch to outcome."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from airflow_script_provider.jobs import adopt, reading
from airflow_script_provider.jobs import launch as launching
from airflow_script_provider.jobs.adopt import Adopted
from airflow_script_provider.jobs.api import KubernetesApi
from airflow_script_provider.jobs.runlog import RunLog
from airflow_script_provider.jobs.tracking import Tracking
from airflow_script_provider.kube import manifest, provenance
from airflow_script_provider.kube.adoption import Kill
from airflow_script_provider.kube.handover import Handover
from airflow_script_provider.kube.launched import JobRef, LaunchedJob
from airflow_script_provider.kube.outcome import Outcome
from airflow_script_provider.kube.output import DEFAULT_MAX_OUTPUT
from airflow_script_provider.kube.progress import Limits
from airflow_script_provider.kube.request import JobRequest, positive_seconds


@dataclass(frozen=True)
class Run:
    """A request under way. ``log`` gets our lines and the script's.

    ``alone`` means that its task runs nothing else: what an earlier try has left and this run doesn't take over is of
    no use. ``meaning_of_kill`` is asked when the run is interrupted; without an answer its Job is deleted.
    """

    api: KubernetesApi
    request: JobRequest
    log: RunLog
    max_output_bytes: int = DEFAULT_MAX_OUTPUT
    alone: bool = False
    meaning_of_kill: Callable[[], Awaitable[Kill | None]] | None = None

    async def run(self, hand_over: Callable[[Outcome], None] | None = None) -> Outcome:
        """Begin, follow, clear up. Whatever interrupts it, it sees to the Job first and the interruption says how.

        ``hand_over`` gets the outcome before the Job is marked as read; what it raises leaves the Job unread.
        """
        job, start = await self.begin()
        async with self._interruptible(job.ref):
            concluded = await Tracking(self.api, job, self.log).follow(start)
        if hand_over is not None:
            hand_over(concluded)
        async with self._interruptible(job.ref):
            await self.close(job, concluded)
        return concluded

    async def begin(self) -> tuple[LaunchedJob, Handover]:
        """The Job to follow: one that an earlier try has left, else a new one. And what is known of it already."""
        adopted = await adopt.find(self.api, self.request, self.log, alone=self.alone)
        if adopted is None:
            return await self._launch(), Handover()
        async with self._interruptible(adopted.ref):
            await adopt.complete(self.api, adopted, self.log)
            self._say_adopted(adopted)
        return self.launched(adopted.ref, adopted.launched_at, adopted.request), Handover(clock=adopted.clock)

    async def _launch(self) -> LaunchedJob:
        request = await reading.allowed(self.api, self.request, self.log)
        started = time.time()
        ref = await launching.launch(self.api, request)
        async with self._interruptible(ref):
            self._say_launched(ref)
        return self.launched(ref, started, request)

    async def close(self, job: LaunchedJob, concluded: Outcome) -> None:
        """The last call: mark the Job as read."""
        task = self.request.identity.task
        is_retried = task is not None and task.has_tries_left and concluded.is_retried
        await reading.close(self.api, job, self.log, is_retried=is_retried)

    @asynccontextmanager
    async def _interruptible(self, ref: JobRef) -> AsyncIterator[None]:
        try:
            yield
        except BaseException as interruption:
            fate = await launching.undisturbed(self._end(ref))
            interruption.add_note(fate)
            self.log.note(fate, logging.WARNING)
            raise

    async def _end(self, ref: JobRef) -> str:
        """Delete the Job of an interrupted run, or leave it, within ``ABANDON_TIMEOUT``; what became of it."""
        began = time.monotonic()
        kill = await self.meaning_of_kill() if self.meaning_of_kill is not None else None
        if kill is not None and kill.leaves_job:
            return f"{kill.seen}: Job {ref} is left to the next try, which takes it over."
        left = launching.ABANDON_TIMEOUT - (time.monotonic() - began)
        fate = launching.fate(ref, deleted=await launching.abandon(self.api, ref, left))
        return f"{kill.seen}: {fate}" if kill is not None else fate

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
        )

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


def limits_of(request: JobRequest) -> Limits:
    """The bounds of the request's run."""
    options = request.options
    return Limits(
        startup_timeout=positive_seconds(options.startup_timeout, "startup_timeout") or 0,
        deadline=request.deadline.seconds,
        deadline_name=request.deadline.argument,
        # As merged: pod_overrides may say another one.
        grace_period=manifest.pod_template(request)["spec"]["terminationGracePeriodSeconds"],
        backoff_limit=options.backoff_limit,
        final_codes=options.final_codes,
    )


def _kubectl(verb: str, ref: JobRef) -> str:
    return f"kubectl -n {ref.namespace} {verb} job {ref.name}"
