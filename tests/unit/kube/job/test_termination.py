"""The end of a run's pods after the verdict: how long it is waited for, and what if it stays away."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_script_provider.kube.job import termination
from airflow_script_provider.kube.job.diagnosis import diagnose
from airflow_script_provider.kube.job.observed.view import View
from airflow_script_provider.kube.job.progress import CONFIRMATION
from airflow_script_provider.kube.job.verdict import Cause, Verdict
from tests.builders import a_case, a_container, a_job, a_pod, a_view, some_limits

BY_US = (Cause.DEADLINE, Cause.DISRUPTED, Cause.SILENCE, Cause.JOB_DELETED, Cause.JOB_FAILED, Cause.STARTUP_TIMEOUT)
"""Causes that are not the script's own end."""
BY_SILENCE = (Cause.STARTUP_TIMEOUT, Cause.IMAGE, Cause.NOT_CREATED, Cause.SILENCE)
"""Causes that a report of the script's end refutes."""
GRACE = 30.0
LEAVING: dict[str, Any] = {"running": True, "being_deleted": True}
ENDED_BEFORE: dict[str, Any] = {"being_deleted": "2026-01-01T00:10:30Z", "grace_period": 30}
"""The deletion of a pod, minutes after its script's end."""
ENDED: dict[str, Any] = {"exit_code": 143, "being_deleted": True, "phase": "Failed"}


def waited_until(view: View, cause: Cause = Cause.DEADLINE, since: float = 100.0) -> float | None:
    """Until when the pods' ends are waited for, after a verdict at 100 s."""
    return termination.wait_until(view, Verdict(cause, view.last_pod), some_limits(), since)


def settled(view: View, cause: Cause, now: float, **limits: Any) -> Verdict:
    """What the verdict becomes by what is known at this time."""
    bounds = some_limits(**{"final_codes": frozenset({4})} | limits)
    return termination.settled(view, Verdict(cause, view.last_pod), bounds, now)


@pytest.mark.parametrize("cause", BY_US)
def test_the_end_of_a_script_that_runs_is_waited_for(cause: Cause) -> None:
    """Another try must not begin before it: for as long as a live kubelet needs (R10)."""
    assert waited_until(a_view(a_pod(running=True)), cause) == 100 + GRACE + termination.MARGIN
    assert waited_until(a_view(a_pod()), cause) == 100 + GRACE + termination.MARGIN


@pytest.mark.parametrize(
    ("pod", "does", "advice"),
    [
        (a_pod(running=True), "run", "kubectl -n etl delete pod load-x1"),
        (a_pod(running=True, being_deleted=True), "run", "kubectl describe node node-1"),
        (a_pod(), "begin", "kubectl -n etl delete pod load-x1"),
    ],
    ids=["running", "being deleted", "waiting"],
)
def test_a_script_of_an_earlier_try_is_named_with_what_to_do(pod: dict[str, Any], does: str, advice: str) -> None:
    """A node that does not answer is to be looked at; any other pod may be deleted (R22)."""
    why = f"the script of an earlier try may still {does} in load-x1"
    assert termination.not_beside("etl/load-2", pod) == f"Job etl/load-2 was not created: {why}. Run {advice}."


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


@pytest.mark.parametrize("cause", BY_US)
@pytest.mark.parametrize(("code", "expected"), [(0, Cause.SCRIPT_SUCCEEDED), (4, Cause.SCRIPT_FAILED)])
def test_an_end_before_the_deletion_counts_when_it_is_reported_late(cause: Cause, code: int, expected: Cause) -> None:
    """The kubelet was away: what has ended with 0 or for good must not run again (R9, R10)."""
    view = (
        a_view(a_pod(running=True)).with_pod(a_pod(**LEAVING), 100).with_pod(a_pod(exit_code=code, **ENDED_BEFORE), 120)
    )
    is_told = code and cause is Cause.JOB_FAILED  # the exit code is read from the pod
    assert settled(view, cause, 121).cause is (cause if is_told else expected)


def test_sidecars_do_not_delay_an_end_that_is_reported_late() -> None:
    """They end with the pod (R9)."""
    sidecar = a_container(name="proxy", running=True)
    view = a_view(a_pod(exit_code=0, others=[sidecar], **ENDED_BEFORE))
    assert settled(view, Cause.DEADLINE, 0).cause is Cause.SCRIPT_SUCCEEDED


def test_an_attempt_before_a_wait_for_a_node_is_not_its_cause() -> None:
    """A queue suspends the Job between two attempts, and does not admit it again (R10, R21)."""
    view = a_view(a_pod(exit_code=1, phase="Failed"), job=a_job(failed=1))
    assert settled(view, Cause.SCHEDULE_TIMEOUT, 9000, backoff_limit=3).cause is Cause.SCHEDULE_TIMEOUT
    assert settled(view, Cause.SCHEDULE_TIMEOUT, 9000, backoff_limit=0).cause is Cause.SCRIPT_FAILED


@pytest.mark.parametrize("cause", BY_SILENCE)
def test_a_failure_that_is_reported_late_refutes_that_the_script_did_not_start(cause: Cause) -> None:
    """It was only not reported (R22)."""
    view = a_view(a_pod()).with_pod(a_pod(exit_code=1, **ENDED_BEFORE), 120)
    assert settled(view, cause, 121, backoff_limit=3).cause is Cause.SCRIPT_FAILED


