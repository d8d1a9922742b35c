"""One run from launch to outcome."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from airflow_script_provider.jobs import launch as launching
from airflow_script_provider.jobs import reading
from airflow_script_provider.jobs.api import KubernetesApi
from airflow_script_provider.jobs.runlog import RunLog
from airflow_script_provider.jobs.tracking import Tracking
from airflow_script_provider.kube import manifest, provenance
from airflow_script_provider.kube.launched import JobRef, LaunchedJob
from airflow_script_provider.kube.outcome import Outcome
from airflow_script_provider.kube.output import DEFAULT_MAX_OUTPUT
from airflow_script_provider.kube.progress import Limits
from airflow_script_provider.kube.request import JobRequest, positive_seconds


@dataclass(frozen=True)
class Run:
    """A request under way. ``log`` gets our lines and the script's."""

    api: KubernetesApi
    request: JobRequest
    log: RunLog
    max_output_bytes: int = DEFAULT_MAX_OUTPUT

    async def run(self, hand_over: Callable[[Outcome], None] | None = None) -> Outcome:
        """Launch, follow, clear up. Whatever interrupts it, the Job is deleted first and the interruption says so.

        ``hand_over`` gets the outcome before the Job is marked as read; what it raises leaves the Job unread.
        """
        started = time.time()
        ref = await launching.launch(self.api, self.request)
        async with self._deleted_if_interrupted(ref):
            self._say_launched(ref)
            concluded = await self.follow(ref, started)
        if hand_over is not None:
            hand_over(concluded)
        async with self._deleted_if_interrupted(ref):
            await self.close(ref, concluded)
        return concluded

    async def close(self, ref: JobRef, concluded: Outcome) -> None:
        """The last call: mark the Job as read."""
        task = self.request.identity.task
        is_retried = task is not None and task.has_tries_left and concluded.is_retried
        may_be_marked, ttl = self.request.may_be_marked, self.request.ttl_when_read
        await reading.close(self.api, ref, ttl, self.log, may_be_marked=may_be_marked, is_retried=is_retried)

    @asynccontextmanager
    async def _deleted_if_interrupted(self, ref: JobRef) -> AsyncIterator[None]:
        try:
            yield
        except BaseException as interruption:
            fate = launching.fate(ref, deleted=await launching.abandon(self.api, ref))
            interruption.add_note(fate)
            self.log.note(fate, logging.WARNING)
            raise

    async def follow(self, ref: JobRef, started: float) -> Outcome:
        """Follow a launched Job to its outcome; ``started`` is the time of day of its launch.

        Interrupted, it leaves the Job alone: that is for the caller to decide.
        """
        return await Tracking(self.api, self.launched(ref, started), self.log).follow()

    def launched(self, ref: JobRef, started: float) -> LaunchedJob:
        """What is needed of the request from now on."""
        request = self.request
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
