"""Whether a run on a node is over, or its node lost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_script_provider.kube.job.progress import CONFIRMATION, MAX_DISRUPTIONS, SILENCE_GRACE
from airflow_script_provider.kube.job.verdict import Cause, Verdict, Wait
from airflow_script_provider.kube.nodes.progress import Lost, NodeView, decide
from airflow_script_provider.kube.pods import pod_state
from tests.builders import a_container, a_job, a_pod, some_limits

LIMITS = some_limits(grace_period=30)


def seen(*pods: Any, now: float = 0.0, deleted: bool = False) -> NodeView:
    """Everything seen at ``now``."""
    view = NodeView().with_job(a_job(), 0.0)
    for pod in pods:
        view = view.with_pod(pod, now, deleted=deleted)
    return view


def test_a_script_that_ends_is_judged_as_elsewhere() -> None:
    """What ``progress`` decides stands."""
    verdict = decide(seen(a_pod(exit_code=0)), LIMITS, 1.0)
    assert isinstance(verdict, Verdict)
    assert verdict.cause is Cause.SCRIPT_SUCCEEDED


def test_a_pod_that_is_being_deleted_gets_its_time() -> None:
    """A kubelet that is alive tells its end within the grace period."""
    leaving = seen(a_pod(running=True, being_deleted=True), now=100.0)
    assert decide(leaving, LIMITS, 101.0) == Wait(100.0 + 30 + CONFIRMATION)


def test_a_drain_may_give_a_script_more_time_than_the_run() -> None:
    """``kubectl drain --grace-period=900``: until then the node is not lost (R10)."""
    leaving = seen(a_pod(running=True, being_deleted=True, grace_period=900), now=100.0)
    limits = some_limits(grace_period=30, deadline=None)
    assert decide(leaving, limits, 101.0) == Wait(100.0 + 900 + CONFIRMATION)
    assert isinstance(decide(leaving, limits, 100.0 + 900 + CONFIRMATION), Lost)


@pytest.mark.parametrize("phase", ["Pending", "Failed"])
def test_a_pod_without_a_node_loses_none(phase: str) -> None:
    """The garbage collector ends such a pod, which another controller's finalizer may keep (R10)."""
    pod = a_pod(being_deleted=True, unschedulable="no", disrupted="DeletionByPodGC", phase=phase)
    assert isinstance(decide(seen(pod, now=100.0), LIMITS, 100.0 + 30 + CONFIRMATION), Wait)


def test_a_pod_whose_end_nobody_tells_is_lost() -> None:
    """It may still run, which is said; it is not deleted by force (R10)."""
    leaving = seen(a_pod(running=True, being_deleted=True, disrupted="DeletionByTaintManager"), now=100.0)
    lost = decide(leaving, LIMITS, 100.0 + 30 + CONFIRMATION)
    assert isinstance(lost, Lost)
    assert (lost.state, lost.reason, lost.is_confirmed) == ("unreachable", "DeletionByTaintManager", False)


def test_a_deadline_does_not_hide_a_lost_node() -> None:
    """The node is the reason that the script has not ended (R5, R10)."""
    leaving = seen(a_pod(running=True, being_deleted=True, disrupted="DeletionByTaintManager"), now=100.0)
    ended = leaving.with_job(a_job("FailureTarget", reason="DeadlineExceeded"), 100.0 + 30 + CONFIRMATION)
    assert isinstance(decide(ended, LIMITS, 100.0 + 30 + CONFIRMATION), Lost)


TIMED_OUT = a_job("FailureTarget", reason="DeadlineExceeded")


def ended_at(now: float, job: dict[str, Any], pod: dict[str, Any], *, deleted: bool = False) -> NodeView:
    """A run whose pod ran, whose Job was ended, and whose pod is then as given."""
    return seen(a_pod(running=True)).with_job(job, now, deleted=deleted).with_pod(pod, now)


