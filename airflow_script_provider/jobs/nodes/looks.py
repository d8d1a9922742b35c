"""What the API server has of a run, for a decision that rests on what a watch did not bring."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from airflow_script_provider import exceptions
from airflow_script_provider.api.client import KubernetesApi, is_transient
from airflow_script_provider.api.watch import Change
from airflow_script_provider.jobs.changes import Kind, as_they_are
from airflow_script_provider.kube.job.launched import JobRef
from airflow_script_provider.kube.job.progress import Cause, Verdict, Wait
from airflow_script_provider.kube.nodes import board
from airflow_script_provider.kube.nodes.board import NodeRun
from airflow_script_provider.kube.nodes.progress import Lost
from airflow_script_provider.kube.pods import pod_status


async def confirmed(
    decision: Verdict | Lost,
    look: Callable[[], Awaitable[None]],
    decide_again: Callable[[], Verdict | Lost | Wait],
    *,
    lacks_end: bool = False,
) -> Verdict | Lost | None:
    """The decision by what the API server has now, where a dead watch could mislead us.

    ``lacks_end`` says that no pod was seen to end: the Job's own end then has no exit code and no
    output, and a script may still run in a pod that no watch has brought yet. None if the decision
    was wrong; also if the server does not answer and the decision must be confirmed.
    """
    is_by_our_clock = isinstance(decision, Verdict) and decision.cause is Cause.DEADLINE and decision.delete_job
    is_of_unseen = isinstance(decision, Verdict) and lacks_end and _rests_on_the_job(decision)
    if not (decision.is_by_time or is_by_our_clock or is_of_unseen):
        return decision
    try:
        await look()
    except exceptions.KubernetesApiError as error:
        return None if decision.must_be_confirmed and is_transient(error) else decision
    again = decide_again()
    if isinstance(again, Wait):
        # A look may bring a pod whose script has not ended yet.
        is_success = isinstance(decision, Verdict) and decision.is_success
        return decision if is_by_our_clock or (is_of_unseen and is_success) else None
    return again


def _rests_on_the_job(verdict: Verdict) -> bool:
    """Whether the Job alone, by its condition or its deletion, says that the run is over."""
    return verdict.is_of_the_job or verdict.cause is Cause.JOB_DELETED


def lacks_end(run: NodeRun) -> bool:
    """Whether no pod of the run was seen to end."""
    pods = run.seen.view.pods.values()
    return not any(pod_status.script_end(pod) or pod_status.has_failed(pod) for pod in pods)


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
