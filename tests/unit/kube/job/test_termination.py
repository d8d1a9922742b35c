"""The end of a run's pods after the verdict: how long it is waited for, and what if it stays away."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_script_provider.kube.job import termination
from airflow_script_provider.kube.job.progress import CONFIRMATION, Cause, Verdict
from airflow_script_provider.kube.job.view import View
from tests.builders import a_container, a_pod, a_view, some_limits

BY_US = (Cause.DEADLINE, Cause.DISRUPTED, Cause.SILENCE, Cause.JOB_DELETED, Cause.JOB_FAILED, Cause.STARTUP_TIMEOUT)
"""Causes that are not the script's own end."""
GRACE = 30.0
LEAVING: dict[str, Any] = {"running": True, "being_deleted": True}
ENDED: dict[str, Any] = {"exit_code": 143, "being_deleted": True, "phase": "Failed"}


def waited_until(view: View, cause: Cause = Cause.DEADLINE, since: float = 100.0) -> float | None:
    """Until when the pods' ends are waited for, after a verdict at 100 s."""
    return termination.wait_until(view, Verdict(cause, view.last_pod), some_limits(), since)


def settled(view: View, cause: Cause, now: float) -> Verdict:
    """What the verdict becomes by what is known at this time."""
    return termination.settled(view, Verdict(cause, view.last_pod), some_limits(), now)


@pytest.mark.parametrize("cause", BY_US)
def test_the_end_of_a_script_that_runs_is_waited_for(cause: Cause) -> None:
    """Another try must not begin before it: for as long as a live kubelet needs (R10)."""
    assert waited_until(a_view(a_pod(running=True)), cause) == 100 + GRACE + termination.MARGIN
    assert waited_until(a_view(a_pod()), cause) == 100 + GRACE + termination.MARGIN


@pytest.mark.parametrize("pod", [a_pod(), a_pod(unschedulable="0/2 nodes are available")], ids=["node", "no node"])
def test_the_deletion_of_a_pod_that_waits_is_waited_for(pod: dict[str, Any]) -> None:
    """Kubernetes deletes it a moment after its Job: until then its script may begin (R10)."""
    view, verdict = a_view(pod), Verdict(Cause.STARTUP_TIMEOUT, "uid-load-x1", delete_job=True)
    assert waited_until(view, verdict.cause) == 100 + GRACE + termination.MARGIN
    assert termination.running_pod(view, verdict) == pod
    gone = view.with_pod(pod, 101, deleted=True)
    assert (waited_until(gone, verdict.cause), termination.running_pod(gone, verdict)) == (None, None)


@pytest.mark.parametrize(
    "pod",
    [
        a_pod(exit_code=1),
        a_pod(running=True, phase="Failed"),
        a_pod(unschedulable="0/2 nodes are available", being_deleted=True),
        a_pod(installers=[a_container(name="install", exit_code=1)]),
    ],
    ids=["ended", "failed", "without a node", "never begins"],
)
def test_nothing_is_waited_for_where_no_script_can_run(pod: dict[str, Any]) -> None:
    """Its end is known, or it cannot begin (R10)."""
    assert waited_until(a_view(pod)) is None


def test_nothing_is_waited_for_once_the_pod_is_gone_or_the_script_has_succeeded() -> None:
    """A pod is gone when its kubelet has ended it, or the user has said so with ``--force`` (R10)."""
    assert waited_until(a_view(a_pod(**LEAVING)).with_pod(a_pod(**LEAVING), 5, deleted=True)) is None
    assert waited_until(a_view(a_pod(running=True)), Cause.JOB_SUCCEEDED) is None


def test_a_grace_period_counts_from_the_pods_deletion() -> None:
    """It may begin before the verdict, or a moment after it (R10)."""
    for since in (80, 103):
        assert waited_until(a_view(a_pod(**LEAVING), now=since)) == since + GRACE + termination.MARGIN


def test_a_drain_may_give_a_disrupted_script_more_time() -> None:
    """At the end of the run's own time it does not (R5, R10)."""
    view = a_view(a_pod(**LEAVING, grace_period=900), now=100)
    assert waited_until(view, Cause.DISRUPTED) == 100 + 900 + termination.MARGIN
    assert waited_until(view, Cause.DEADLINE) == 100 + GRACE + termination.MARGIN


@pytest.mark.parametrize("cause", BY_US)
def test_a_pod_that_outlives_its_grace_period_makes_every_verdict_unknown(cause: Cause) -> None:
    """Its node does not report the end: the script may still run (R10)."""
    view, until = a_view(a_pod(**LEAVING), now=100), 100 + GRACE + CONFIRMATION
    assert settled(view, cause, until).cause is Cause.UNREACHABLE
    assert settled(view, cause, until - 1).cause is cause


@pytest.mark.parametrize("cause", [Cause.IMAGE, Cause.STARTUP_TIMEOUT, Cause.NOT_CREATED])
def test_a_pod_that_never_began_keeps_the_cause(cause: Cause) -> None:
    """The node that does not report its end is not why the script did not begin (R10, R11)."""
    view, verdict = a_view(a_pod(being_deleted=True, phase="Pending"), now=100), Verdict(cause, "uid-load-x1")
    assert termination.settled(view, verdict, some_limits(), 1000) == verdict
    assert termination.running_pod(view, verdict) is not None


@pytest.mark.parametrize("cause", BY_US)
def test_a_reported_end_leaves_the_verdict(cause: Cause) -> None:
    """The script was ended with its pod (R10)."""
    view = a_view(a_pod(**LEAVING), now=100, job_deleted=True).with_pod(a_pod(**ENDED), 120)
    assert settled(view, cause, 1000).cause is cause


def test_the_own_end_of_an_orphaned_script_counts() -> None:
    """``kubectl delete job --cascade=orphan`` lets its pod run: what it ends with is known by then (R9)."""
    orphaned = a_view(a_pod(running=True), job_deleted=True)
    assert settled(orphaned, Cause.JOB_DELETED, 1000).cause is Cause.JOB_DELETED
    for code, cause in ((0, Cause.SCRIPT_SUCCEEDED), (3, Cause.SCRIPT_FAILED)):
        assert settled(orphaned.with_pod(a_pod(exit_code=code), 5), Cause.JOB_DELETED, 1000).cause is cause


@pytest.mark.parametrize(("is_running", "deletes_job"), [(True, True), (True, False), (False, True)])
def test_a_script_may_be_repeated_while_other_containers_of_its_pod_run(is_running: bool, deletes_job: bool) -> None:
    """A drain makes its pod one that does not count, whatever the script ended with (R1, R7)."""
    others = [a_container(name="proxy", running=is_running, exit_code=None if is_running else 0)]
    verdict = Verdict(Cause.SCRIPT_SUCCEEDED, "uid-load-x1", delete_job=deletes_job)
    view = a_view(a_pod(exit_code=0, others=others))
    assert termination.may_be_repeated(view, verdict) is (is_running and deletes_job)
    disrupted = a_view(a_pod(exit_code=0, phase="Failed", disrupted="DeletionByPodGC"))
    assert termination.may_be_repeated(disrupted, verdict) is deletes_job
