"""From a launched Job to its outcome: followed here, or concluded where another has followed it."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from airflow_script_provider import exceptions
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.jobs import launching
from airflow_script_provider.jobs.changes import OwnChanges
from airflow_script_provider.jobs.follow import Followed, Follower
from airflow_script_provider.kube.job import diagnosis, outcomes
from airflow_script_provider.kube.job.follow_state import FollowState, JobEnd
from airflow_script_provider.kube.job.launched import LaunchedJob
from airflow_script_provider.kube.job.outcomes import LAST_LINES, Outcome
from airflow_script_provider.run_log import RunLog


@dataclass(frozen=True)
class Tracking:
    """A launched Job, followed by a worker. ``log`` gets our lines and the script's.

    Interrupted, it leaves the Job alone: that is for the caller to decide.
    """

    api: KubernetesApi
    job: LaunchedJob
    log: RunLog

    async def outcome(self, told: FollowState | JobEnd) -> Outcome:
        """The outcome: followed to from where another stopped, or concluded where another has followed to the end."""
        if isinstance(told, FollowState):
            return await self._conclude(await self._follower(told).follow(), self._seconds)
        ending = await self._follower(told.handover).read_logs_of(told.verdict, told.view, told.kept)
        return await self._conclude(ending, told.seconds)

    async def outcome_until(self, until: float, start: FollowState) -> Outcome | FollowState:
        """The outcome; or, if there is none at that time of the monotonic clock, what the next follower must know."""
        follower = self._follower(start)
        ending = await follower.follow_until(until)
        return follower.handover if ending is None else await self._conclude(ending, self._seconds)

    @property
    def _seconds(self) -> float:
        return time.time() - self.job.launched_at

    def _follower(self, start: FollowState) -> Follower:
        return Follower(self.api, self.job, self.log, OwnChanges(self.api, lists_pods=start.clock is not None), start)

    async def _conclude(self, ending: Followed, seconds: float) -> Outcome:
        await self._clear_up(ending)
        output = ending.output
        case = diagnosis.Case(
            str(self.job.ref),
            ending.verdict,
            ending.view,
            self.job.limits,
            image=self.job.image,
            program=self.job.program,
            last_lines=output.last_lines(LAST_LINES),
            warnings=ending.warnings,
        )
        concluded = outcomes.conclude(case, output, self.job, seconds)
        for warning in concluded.value.warnings:
            self.log.note(warning, logging.WARNING)
        self.log.note(outcomes.summary(concluded.result))
        return concluded

    async def _clear_up(self, ending: Followed) -> None:
        """Stop what Kubernetes would go on with, and remove the Secret at once."""
        ref, name = self.job.ref, self.job.secret_name
        if ending.verdict.delete_job and not await launching.abandon(self.api, ref):
            self.log.note(launching.left_over(ref), logging.WARNING)
        if name is None:
            return
        try:
            await launching.delete_secret(self.api, ref, name)
        except (TimeoutError, exceptions.KubernetesApiError) as error:
            how = f"kubectl -n {ref.namespace} delete secret {name}"
            self.log.note(
                f"Secret {name} stays until its Job goes: {error or 'no answer'}. Run: {how}", logging.WARNING
            )
