"""What the API server has of a run, for a decision that rests on what a watch did not bring."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

from airflow_script_provider import exceptions
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.api.watch import Change
from airflow_script_provider.jobs import launching
from airflow_script_provider.jobs.answers.doubt import Doubt
from airflow_script_provider.jobs.answers.timeouts import WorkTimeout
from airflow_script_provider.jobs.changes import Item, Kind, as_they_are
from airflow_script_provider.kube.job.launched import JobRef
from airflow_script_provider.kube.job.verdict import Cause, Verdict, Wait
from airflow_script_provider.kube.nodes import board
from airflow_script_provider.kube.nodes.board import Board, NodeRun
from airflow_script_provider.kube.nodes.plan import Start
from airflow_script_provider.kube.nodes.progress import Lost
from airflow_script_provider.kube.pods import pod_status
from airflow_script_provider.run_log import RunLog

LOOKS = 8
"""Runs that are looked at at a time."""


class Looks:
    """Looks for decisions about runs, of some runs at a time; ``take`` gets what they bring.

    For ``with_output`` see ``board.kept_job``.
    """

    def __init__(self, api: KubernetesApi, namespace: str, take: Callable[[Item], None], *, with_output: bool) -> None:
        self._api, self._namespace, self._take, self._with_output = api, namespace, take, with_output
        self._looking = asyncio.Semaphore(LOOKS)
        self._doubts: dict[Start, Doubt] = defaultdict(Doubt)
        self._timeouts: dict[Start, WorkTimeout] = {}

    async def confirmed(
        self, run: NodeRun, decision: Verdict | Lost, decide_again: Callable[[], Verdict | Lost | Wait]
    ) -> Verdict | Lost | None:
        """The decision by what the API server has now, None if the run goes on for now."""
        look_at, doubt = partial(self.look, run), self._doubts[run.start]
        return await confirmed(decision, look_at, decide_again, doubt, is_unseen=lacks_end(run, decision))

    def work_timeout(self, run: NodeRun, log: RunLog, runs: Board) -> WorkTimeout:
        """The end of a run whose work has taken its time, the same for as long as it goes on."""
        if run.start in self._timeouts:
            return self._timeouts[run.start]
        ref, now = JobRef(self._namespace, run.name, run.uid or ""), time.monotonic
        kept = partial(board.kept_job, with_output=self._with_output)
        self._timeouts[run.start] = WorkTimeout(
            ref,
            log,
            self._doubts[run.start],
            view=lambda: run.seen.view,
            is_over=lambda: runs.is_timed_out(run, now()),
            look=partial(self.look, run),
            end_job=partial(launching.end_work, self._api, ref),
            take=lambda job: self._take((Kind.JOB, Change(kept(job)))),
        )
        return self._timeouts[run.start]

    def is_awaited(self, run: NodeRun, decision: Verdict | Lost, error: exceptions.KubernetesApiError) -> bool:
        """Whether a decision about a run without a Job waits for another answer."""
        must = decision.must_be_confirmed
        return self._doubts[run.start].waits_after(error, must_be_confirmed=must, is_unseen_success=False)

    async def look(self, run: NodeRun) -> None:
        """Take in what the API server has of a run now."""
        async with self._looking:
            gone = run.seen.view.gone
            items = await look(self._api, self._namespace, run, with_output=self._with_output)
        for kind, change in items:
            # What a watch has reported as deleted since then, the answer may still have.
            if kind is not Kind.POD or pod_status.uid(change.object) not in run.seen.view.gone - gone:
                self._take((kind, change))

    async def last_look(self, run: NodeRun) -> None:
        """The same for a decision that also stands without an answer."""
        try:
            await self.look(run)
        except exceptions.KubernetesApiError:
            run.seen = run.seen.without_a_list()


async def confirmed(
    decision: Verdict | Lost,
    look: Callable[[], Awaitable[None]],
    decide_again: Callable[[], Verdict | Lost | Wait],
    doubt: Doubt,
    *,
    is_unseen: bool = False,
) -> Verdict | Lost | None:
    """The decision by what the API server has now, where a dead watch could mislead us.

    ``is_unseen`` says that its pod was not seen to end: the Job's own end then has no exit code
    and no output, and a script may still run in a pod that no watch has brought yet. None if the
    decision was wrong, or if another answer is waited for.
    """
    is_by_our_clock = isinstance(decision, Verdict) and decision.cause is Cause.DEADLINE and decision.delete_job
    is_of_unseen = isinstance(decision, Verdict) and is_unseen and _rests_on_the_job(decision)
    is_success = isinstance(decision, Verdict) and decision.is_success
    if not (decision.is_by_time or is_by_our_clock or is_of_unseen):
        return decision
    try:
        await look()
    except exceptions.KubernetesApiError as error:
        must, is_unseen_success = decision.must_be_confirmed, is_of_unseen and is_success
        is_awaited = doubt.waits_after(error, must_be_confirmed=must, is_unseen_success=is_unseen_success)
        return None if is_awaited else decision
    doubt.end()
    again = decide_again()
    if isinstance(again, Wait):
        # A look may bring a pod whose script has not ended yet.
        return decision if is_by_our_clock or (is_of_unseen and is_success) else None
    return again


def _rests_on_the_job(verdict: Verdict) -> bool:
    """Whether the Job alone, by its condition or its deletion, says that the run is over."""
    return verdict.is_of_the_job or verdict.cause is Cause.JOB_DELETED


def lacks_end(run: NodeRun, decision: Verdict | Lost) -> bool:
    """Whether the pod of a decision was not seen to end."""
    uid = decision.pod_uid if isinstance(decision, Verdict) else None
    pod = run.seen.view.pods.get(uid or "", {})
    return pod_status.script_end(pod) is None and not pod_status.has_failed(pod)


async def look(api: KubernetesApi, namespace: str, run: NodeRun, *, with_output: bool) -> list[tuple[Kind, Change]]:
    """A run's pods and its Job as they are now, in the form of a watch's changes.

    What is gone comes as deleted, the Job last. For ``with_output`` see ``board.kept_job``. Raises
    ``KubernetesApiError``.
    """
    ref, view = JobRef(namespace, run.name, run.uid or ""), run.seen.view
    pods = {uid: pod for uid, pod in view.pods.items() if uid not in view.gone}
    items = await as_they_are(api, ref, job=run.job, pods=pods)

    def kept(kind: Kind, thing: dict[str, Any]) -> dict[str, Any]:
        return board.kept_pod(thing) if kind is Kind.POD else board.kept_job(thing, with_output=with_output)

    return [(kind, replace(change, object=kept(kind, change.object))) for kind, change in items]
