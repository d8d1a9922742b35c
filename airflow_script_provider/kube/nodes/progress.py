"""How far a run on a node is, and whether its node is lost: what ``kube.progress`` decides, and what it leaves open.

A pod of another node would replace one whose node is lost. A node has no other, so its run ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_script_provider.kube.job import pod_status, progress
from airflow_script_provider.kube.job.pod_status import Pod
from airflow_script_provider.kube.job.progress import Limits, Verdict, View, Wait

CONFIRMATION = 10.0
"""Seconds beyond the grace period in which a kubelet that is alive tells the end of a pod that is being deleted."""

_LOST = {"DeletionByTaintManager": "unreachable", "DeletionByPodGC": "gone"}
"""What the cluster says of a pod whose node it has given up."""


@dataclass(frozen=True)
class Lost:
    """The node failed under the pod. Unless ``is_confirmed`` the pod may still run: nobody can tell."""

    reason: str
    pod_name: str
    message: str
    is_confirmed: bool
    started_at: str | None = None


@dataclass(frozen=True)
class NodeView:
    """All that was seen of a run on a node; ``leaving`` are pods that somebody ends, since when."""

    view: View = field(default_factory=View)
    leaving: Mapping[str, float] = field(default_factory=dict)

    def with_job(self, job: Mapping[str, Any], now: float, *, deleted: bool = False) -> NodeView:
        """The view after a change of the Job."""
        return replace(self, view=self.view.with_job(job, now, deleted=deleted))

    def with_pod(self, pod: Pod, now: float, *, deleted: bool = False) -> NodeView:
        """The view after a change of a pod, or its disappearance."""
        leaving = dict(self.leaving)
        if _is_leaving(pod):
            leaving.setdefault(pod_status.uid(pod), now)
        else:
            leaving.pop(pod_status.uid(pod), None)
        return replace(self, view=self.view.with_pod(pod, now, deleted=deleted), leaving=leaving)

    def since(self, started_at: float) -> NodeView:
        """The view with a clock that began earlier than what was seen of it."""
        return replace(self, view=replace(self.view, started_at=started_at))


def decide(seen: NodeView, limits: Limits, now: float) -> Wait | Verdict | Lost:
    """What the view means at this time: over, lost, or until when to wait."""
    decision = progress.decide(seen.view, limits, now)
    if isinstance(decision, Verdict):
        return decision
    moments = [] if decision.until is None else [decision.until]
    for uid, since in seen.leaving.items():
        pod, until = seen.view.pods[uid], since + limits.grace_period + CONFIRMATION
        is_dead = uid in seen.view.gone or pod_status.phase(pod) in ("Failed", "Succeeded")
        if (is_dead and _given_up(pod)) or (now >= until and uid not in seen.view.gone):
            return _lost(pod, is_dead=is_dead)
        if uid not in seen.view.gone:
            moments.append(until)
    return Wait(min(moments, default=None))


def _is_leaving(pod: Pod) -> bool:
    """Whether somebody ends the pod, and its script has not told its own end."""
    is_ended = pod_status.script_end(pod) is not None
    return (pod_status.is_being_deleted(pod) or pod_status.is_disrupted(pod)) and not is_ended


def _given_up(pod: Pod) -> str | None:
    """What became of the node, if the cluster has given it up."""
    words = pod_status.disruption(pod) or ""
    return _LOST.get(words.partition(":")[0])


def _lost(pod: Pod, *, is_dead: bool) -> Lost:
    message = pod_status.disruption(pod) or "its pod was deleted, and nobody tells that it has ended"
    return Lost(
        reason=_given_up(pod) or "unreachable",
        pod_name=pod_status.name(pod),
        message=message,
        is_confirmed=is_dead,
        started_at=pod_status.attempt(pod).started_at,
    )
