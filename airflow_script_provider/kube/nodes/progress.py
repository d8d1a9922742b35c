"""The progress of a run on a node, and the loss of the node.

``kube.job.progress`` decides everything but the loss. After a loss, the pod of a single Job is
replaced on another node. A run belongs to its node, so it ends.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_script_provider.kube.job import progress
from airflow_script_provider.kube.job.progress import CONFIRMATION, Cause, Limits, Verdict, Wait
from airflow_script_provider.kube.job.view import View
from airflow_script_provider.kube.nodes.selection import GONE, UNREACHABLE
from airflow_script_provider.kube.pods import pod_status
from airflow_script_provider.kube.pods.pod_status import Pod

_STATES = {"DeletionByTaintManager": UNREACHABLE, "DeletionByPodGC": GONE}
"""The state of a node, by the reason that the cluster gives for ending its pods."""


@dataclass(frozen=True)
class Lost:
    """The node failed under the pod. ``reason`` is Kubernetes' own word, if it has said one.

    Unless ``is_confirmed``, the pod may still run: its kubelet does not answer.
    """

    state: str
    reason: str | None
    pod_name: str
    message: str
    is_confirmed: bool
    started_at: str | None = None

    @property
    def must_be_confirmed(self) -> bool:
        """Whether it rests on the kubelet's silence."""
        return not self.is_confirmed

    @property
    def is_by_time(self) -> bool:
        """Whether it rests on something that did not happen in time."""
        return self.must_be_confirmed


@dataclass(frozen=True)
class NodeView:
    """All that was seen of a run on a node."""

    view: View = field(default_factory=View)

    def with_job(self, job: Mapping[str, Any], now: float, *, deleted: bool = False) -> NodeView:
        """The view after a change of the Job."""
        return replace(self, view=self.view.with_job(job, now, deleted=deleted))

    def with_pod(self, pod: Pod, now: float, *, deleted: bool = False) -> NodeView:
        """The view after a change of a pod, or its disappearance."""
        return replace(self, view=self.view.with_pod(pod, now, deleted=deleted))

    def with_event(self, event: Mapping[str, Any], now: float) -> NodeView:
        """The view after a Warning event of the Job."""
        return replace(self, view=self.view.with_event(event, now))

    def with_stopped(self, uid: str, reason: str, message: str) -> NodeView:
        """The view after a message of the kubelet that it stopped the pod's script."""
        return replace(self, view=self.view.with_stopped(uid, reason, message))

    def since(self, started_at: float) -> NodeView:
        """The view with a clock that began before the run was first seen."""
        return replace(self, view=replace(self.view, started_at=started_at))

    def taken_over(self, started_at: float, waited: float) -> NodeView:
        """The same, of a run of another follower: pods that are gone may have run.

        ``waited`` are the seconds for which it had no pod yet.
        """
        return replace(self, view=replace(self.view, started_at=started_at, had_begun=None, waited=waited))


def decide(seen: NodeView, limits: Limits, now: float) -> Wait | Verdict | Lost:
    """Decide whether the run is over, its node is lost, or until when to wait."""
    decision = progress.decide(seen.view, limits, now)
    if isinstance(decision, Verdict):
        pod = seen.view.pods.get(decision.pod_uid or "")
        return _lost(pod, is_dead=False) if pod and decision.cause is Cause.UNREACHABLE else decision
    if (dead := _dead_pod(seen.view)) is not None:
        return _lost(dead, is_dead=True)
    moments = [] if decision.until is None else [decision.until]
    for uid, since in seen.view.leaving_since.items():
        pod = seen.view.pods[uid]
        until = since + progress.grace_period_of(pod, limits) + CONFIRMATION
        if uid not in seen.view.gone and now >= until:
            return _lost(pod, is_dead=False)
        if uid not in seen.view.gone:
            moments.append(until)
    return Wait(min(moments, default=None))


def decide_without_job(seen: NodeView, limits: Limits, now: float, *, is_owner_deleted: bool) -> Wait | Verdict | Lost:
    """The same for a run whose Job was never seen: its create may go on, or be lost.

    Nothing in the cluster ends such a run, so its limits count from the moment of its create.
    """
    if is_owner_deleted:
        return Verdict(Cause.JOB_DELETED, delete_job=True)
    decision, asked_at = decide(seen, limits, now), seen.view.started_at
    if not isinstance(decision, Wait) or asked_at is None or limits.deadline is None:
        return decision
    if now >= asked_at + limits.deadline:
        return Verdict(Cause.DEADLINE, seen.view.last_pod, delete_job=True)
    return Wait(min(asked_at + limits.deadline, decision.until or math.inf))


def _dead_pod(view: View) -> Pod | None:
    """A pod that the cluster ended with its node, None once a later pod has started there."""
    for uid, pod in reversed(list(view.pods.items())):
        is_dead = uid in view.gone or pod_status.is_terminal(pod)
        if is_dead and pod_status.has_unknown_end(pod) and _state_of_node(pod):
            return pod
        if pod_status.has_started(pod):
            return None
    return None


def _state_of_node(pod: Pod) -> str | None:
    """The state of the pod's node, None unless the cluster has given up the node."""
    disruption = pod_status.disruption(pod)
    return _STATES.get(disruption.reason) if disruption else None


def _lost(pod: Pod, *, is_dead: bool) -> Lost:
    disruption = pod_status.disruption(pod)
    unknown = "its pod was deleted, and the kubelet did not report the pod's end"
    return Lost(
        state=_state_of_node(pod) or UNREACHABLE,
        reason=disruption.reason if disruption else None,
        pod_name=pod_status.name(pod),
        message=str(disruption or unknown),
        is_confirmed=is_dead,
        started_at=pod_status.attempt(pod).started_at,
    )
