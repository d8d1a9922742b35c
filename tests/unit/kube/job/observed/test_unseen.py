"""Pods of a Job that were not seen: whether one may run the script, and which pod has decided."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_script_provider.kube.job.observed import unseen
from airflow_script_provider.kube.job.observed.view import View
from airflow_script_provider.kube.job.progress import decide, pod_of_unseen_code
from airflow_script_provider.kube.job.verdict import Cause, Verdict
from tests.builders import a_job, a_pod, a_view, some_limits

FAILED = a_pod("load-x1", exit_code=1, phase="Failed")
STOPPED = a_pod("load-x1", exit_code=0, phase="Failed", disrupted="PreemptionByScheduler")
RUNNING = a_pod("load-x2", running=True, created="2026-01-01T00:00:30Z")
FINAL = "Container script for pod etl/load-x2 failed with exit code 42 matching FailJob rule at index 1"
OF_INSTALL = "Container install for pod etl/load-x2 failed with exit code 78 matching FailJob rule at index 2"


@pytest.mark.parametrize(
    ("pods", "uid"),
    [
        ([FAILED], None),
        ([STOPPED], None),
        ([FAILED, RUNNING], "uid-load-x2"),
        ([FAILED, a_pod("load-x2", exit_code=0)], "uid-load-x2"),
        ([], None),
    ],
)
def test_a_success_is_not_that_of_a_failed_pod(pods: list[dict[str, Any]], uid: str | None) -> None:
    """The pod that succeeded may be gone, and an earlier attempt is left (R1, R13)."""
    assert decide(a_view(*pods, job=a_job("Complete", failed=1)), some_limits(), 0.0) == Verdict(
        Cause.SCRIPT_SUCCEEDED if uid and len(pods) > 1 and pods[1] is not RUNNING else Cause.JOB_SUCCEEDED, uid
    )


def test_a_stopped_attempt_does_not_decide_a_later_success() -> None:
    """A drain stopped the first attempt, which ended with 0: the second one has succeeded, and is gone (R1)."""
    view = a_view(STOPPED, job=a_job("Complete")).with_stopped("uid-load-x1", "Killing", "Stopping container script")
    assert decide(view, some_limits(), 0.0) == Verdict(Cause.JOB_SUCCEEDED)


@pytest.mark.parametrize(
    ("message", "pods", "uid"),
    [
        (FINAL, [FAILED], None),
        (FINAL, [FAILED, RUNNING], "uid-load-x2"),
        (OF_INSTALL, [FAILED], None),
        ("Job has reached the specified backoff limit", [FAILED], "uid-load-x1"),
    ],
)
def test_a_failure_is_that_of_the_pod_that_the_condition_names(
    message: str, pods: list[dict[str, Any]], uid: str | None
) -> None:
    """Its exit code may be final although only an earlier attempt is left (R1, R13)."""
    job = a_job("Failed", reason="PodFailurePolicy", message=message, failed=2)
    limits = some_limits(backoff_limit=3)
    assert decide(a_view(*pods, job=job), limits, 0.0) == Verdict(Cause.JOB_FAILED, uid, "PodFailurePolicy", message)


@pytest.mark.parametrize(
    ("pods", "message", "name"),
    [
        ([], FINAL, "load-x2"),
        ([FAILED], FINAL, "load-x2"),
        ([RUNNING], FINAL, "load-x2"),
        ([a_pod("load-x2", exit_code=42, phase="Failed")], FINAL, None),
        ([], OF_INSTALL, None),
    ],
)
def test_a_code_that_only_the_condition_tells(pods: list[dict[str, Any]], message: str, name: str | None) -> None:
    """Events of the pod then say whether the script chose it (R1)."""
    view = a_view(*pods, job=a_job("Failed", message=message))
    verdict = decide(view, some_limits(), 0.0)
    assert isinstance(verdict, Verdict)
    assert pod_of_unseen_code(view, verdict) == name


def deleted(*pods: dict[str, Any]) -> View:
    """A Job that was deleted, and whose pods cannot be listed."""
    return a_view(*pods, job_deleted=True).without_a_list()


@pytest.mark.parametrize(
    ("view", "may_run"),
    [
        (deleted(), True),
        (deleted(FAILED), True),
        (deleted(FAILED, RUNNING), False),
        (replace(deleted(FAILED), pods_known=True), False),
        (a_view(FAILED, job=a_job("Failed")).without_a_list(), False),
        (a_view(FAILED, job=a_job("FailureTarget", reason="DeadlineExceeded")).without_a_list(), True),
        (a_view(FAILED, job=a_job("FailureTarget", reason="BackoffLimitExceeded")).without_a_list(), False),
        (a_view(FAILED, job=a_job("FailureTarget", reason="PodFailurePolicy")).without_a_list(), False),
    ],
    ids=["none seen", "one ended", "one runs", "listed", "over", "timeout", "attempts are used up", "final code"],
)
def test_an_attempt_may_follow_one_that_ended(view: View, may_run: bool) -> None:
    """A pod that was seen to end says nothing about a newer one that was not seen (R10)."""
    assert unseen.may_run(view) is may_run