@pytest.mark.parametrize(
    ("job", "deleted", "cause"), [(TIMED_OUT, False, Cause.DEADLINE), (a_job(), True, Cause.JOB_DELETED)]
)
def test_a_script_has_its_grace_period_after_the_end_of_its_job(
    job: dict[str, Any], deleted: bool, cause: Cause
) -> None:
    """The next run on the node must not begin beside it (R5, R9)."""
    leaving = ended_at(600.0, job, a_pod(running=True, being_deleted=True), deleted=deleted)
    assert decide(leaving, LIMITS, 601.0) == Wait(600.0 + 30 + CONFIRMATION)
    over = leaving.with_pod(a_pod(exit_code=143, being_deleted=True), 620.0)
    gone = leaving.with_pod(a_pod(running=True, being_deleted=True), 620.0, deleted=True)
    for verdict in (decide(over, LIMITS, 620.0), decide(gone, LIMITS, 620.0)):
        assert isinstance(verdict, Verdict)
        assert verdict.cause is cause


STUCK: dict[str, Any] = {"waiting": "ImagePullBackOff", "message": "not found"}
UNTIL = 600.0 + 30 + CONFIRMATION


def stuck_at_the_timeout(**deletion: Any) -> NodeView:
    """A run whose pod could not start until the timeout."""
    return seen(a_pod(**STUCK)).with_job(TIMED_OUT, 600.0).with_pod(a_pod(**STUCK, **deletion), 600.0)


@pytest.mark.parametrize("deletion", [{}, {"being_deleted": True}])
def test_a_pod_whose_start_was_not_reported_is_waited_for(deletion: dict[str, Any]) -> None:
    """It may have started a second ago; the next run must not begin beside it (R5, R9)."""
    stuck = stuck_at_the_timeout(**deletion)
    assert decide(stuck, LIMITS, 601.0) == Wait(UNTIL)
    started = stuck.with_pod(a_pod(running=True, being_deleted=True), 602.0)
    assert isinstance(decide(started, LIMITS, 603.0), Wait)
    gone = stuck.with_pod(a_pod(**STUCK, being_deleted=True), 602.0, deleted=True)
    for view, now in ((gone, 602.0), (stuck, UNTIL)):
        verdict = decide(view, LIMITS, now)
        assert isinstance(verdict, Verdict)
        assert verdict.cause is Cause.DEADLINE


def test_the_end_of_a_pod_that_never_started_does_not_hide_why() -> None:
    """The kubelet replaces what the pod waits for with an end that has no start (R5, R22)."""
    unknown = a_pod(exit_code=137, reason="ContainerStatusUnknown", phase="Failed", being_deleted=True)
    unknown["status"]["containerStatuses"][0]["state"]["terminated"].pop("startedAt", None)
    ended = stuck_at_the_timeout(being_deleted=True).with_pod(unknown, 602.0)
    verdict = decide(ended, LIMITS, 603.0)
    assert isinstance(verdict, Verdict)
    assert verdict.cause is Cause.DEADLINE
    waiting = pod_state.waiting(ended.view.pods["uid-load-x1"])
    assert waiting is not None
    assert waiting.reason == "ImagePullBackOff"


def test_an_orphaned_pod_may_still_start() -> None:
    """Its image may be pulled until ``startup_timeout`` (R9)."""
    orphaned = seen(a_pod(waiting="ContainerCreating")).with_job(a_job(), 100.0, deleted=True)
    assert decide(orphaned, LIMITS, 101.0) == Wait(300.0)
    verdict = decide(orphaned, LIMITS, 300.0)
    assert isinstance(verdict, Verdict)
    assert verdict.cause is Cause.JOB_DELETED


def test_a_node_that_died_before_its_pod_started_is_lost() -> None:
    """A drain may have given the pod more time than the run has (R10)."""
    pod = a_pod(being_deleted=True, grace_period=900)
    assert isinstance(decide(seen(pod, now=100.0).with_job(TIMED_OUT, 600.0), LIMITS, 601.0), Lost)


def test_a_node_that_died_before_the_timeout_is_lost() -> None:
    """Its script may still run, so no other run follows (R5, R10)."""
    leaving = ended_at(600.0, TIMED_OUT, a_pod(running=True, being_deleted=True))
    assert isinstance(decide(leaving, LIMITS, 600.0 + 30 + CONFIRMATION), Lost)


