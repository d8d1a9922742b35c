"""The end of a Job with which Kubernetes would go on, before a decision about it stands.

While the Job is there, its script may yet begin, or end by itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from airflow_script_provider import exceptions
from airflow_script_provider._shielded import ABANDON_TIMEOUT
from airflow_script_provider.jobs.answers.doubt import Doubt, is_forbidden
from airflow_script_provider.kube.job import progress
from airflow_script_provider.kube.job.observed.view import View
from airflow_script_provider.kube.job.verdict import Cause, Verdict


@dataclass
class Ending:
    """The end of one Job: whether it is asked for, and whether it was answered.

    ``delete_within`` deletes the Job in so many seconds, or raises ``KubernetesApiError``.
    ``end_attempts`` lets it have so many failed pods, and no more, or returns why not.
    """

    delete_within: Callable[[float], Awaitable[None]]
    end_attempts: Callable[[int], Awaitable[exceptions.KubernetesApiError | None]]
    is_asked_for: bool = False
    _is_deleted: bool = False
    _asked_by: Verdict | None = None
    _script_had_begun: bool = False
    _doubt: Doubt = field(default_factory=Doubt)

    async def confirmed(self, view: View, verdict: Verdict) -> Verdict | None:
        """The verdict if it stands; None if it rests on silence, and its Job cannot be deleted.

        What the API server has then is to be looked at again. A deletion that is seen later is
        ours, with its answer lost; if the script has begun meanwhile, its end is unknown.
        """
        if verdict.cause is Cause.JOB_DELETED and self._asked_by is not None:
            return self._asked_by if self._script_had_begun == view.has_begun else verdict
        if not (verdict.must_be_confirmed and verdict.delete_job):
            return verdict
        self._asked_by, self._script_had_begun = verdict, view.has_begun
        error = await self.end(view, verdict)
        return None if error is not None and self._doubt.waits_for_end(error) else verdict

    def withdraw(self) -> None:
        """Note that the run goes on: what ends its Job later is not this follower."""
        self.is_asked_for, self._asked_by = False, None
        self._doubt.end()

    async def end(
        self, view: View, verdict: Verdict, within: float | None = None
    ) -> exceptions.KubernetesApiError | None:
        """Let Kubernetes start no other pod; what still runs, or may begin, is to end now.

        The Job stays only for the log of a pod that has ended, also without the right to change
        it. Returns why it was neither changed nor deleted. ``within`` is short by default, because
        what was seen is old after a long wait.
        """
        if self._is_deleted:
            return None
        is_left = verdict.pod_uid in view.pods and verdict.pod_uid not in view.gone
        if is_left and not view.unended_pods:
            error = await self.end_attempts(progress.other_failures(view, verdict.pod_uid))
            return None if error is not None and is_forbidden(error) else error
        self.is_asked_for = True
        try:
            await self.delete_within(ABANDON_TIMEOUT if within is None else within)
        except exceptions.KubernetesApiError as error:
            return error
        self._is_deleted = True
        return None
