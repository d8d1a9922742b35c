"""Why a queue of Kueue does not admit a Job."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_script_provider.kube.causes.queue import Pending, as_event, is_workload, pending, why_suspended
from tests.builders import an_event

ASSIGNING = "couldn't assign flavors to pod set main: "
NEVER = (
    "insufficient quota for cpu in flavor f, previously considered podsets requests (0) + current podset request (3)"
)


def a_workload(*conditions: dict[str, Any]) -> dict[str, Any]:
    """A Workload as Kueue makes it of a Job."""
    metadata = {"uid": "w", "name": "job-load-f5fbe", "labels": {"kueue.x-k8s.io/job-uid": "uid-load"}}
    return {"metadata": metadata, "spec": {"queueName": "team-a"}, "status": {"conditions": [*conditions]}}


def quota(reason: str, message: str, status: str = "False") -> dict[str, Any]:
    """The condition about the quota of a Workload."""
    return {"type": "QuotaReserved", "status": status, "reason": reason, "message": message}


@pytest.mark.parametrize(
    ("reason", "message", "text"),
    [
        ("Pending", f"{ASSIGNING}insufficient unused quota for cpu in flavor default, 1 more needed",
         "1 cpu short in flavor default"),
        ("Pending", f"{ASSIGNING}insufficient unused quota for cpu in flavor a, 1 more needed, insufficient unused "
         "quota for memory in flavor a, 256Mi more needed",
         "1 cpu short in flavor a, 256Mi memory short in flavor a"),
        ("Pending", f"{ASSIGNING}{NEVER}", NEVER),
        ("Pending", f"{ASSIGNING}resource memory unavailable", "resource memory unavailable"),
        ("Inadmissible", "LocalQueue team-a doesn't exist", "LocalQueue team-a doesn't exist"),
        ("Inadmissible", "ClusterQueue a is inactive", "ClusterQueue a is inactive"),
        ("Pending", "two\nlines", "two lines"),
    ],
)  # fmt: skip
def test_what_a_job_waits_for_in_a_queue(reason: str, message: str, text: str) -> None:
    """Kueue's message without what it says of its own work."""
    assert pending(as_event(a_workload(quota(reason, message)))) == Pending("team-a", reason, text)


@pytest.mark.parametrize("conditions", [[], [quota("QuotaReserved", "Quota reserved in ClusterQueue a", "True")]])
def test_an_admitted_job_waits_for_nothing(conditions: list[dict[str, Any]]) -> None:
    """Nor does one that Kueue has not looked at yet."""
    assert pending(as_event(a_workload(*conditions))) is None


def test_an_event_about_a_workload_is_not_one() -> None:
    """Kueue also writes events, without a queue."""
    assert is_workload(as_event(a_workload()))
    assert not is_workload(an_event("Pending", "no quota", kind="Workload", name="job-load-f5fbe"))


def test_the_failure_of_a_job_that_is_never_admitted_says_why() -> None:
    """By the newest warning about its Workload (R11)."""
    warnings = ["Job load: FailedCreate: no", "Workload job-load-f5fbe: Inadmissible: LocalQueue team-a doesn't exist"]
    assert why_suspended(warnings).why == "the Job is suspended: Inadmissible: LocalQueue team-a doesn't exist"
    assert why_suspended(warnings[:1]).why == why_suspended([]).why == "the Job is suspended"