def test_a_drained_script_keeps_its_time_after_the_timeout() -> None:
    """The Job controller does not delete a pod again that is being deleted (R5, R10)."""
    drained = a_pod(running=True, being_deleted=True, grace_period=900)
    ended = seen(drained, now=100.0).with_job(TIMED_OUT, 600.0)
    assert decide(ended, LIMITS, 601.0) == Wait(100.0 + 900 + CONFIRMATION)


def test_a_pod_that_its_job_leaves_running() -> None:
    """The Job controller does not delete it, so nothing ends the script (R10)."""
    left = ended_at(600.0, TIMED_OUT, a_pod(running=True))
    until = 600.0 + 30 + CONFIRMATION
    assert decide(left, LIMITS, 601.0) == Wait(until)
    assert decide(left, LIMITS, until) == Verdict(Cause.SILENCE, "uid-load-x1", delete_job=True)


@pytest.mark.parametrize(("deadline", "until"), [(600, 600.0 + 30 + SILENCE_GRACE), (None, None)])
def test_an_orphaned_script_ends_its_run(deadline: int | None, until: float | None) -> None:
    """``kubectl delete job --cascade=orphan`` leaves the pod, whose script ends by itself (R9)."""
    limits = some_limits(grace_period=30, deadline=deadline)
    orphaned = ended_at(100.0, a_job(), a_pod(running=True), deleted=True)
    assert decide(orphaned, limits, 101.0) == Wait(until)
    verdict = decide(orphaned.with_pod(a_pod(exit_code=3), 200.0), limits, 200.0)
    assert isinstance(verdict, Verdict)
    assert verdict.cause is Cause.SCRIPT_FAILED
    if until is not None:
        assert decide(orphaned, limits, until) == Verdict(Cause.SILENCE, "uid-load-x1", delete_job=True)


@pytest.mark.parametrize(
    ("pod", "waits"),
    [
        (a_pod(running=True, being_deleted=True, disrupted="PreemptionByScheduler"), True),
        (a_pod(exit_code=143, being_deleted=True, disrupted="PreemptionByScheduler"), False),
        (a_pod(running=True), False),
    ],
)
def test_the_last_disruption_leaves_a_script_its_grace_period(pod: dict[str, Any], waits: bool) -> None:
    """The script gets SIGTERM first; a pod that is not ended yet is ended by the verdict (R5, R10)."""
    view = seen(pod, now=100.0)
    too_many = {str(index): "" for index in range(MAX_DISRUPTIONS + 1)}
    decision = decide(replace(view, view=replace(view.view, disruptions=too_many)), LIMITS, 101.0)
    verdict = Verdict(Cause.DISRUPTED, str(MAX_DISRUPTIONS), delete_job=True)
    assert decision == (Wait(100.0 + 30 + CONFIRMATION) if waits else verdict)


EVICTED = a_pod(running=True, being_deleted=True, disrupted="DeletionByTaintManager")


def test_an_eviction_from_a_ready_node_is_left_to_the_job() -> None:
    """Its kubelet has removed the pod, so the pod that replaces it on the node may start (R7, R10)."""
    gone = seen(EVICTED).with_pod(EVICTED, 31.0, deleted=True)
    replaced = gone.with_pod(a_pod("load-x2", waiting="", created="2026-01-01T00:00:10Z"), 32.0)
    lost = decide(replaced, LIMITS, 33.0)
    assert isinstance(lost, Lost)
    assert lost.is_by_taint
    assert isinstance(decide(replaced.with_ready_node(), LIMITS, 33.0), Wait)


def test_a_ready_node_may_die_later() -> None:
    """Only the pods that had gone by then have ended there (R10)."""
    ready = seen(EVICTED).with_pod(EVICTED, 31.0, deleted=True).with_ready_node()
    evicted: dict[str, Any] = {"running": True, "being_deleted": True, "disrupted": "DeletionByTaintManager"}
    later = a_pod("load-x2", created="2026-01-01T00:00:10Z", **evicted)
    assert isinstance(decide(ready.with_pod(later, 99.0, deleted=True), LIMITS, 99.0), Lost)


