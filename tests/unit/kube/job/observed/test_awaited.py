"""What a run waits for before it gets a node."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_script_provider.kube.job.observed.awaited import awaited
from airflow_script_provider.kube.job.observed.view import View
from tests.builders import a_job, a_pod, a_view, an_event

QUOTA = "exceeded quota: q, requested: pods=1, used: pods={}, limited: pods=9"
OF_QUOTA = "Job load is waiting for quota q: pods 9 of 9 used, 1 asked"


def of_quota(used: int = 9, last: str = "2026-01-01T00:00:05Z") -> dict[str, Any]:
    """An event that a quota refuses a pod."""
    return an_event("FailedCreate", f"Error creating: {QUOTA.format(used)}", kind="Job", name="load", last=last)


def gated(*names: str) -> dict[str, Any]:
    """A pod with scheduling gates."""
    pod = a_pod(unschedulable="Scheduling is blocked due to non-empty scheduling gates")
    pod["status"]["conditions"][0]["reason"] = "SchedulingGated"
    pod["spec"]["schedulingGates"] = [{"name": name} for name in names]
    return pod


@pytest.mark.parametrize(
    ("view", "line"),
    [
        (a_view(), None),
        (a_view(a_pod(running=True)), None),
        (a_view(a_pod(unschedulable="no room")), "Pod load-x1 is waiting for a node: Unschedulable: no room"),
        (a_view(gated("example.com/a", "example.com/b")),
         "Pod load-x1 is waiting for scheduling gates: example.com/a, example.com/b"),
        (a_view().with_event(of_quota(), 1), OF_QUOTA),
        (a_view(a_pod(unschedulable="no room"), job_deleted=True), None),
        (a_view(job=a_job(suspended=True)).with_event(of_quota(), 1), None),
        (a_view(a_pod(unschedulable="no room"), job=a_job("Failed")), None),
    ],
    ids=["no pod yet", "runs", "no room", "gates", "quota", "deleted", "suspended", "failed"],
)  # fmt: skip
def test_what_a_run_waits_for(view: View, line: str | None) -> None:
    """Only what Kubernetes reports is said; a suspended Job has a line of its own."""
    assert awaited(view) == line


def test_a_later_attempt_may_wait_for_a_quota() -> None:
    """The pod of the attempt before has ended; the one before that is settled."""
    view = a_view(a_pod(exit_code=1, created="2026-01-01T00:00:01Z"))
    assert awaited(view.with_event(of_quota(last="2026-01-01T00:00:00Z"), 2)) is None
    assert awaited(view.with_event(of_quota(), 2)) == OF_QUOTA


def test_a_pod_settles_what_the_quota_lacked() -> None:
    """The quota has room by then, whatever happens to the pod."""
    view = a_view().with_event(of_quota(), 1).with_pod(a_pod(created="2026-01-01T00:00:09Z"), 9)
    assert awaited(view.with_pod(a_pod(exit_code=1, created="2026-01-01T00:00:09Z"), 19)) is None


def test_the_newest_figures_count() -> None:
    """A list brings events in the order of their names."""
    view = a_view().with_event(of_quota(), 1).with_event(of_quota(3, last="2026-01-01T00:00:01Z"), 1)
    assert awaited(view) == OF_QUOTA
