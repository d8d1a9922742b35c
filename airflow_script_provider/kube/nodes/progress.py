"""The progress of a run on a node, and the loss of the node.

``kube.job.progress`` decides everything but the loss. After a loss, the pod of a single Job is
replaced on another node. A run belongs to its node, so it ends. The next run on its node must not
begin beside a script that still runs, so a run whose Job was ended lasts until its script ends.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_script_provider.kube.job import progress, termination
from airflow_script_provider.kube.job.observed import clocks
from airflow_script_provider.kube.job.observed.job_status import FAILED
from airflow_script_provider.kube.job.observed.view import View
from airflow_script_provider.kube.job.observed.work import Work
from airflow_script_provider.kube.job.progress import CONFIRMATION, SILENCE_GRACE
from airflow_script_provider.kube.job.verdict import Cause, Limits, Verdict, Wait
from airflow_script_provider.kube.nodes.selection import GONE, READY, UNREACHABLE
from airflow_script_provider.kube.pods import pod_status
from airflow_script_provider.kube.pods.pod_status import Pod

_STATES = {"DeletionByTaintManager": UNREACHABLE, "DeletionByPodGC": GONE}
"""The state of a node, by the reason that the cluster gives for ending its pods."""
_LEAVES_PODS = (Cause.DEADLINE, Cause.JOB_FAILED, Cause.JOB_DELETED, Cause.UNREACHABLE, Cause.DISRUPTED)
"""Why a run is over while the script of its pod may still run, at least in its grace period."""
_UNREPORTED = "its pod was deleted, and the kubelet did not report the pod's end"


@dataclass(frozen=True)
class Lost:
    """The node failed under the pod, or cannot end it. ``reason`` is Kubernetes' own word.

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

    @property
    def is_by_taint(self) -> bool:
        """Whether a taint evicted the pod: a dead node's taint, or any other one."""
        return self.is_confirmed and self.state == UNREACHABLE

    def with_ready_node(self) -> Lost:
        """The same for a node that was found to be ready: its kubelet cannot end the pod."""
        return replace(self, state=READY, message=_UNREPORTED)


@dataclass(frozen=True)
class NodeView:
    """All that was seen of a run on a node.

    ``over_since`` is when its Job was first seen to have failed or to be deleted, or was ended.
    ``left_alive`` are the pods, by uid, that are gone while their node was found to be ready.
    ``unstarted`` are those that ended without a start after the run was over: their state is still
    the one that says why they did not start.
    """

    view: View = field(default_factory=View)
    over_since: float | None = None
    left_alive: frozenset[str] = frozenset()
    unstarted: frozenset[str] = frozenset()

    def with_job(self, job: Mapping[str, Any], now: float, *, deleted: bool = False) -> NodeView:
        """The view after a change of the Job."""
        view = self.view.with_job(job, now, deleted=deleted)
        is_over = view.job_deleted or any(one["type"] in FAILED for one in view.true_conditions)
        over_since = now if is_over and self.over_since is None else self.over_since
        return replace(self, view=view, over_since=over_since)

    def with_pod(self, pod: Pod, now: float, *, deleted: bool = False) -> NodeView:
        """The view after a change of a pod, or its disappearance.

        For a container that never started, the kubelet reports an end without a start.
        """
        uid, unstarted = pod_status.uid(pod), self.unstarted
        known = self.view.pods.get(uid)
        is_over = self.over_since is not None and known is not None and not pod_status.has_started(known)
        if is_over and known is not None and not pod_status.shows_a_start(pod):
            unstarted |= {uid} if pod_status.is_terminal(pod) else set()
            pod = {**known, "metadata": pod["metadata"]}
        return replace(self, view=self.view.with_pod(pod, now, deleted=deleted), unstarted=unstarted)

    def ended(self, now: float) -> NodeView:
        """The view after this follower has ended its Job."""
        return replace(self, over_since=now if self.over_since is None else self.over_since)

    def without_a_list(self) -> NodeView:
        """The view after the pods could not be listed: if none was seen, there may be some."""
        return replace(self, view=self.view.without_a_list())

    @property
    def view_of_ends(self) -> View:
        """The view in which pods that ended without a start are gone."""
        return replace(self.view, gone=self.view.gone | self.unstarted)

    def with_event(self, event: Mapping[str, Any], now: float) -> NodeView:
        """The view after a Warning event of the Job."""
        return replace(self, view=self.view.with_event(event, now))

    def with_stopped(self, uid: str, reason: str, message: str) -> NodeView:
        """The view after a message of the kubelet that it stopped the pod's script."""
        return replace(self, view=self.view.with_stopped(uid, reason, message))

    def with_ready_node(self) -> NodeView:
        """The view after the node was found to be ready: the pods gone so far have ended."""
        pods = self.view.pods.items()
        over = {uid for uid, pod in pods if uid in self.view.gone or pod_status.is_terminal(pod)}
        return replace(self, left_alive=self.left_alive | over)

    def since(self, started_at: float) -> NodeView:
        """The view with a clock that began before the run was first seen."""
        return replace(self, view=replace(self.view, started_at=started_at))

    def taken_over(self, started_at: float, waited: float, work: Work) -> NodeView:
        """The same, of a run of another follower: pods that are gone may have run.

        ``waited`` are the seconds for which it waited for a node, ``work`` is the time it worked.
        """
        view = replace(self.view, started_at=started_at, had_begun=None, waited=waited, work=work)
        return replace(self, view=view)