def test_the_time_is_counted_from_the_first_sign() -> None:
    """Other changes of the pod don't prolong it."""
    leaving = seen(a_pod(running=True, being_deleted=True), now=100.0)
    again = leaving.with_pod(a_pod(running=True, being_deleted=True, disrupted="DeletionByTaintManager"), 130.0)
    assert isinstance(decide(again, LIMITS, 140.0), Lost)


def test_a_pod_of_a_node_that_is_gone_is_lost_for_sure() -> None:
    """The cluster has removed the pod with its node: nothing runs any more."""
    gone = seen(a_pod(running=True, disrupted="DeletionByPodGC", phase="Failed"), deleted=True)
    lost = decide(gone, LIMITS, 1.0)
    assert isinstance(lost, Lost)
    assert (lost.state, lost.reason, lost.is_confirmed) == ("gone", "DeletionByPodGC", True)


def test_another_disruption_is_left_to_the_job() -> None:
    """A pod that was preempted has ended; the Job makes another one on the same node (R7)."""
    preempted = a_pod(disrupted="PreemptionByScheduler", phase="Failed")
    assert isinstance(decide(seen(preempted, deleted=True), LIMITS, 1.0), Wait)


def test_an_announced_disruption_ends_no_run() -> None:
    """Kubernetes may break an eviction off; the pod then runs on, and so does the run (R10)."""
    marked = seen(a_pod(running=True, disrupted="EvictionByEvictionAPI"), now=100.0)
    limits = some_limits(deadline=None)
    assert decide(marked, limits, 10_000.0) == Wait()
    evicted = marked.with_pod(a_pod(running=True, being_deleted=True, disrupted="EvictionByEvictionAPI"), 10_000.0)
    assert decide(evicted, limits, 10_001.0) == Wait(10_000.0 + 30 + CONFIRMATION)


def evicted_in_installation(name: str, created: str) -> Any:
    """A pod that its kubelet ended while packages were installed: its script never began."""
    installing = [a_container(name="install", exit_code=137)]
    facts: dict[str, Any] = {"waiting": "PodInitializing", "phase": "Failed", "installers": installing}
    return a_pod(name, created=created, pod_reason="Evicted", disrupted="TerminationByKubelet", **facts)


@pytest.mark.parametrize(
    ("others", "until"), [([], 900.0), ([a_pod("load-x2", running=True, created="2026-01-01T00:00:10Z")], None)]
)
def test_an_eviction_before_the_script_is_left_to_the_job(others: list[Any], until: float | None) -> None:
    """The kubelet that ended the pod is alive: the Job makes another pod, which has its time to get a node (R5, R7)."""
    view = seen(evicted_in_installation("load-x1", "2026-01-01T00:00:00Z"), *others)
    assert decide(view, some_limits(deadline=None), 100.0) == Wait(until)


def test_a_node_that_came_back_is_not_lost() -> None:
    """A later pod has started there (R10)."""
    first = a_pod(waiting="PodInitializing", being_deleted=True, disrupted="DeletionByTaintManager", phase="Failed")
    assert isinstance(decide(seen(first), LIMITS, 1.0), Lost)
    later = a_pod("load-x2", created="2026-01-01T00:00:10Z", running=True)
    assert not isinstance(decide(seen(first, later), LIMITS, 1.0), Lost)


def test_a_pod_that_told_its_end_is_not_lost() -> None:
    """Also where somebody deletes it afterwards."""
    ended = a_pod(exit_code=3, being_deleted=True)
    assert not isinstance(decide(seen(ended), LIMITS, 1000.0), Lost)


def test_a_clock_that_began_earlier() -> None:
    """Who takes over a run that never began ends it in time."""
    verdict = decide(seen(a_pod()).since(-400.0), LIMITS, 1.0)
    assert isinstance(verdict, Verdict)
    assert verdict.cause is Cause.STARTUP_TIMEOUT
