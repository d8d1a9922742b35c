"""The end of a run whose work has taken its ``timeout``: Kubernetes is asked to end its Job.

It then reports ``DeadlineExceeded``, as it does of a Job that it ends by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_script_provider import exceptions
from airflow_script_provider._shielded import ABANDON_TIMEOUT
from airflow_script_provider.api.client import is_transient
from airflow_script_provider.jobs.answers.doubt import Doubt, doubting
from airflow_script_provider.kube.job.launched import JobRef
from airflow_script_provider.kube.job.observed.view import View
from airflow_script_provider.kube.job.verdict import Cause, Limits, Verdict
from airflow_script_provider.run_log import RunLog

RIGHT_PATIENCE = 2.0
"""Seconds for which a missing right to change the Job is doubted."""


@dataclass
class WorkTimeout:
    """The end of the work of one run, whose Job is ``ref``.

    ``doubt`` has the looks that have failed, and ``view`` is what was seen of the run.
    ``is_over`` says whether its work has taken its time. ``look`` takes in what the API server
    has of it. ``end_job`` lets Kubernetes end the Job, after so many seconds of work. ``take``
    takes in the Job as it is then.
    """

    ref: JobRef
    log: RunLog
    doubt: Doubt
    view: Callable[[], View]
    is_over: Callable[[], bool]
    look: Callable[[], Awaitable[None]]
    end_job: Callable[[Mapping[str, Any], float], Awaitable[dict[str, Any]]]
    take: Callable[[dict[str, Any]], object]
    _unanswered: Doubt = field(default_factory=Doubt)

    async def end(self, limits: Limits) -> Verdict | None:
        """Ask for the Job's end, unless what the API server has now says otherwise.

        None if the run goes on for now: until the Job's end, or until this is asked again because
        there was no answer. The verdict if Kubernetes is not to end the Job: then it is deleted.
        """
        try:
            await self.look()
        except exceptions.KubernetesApiError as error:
            if self.doubt.waits_after(error, must_be_confirmed=True, is_unseen_success=False):
                return None
        if not self.is_over():
            return None
        try:
            async with asyncio.timeout(ABANDON_TIMEOUT):
                self.take(await doubting(lambda: self.end_job(self.view().job, limits.timeout or 0.0), RIGHT_PATIENCE))
        except (TimeoutError, exceptions.KubernetesApiError) as error:
            return self._unless_passing(error)
        return None

    def _unless_passing(self, error: Exception) -> Verdict | None:
        """The verdict after an error, None if the same call may succeed later, or has."""
        if isinstance(error, exceptions.ApiNotFoundError):
            return None  # the next look says so
        unanswered = exceptions.ApiUnreachableError("no answer from the API server in time", status=0)
        refused = error if isinstance(error, exceptions.KubernetesApiError) else unanswered
        if is_transient(refused) and self._unanswered.waits_for_end(refused):
            return None
        why = f"Kubernetes does not end Job {self.ref} at its timeout, so the Job is deleted: {refused}"
        self.log.note(why, logging.WARNING)
        return Verdict(Cause.TIMEOUT, self.view().last_pod, delete_job=True)