def decide(seen: NodeView, limits: Limits, now: float) -> Wait | Verdict | Lost:
    """Decide whether the run is over, its node is lost, or until when to wait."""
    decision = progress.decide(_of_one_attempt(seen.view), limits, now)
    if isinstance(decision, Verdict):
        decision = _without_start(seen, decision, limits)
        goes_on = _while_pods_end(seen, limits, now) if decision.cause in _LEAVES_PODS else None
        pod = seen.view.pods.get(decision.pod_uid or "")
        lost = _lost(pod, is_dead=False) if pod and decision.cause is Cause.UNREACHABLE else None
        return goes_on or lost or decision
    if (dead := _dead_pod(seen)) is not None:
        return _lost(dead, is_dead=True)
    moments = [] if decision.until is None else [decision.until]
    for uid in seen.view.leaving_since.keys() - seen.view.gone:
        ended = _while_leaving(seen.view, uid, limits, now)
        if isinstance(ended, Lost):
            return ended
        moments.append(ended)
    return Wait(min(moments, default=None))


def settled(seen: NodeView, verdict: Verdict, limits: Limits, now: float) -> Verdict | Lost:
    """What a verdict becomes after the wait for the ends of the pods.

    The script may have ended by itself before anything ended its pod, or its kubelet is silent.
    """
    found = termination.settled(_of_one_attempt(seen.view_of_ends), verdict, limits, now)
    pod = seen.view.pods.get(found.pod_uid or "")
    is_lost = found.cause is Cause.UNREACHABLE and pod is not None
    return _lost(pod, is_dead=False) if is_lost and pod is not None else found


def _without_start(seen: NodeView, verdict: Verdict, limits: Limits) -> Verdict:
    """The verdict; after the silence about a pod that has not started, the verdict of before.

    Why a pod did not start says more than its kubelet's silence.
    """
    pod = seen.view.pods.get(verdict.pod_uid or "")
    is_unstarted = pod is not None and not pod_status.has_started(pod)
    if verdict.cause is not Cause.UNREACHABLE or seen.over_since is None or not is_unstarted:
        return verdict
    original = progress.decide(_of_one_attempt(seen.view), limits, seen.over_since)
    return original if isinstance(original, Verdict) else verdict


def _of_one_attempt(view: View) -> View:
    """The view with the one attempt that was asked for: admission may have raised the limit."""
    spec = view.job.get("spec", {})
    return replace(view, job={**view.job, "spec": {**spec, "backoffLimit": 0}}) if spec.get("backoffLimit") else view


def _while_pods_end(seen: NodeView, limits: Limits, now: float) -> Wait | Verdict | Lost | None:
    """What a run that is over waits for: the end of its script. None if no script runs.

    Kubernetes deletes the pods of a Job that was ended, unless it was deleted without them. A
    script that was left in this way ends by itself. A script may also have begun in a pod whose
    start was not reported yet.
    """
    view = seen.view
    for uid, pod in view.pods.items():
        is_over = uid in view.gone or pod_status.is_terminal(pod) or not pod_status.has_unknown_end(pod)
        if is_over or uid in seen.unstarted:
            continue
        if not pod_status.has_started(pod):
            may_start_until = _until_started(seen, uid, limits)
            if may_start_until is None or now >= may_start_until:
                continue
            return Wait(may_start_until)
        if uid in view.leaving_since:
            until = _while_leaving(view, uid, limits, now)
            return until if isinstance(until, Lost) else Wait(until)
        if seen.over_since is None:
            continue  # our own decision, which ends the Job
        silence = _silence(seen.view, seen.over_since, limits)
        if silence is not None and now >= silence:
            return Verdict(Cause.SILENCE, uid, delete_job=True)
        return Wait(silence)
    return None


def _until_started(seen: NodeView, uid: str, limits: Limits) -> float | None:
    """Until when the kubelet may report the start or the end of a pod of a run that is over.

    None if Kubernetes has not ended the Job yet. A pod that was left without its Job may also
    start until ``startup_timeout``.
    """
    view = seen.view
    since, awaited = view.leaving_since.get(uid, seen.over_since), clocks.start_awaited_since(view)
    if since is None:
        return None
    until = since + limits.grace_period + CONFIRMATION
    if uid in view.leaving_since or not view.job_deleted or awaited is None:
        return until
    return max(until, awaited + limits.startup_timeout)


def _while_leaving(view: View, uid: str, limits: Limits, now: float) -> float | Lost:
    """Until when the kubelet may report the end of a pod that is being deleted."""
    pod = view.pods[uid]
    until = view.leaving_since[uid] + progress.grace_period_of(pod, limits) + CONFIRMATION
    return _lost(pod, is_dead=False) if now >= until else until


def _silence(view: View, since: float, limits: Limits) -> float | None:
    """Until when a Job that was ended may leave its pod as it is, None without a limit."""
    if not view.job_deleted:
        return since + limits.grace_period + CONFIRMATION
    if (over_at := clocks.work_over_at(view, limits)) is None:
        over_at = None if view.started_at is None or limits.deadline is None else view.started_at + limits.deadline
    return None if over_at is None else max(since, over_at) + limits.grace_period + SILENCE_GRACE


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


def _dead_pod(seen: NodeView) -> Pod | None:
    """A pod that the cluster ended with its node.

    None once a later pod has started there, or if the node was ready when the pod had gone.
    """
    for uid, pod in reversed(list(seen.view.pods.items())):
        is_dead = uid in seen.view.gone or pod_status.is_terminal(pod)
        if uid in seen.left_alive:
            return None
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
    return Lost(
        state=_state_of_node(pod) or UNREACHABLE,
        reason=disruption.reason if disruption else None,
        pod_name=pod_status.name(pod),
        message=str(disruption or _UNREPORTED),
        is_confirmed=is_dead,
        started_at=pod_status.attempt(pod).started_at,
    )
