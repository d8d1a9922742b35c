"""One run from launch to outcome."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from airflow_script_provider import exceptions
from airflow_script_provider.jobs import launch as launching
from airflow_script_provider.jobs.api import KubernetesApi
from airflow_script_provider.jobs.follow import Ending, Follower
from airflow_script_provider.jobs.launch import JobRef
from airflow_script_provider.jobs.runlog import RunLog
from airflow_script_provider.kube import diagnosis, manifest, outcome
from airflow_script_provider.kube.outcome import LAST_LINES, Outcome
from airflow_script_provider.kube.output import DEFAULT_MAX_OUTPUT
from airflow_script_provider.kube.overrides import SCRIPT_VOLUME
from airflow_script_provider.kube.progress import Limits
from airflow_script_provider.kube.request import JobRequest, positive_seconds


@dataclass(frozen=True)
class Run:
    """A request under way. ``log`` gets our lines and the script's."""

    api: KubernetesApi
    request: JobRequest
    log: RunLog
    max_output_bytes: int = DEFAULT_MAX_OUTPUT

    async def run(self) -> Outcome:
        """Launch, follow, clear up. Whatever interrupts it, the Job is deleted first and the interruption says so."""
        started = time.monotonic()
        ref = await launching.launch(self.api, self.request)
        try:
            self._say_launched(ref)
            return await self.follow(ref, started)
        except BaseException as interruption:
            fate = launching.fate(ref, deleted=await launching.abandon(self.api, ref))
            interruption.add_note(fate)
            self.log.note(fate, logging.WARNING)
            raise

    async def follow(self, ref: JobRef, started: float) -> Outcome:
        """Follow a launched Job to its outcome; ``started`` is the monotonic time of its launch.

        Interrupted, it leaves the Job alone: that is for the caller to decide.
        """
        ending = await self._follower(ref).follow()
        seconds = time.monotonic() - started
        await self._clear_up(ref, ending)
        return self._conclude(ref, ending, seconds)

    def _follower(self, ref: JobRef) -> Follower:
        identity = self.request.identity
        own = (identity.config_map_name, identity.secret_name, f'volume "{SCRIPT_VOLUME}"')
        mark = identity.launch_id if self.request.provision.packages else None
        return Follower(self.api, ref, limits_of(self.request), self.log, self.max_output_bytes, own, mark)

    async def _clear_up(self, ref: JobRef, ending: Ending) -> None:
        """Stop what Kubernetes would go on with, and remove the Secret at once."""
        if ending.verdict.delete_job and not await launching.abandon(self.api, ref):
            self.log.note(launching.left_over(ref), logging.WARNING)
        if not self.request.secret_variables:
            return
        name = self.request.identity.secret_name
        try:
            await launching.delete_secret(self.api, ref, name)
        except (TimeoutError, exceptions.KubernetesApiError) as error:
            how = f"kubectl -n {ref.namespace} delete secret {name}"
            self.log.note(
                f"Secret {name} stays until its Job goes: {error or 'no answer'}. Run: {how}", logging.WARNING
            )

    def _conclude(self, ref: JobRef, ending: Ending, seconds: float) -> Outcome:
        output = ending.output
        case = diagnosis.Case(
            str(ref),
            ending.verdict,
            ending.view,
            limits_of(self.request),
            image=self.request.options.image,
            program=self.request.interpreter.argv[0],
            last_lines=output.last_lines(LAST_LINES),
            warnings=ending.warnings,
        )
        concluded = outcome.conclude(
            case,
            output,
            namespace=ref.namespace,
            job_name=ref.name,
            script=self.request.script,
            files=self.request.files,
            seconds=seconds,
            skip_codes=self.request.options.skip_codes,
        )
        for warning in concluded.value.warnings:
            self.log.note(warning, logging.WARNING)
        self.log.note(outcome.summary(concluded.result))
        return concluded

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