@pytest.mark.parametrize(
    ("backoff_limit", "failed", "cause"),
    [(0, 0, Cause.SCRIPT_FAILED), (2, 2, Cause.SCRIPT_FAILED), (2, 1, Cause.DEADLINE)],
    ids=["only attempt", "last attempt", "others were left"],
)
def test_a_failure_just_before_the_deadline_is_the_scripts_if_no_attempt_was_left(
    backoff_limit: int, failed: int, cause: Cause
) -> None:
    """The Job controller may see the deadline before the pod's end (R1, R5)."""
    job = a_job("FailureTarget", reason="DeadlineExceeded") | {"spec": {"backoffLimit": backoff_limit}}
    job["status"]["failed"] = failed
    view = a_view(a_pod(exit_code=4, **ENDED_BEFORE), job=job)
    found = settled(view, Cause.DEADLINE, 121, backoff_limit=backoff_limit, final_codes=frozenset())
    assert (found.cause, found.pod_uid) == (cause, "uid-load-x1")
    stopped = a_view(a_pod(**ENDED), job=job)
    assert settled(stopped, Cause.DEADLINE, 121, backoff_limit=backoff_limit).cause is Cause.DEADLINE


def test_a_verdict_on_an_end_stays() -> None:
    """What the follower knows of it, such as the need to delete the Job, is kept (R9)."""
    verdict = Verdict(Cause.SCRIPT_FAILED, "uid-load-x1", "Error", delete_job=True, by_silence=True)
    limits = some_limits(final_codes=frozenset({4}))
    assert termination.settled(a_view(a_pod(exit_code=4)), verdict, limits, 0) is verdict


def test_nothing_is_waited_for_once_the_node_does_not_answer() -> None:
    """A drain with a long grace period begins the wait no second time (R5, R10)."""
    view = a_view(a_pod(**LEAVING, grace_period=900), now=100)
    assert waited_until(view, Cause.UNREACHABLE) is None


def test_an_end_after_all_is_no_silence_of_the_node() -> None:
    """What its Job was ended by is then the verdict; without that, the script is not begun again (R5, R10)."""
    leaving = a_view(a_pod(**LEAVING), now=100)
    timed_out = leaving.with_job(a_job("FailureTarget", reason="DeadlineExceeded"), 150)
    assert settled(timed_out, Cause.UNREACHABLE, 1000).cause is Cause.UNREACHABLE
    assert settled(timed_out.with_pod(a_pod(**ENDED), 160), Cause.UNREACHABLE, 1000).cause is Cause.DEADLINE
    deleted = leaving.with_job(a_job(), 150, deleted=True).with_pod(a_pod(**ENDED), 160)
    assert settled(deleted, Cause.UNREACHABLE, 1000).cause is Cause.UNREACHABLE
    assert termination.may_run_on(deleted, Verdict(Cause.UNREACHABLE, deleted.last_pod))


@pytest.mark.parametrize("cause", [Cause.DEADLINE, Cause.JOB_DELETED])
def test_a_pod_that_could_not_be_listed_may_run(cause: Cause) -> None:
    """A worker that took over knows of no pod while the API server refuses to list them (R4, R10)."""
    case = a_case(cause=cause)
    case = replace(case, view=replace(case.view, pods_known=False))
    assert waited_until(case.view, cause) == 100 + GRACE + termination.MARGIN
    found = termination.diagnosed(case, diagnose(case))
    assert "the script may still run in a pod that could not be listed, so it is not retried" in found.headline
    assert "no pod was created" not in found.headline
    assert f"{found.headline} {found.advice}".rstrip().endswith("Run kubectl -n etl get pods -l job-name=load.")
    assert not termination.may_run_on(replace(case.view, pods_known=True), case.verdict)


@pytest.mark.parametrize(("is_running", "deletes_job"), [(True, True), (True, False), (False, True)])
def test_a_script_may_be_repeated_while_other_containers_of_its_pod_run(is_running: bool, deletes_job: bool) -> None:
    """A drain makes its pod one that does not count, whatever the script ended with (R1, R7)."""
    others = [a_container(name="proxy", running=is_running, exit_code=None if is_running else 0)]
    verdict = Verdict(Cause.SCRIPT_SUCCEEDED, "uid-load-x1", delete_job=deletes_job)
    view = a_view(a_pod(exit_code=0, others=others))
    assert termination.may_be_repeated(view, verdict) is (is_running and deletes_job)
    disrupted = a_view(a_pod(exit_code=0, phase="Failed", disrupted="DeletionByPodGC"))
    assert termination.may_be_repeated(disrupted, verdict) is deletes_job


@pytest.mark.parametrize(
    ("cause", "pod", "expected"),
    [
        (Cause.SCRIPT_SUCCEEDED, {"exit_code": 0, "sidecars": [a_container(name="proxy", running=True)]}, True),
        (Cause.SCRIPT_SUCCEEDED, {"exit_code": 0, "sidecars": [a_container(name="proxy", exit_code=0)]}, False),
        (Cause.SCRIPT_SUCCEEDED, {"exit_code": 0}, False),
        (Cause.SCRIPT_FAILED, {"exit_code": 3, "sidecars": [a_container(name="proxy", running=True)]}, False),
    ],
)
def test_a_sidecar_of_a_success_may_still_be_stopped(cause: Cause, pod: dict[str, Any], expected: bool) -> None:
    """A node that dies meanwhile has the pod replaced; without a sidecar, its end is only still to be told (R2, R7)."""
    view = a_view(a_pod(**pod))
    assert termination.has_running_sidecar(view, Verdict(cause, view.last_pod)) is expected
    assert not termination.has_running_sidecar(view, Verdict(Cause.JOB_SUCCEEDED, None))
