"""A Job that another controller manages: its status is copied from a Job of another cluster, and there are no pods."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_script_provider.kube.job.announcements import Announced, Announcer
from airflow_script_provider.kube.job.diagnosis import diagnose
from airflow_script_provider.kube.job.earlier_tries import seconds_on_the_clock
from airflow_script_provider.kube.job.follow_state import FollowState, JobEnd
from airflow_script_provider.kube.job.observed import clocks
from airflow_script_provider.kube.job.observed.job_status import manager_of
from airflow_script_provider.kube.job.observed.pruning import pruned_job
from airflow_script_provider.kube.job.observed.view import View
from airflow_script_provider.kube.job.outcomes import conclude, unread
from airflow_script_provider.kube.job.progress import SILENCE_GRACE, decide
from airflow_script_provider.kube.job.termination import MARGIN, wait_until
from airflow_script_provider.kube.job.verdict import Cause, Limits, Verdict, Wait
from airflow_script_provider.kube.logs.output import Output
from tests.builders import a_case, a_job, a_launched_job, a_pod, a_view, some_limits

MULTIKUEUE = "kueue.x-k8s.io/multikueue"
LIMITS = some_limits(schedule_timeout=300, backoff_limit=3)
STARTED = "2026-01-01T00:00:10Z"


def a_copy(manager: str | None = MULTIKUEUE, **status: Any) -> dict[str, Any]:
    """The Job here; a condition is given as its type, reason and message."""
    kind, reason, message = status.pop("condition", (None, "", ""))
    job = a_job(kind, reason=reason, message=message)
    job["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    job["spec"] |= {} if manager is None else {"managedBy": manager}
    return job | {"status": job["status"] | status}


def decided(job: dict[str, Any], now: float, limits: Limits = LIMITS) -> Wait | Cause:
    """What a Job that was created at 0 means."""
    found = decide(a_view(job=job), limits, now)
    return found.cause if isinstance(found, Verdict) else found


TIMED_OUT = ("FailureTarget", "DeadlineExceeded", "")
SILENCE = 600 + 30 + SILENCE_GRACE


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        ({}, Cause.SCHEDULE_TIMEOUT),
        ({"startTime": STARTED}, Cause.SCHEDULE_TIMEOUT),
        ({"startTime": STARTED, "active": 1, "ready": 0}, Wait(SILENCE)),
        ({"startTime": STARTED, "active": 1, "ready": 1}, Wait(SILENCE)),
        ({"startTime": STARTED, "failed": 1}, Wait(SILENCE)),
        ({"startTime": STARTED, "uncountedTerminatedPods": {"failed": ["uid"]}}, Wait(SILENCE)),
        ({"condition": ("Suspended", "JobSuspended", ""), "failed": 1}, Cause.SCHEDULE_TIMEOUT),
        ({"startTime": STARTED, "terminating": 1, "condition": TIMED_OUT}, Wait(SILENCE)),
        ({"startTime": STARTED, "failed": 1, "condition": ("Failed", *TIMED_OUT[1:])}, Cause.DEADLINE),
        ({"startTime": STARTED, "failed": 4, "condition": ("Failed", "BackoffLimitExceeded", "")}, Cause.JOB_FAILED),
        ({"startTime": STARTED, "succeeded": 1, "condition": ("SuccessCriteriaMet", "", "")}, Cause.JOB_SUCCEEDED),
        ({"startTime": STARTED, "succeeded": 1, "condition": ("Complete", "", "")}, Cause.JOB_SUCCEEDED),
    ],
)
def test_its_status_decides(status: dict[str, Any], meaning: Wait | Cause) -> None:
    """Its pods are never seen, so no silence of theirs ends it (R1, R5, R10)."""
    assert decided(a_copy(**status), 301.0) == meaning
    assert decided(pruned_job(a_copy(**status)), 301.0) == meaning


@pytest.mark.parametrize("manager", [None, "kubernetes.io/job-controller"])
def test_kubernetes_own_controller_creates_pods_here(manager: str | None) -> None:
    """A count of pods that were not seen is then no pod of another cluster (R5)."""
    job = a_copy(manager, startTime=STARTED, active=1)
    assert manager_of(job) is None
    assert decided(job, 301.0) is Cause.SCHEDULE_TIMEOUT


def test_another_controller_may_create_pods_here() -> None:
    """Such a pod is followed as any other (R5)."""
    view = a_view(a_pod(), job=a_copy(active=1, startTime=STARTED))
    assert view.elsewhere is None
    assert decide(view, LIMITS, 301.0) == Verdict(Cause.STARTUP_TIMEOUT, "uid-load-x1", delete_job=True)


def test_it_has_begun_also_between_two_pods() -> None:
    """After an eviction its status counts none for some seconds, also for the next follower (R4, R5)."""
    view = a_view(job=a_copy(active=1, startTime=STARTED)).with_job(a_copy(startTime=STARTED), 400.0)
    assert decide(view, LIMITS, 401.0) == Wait(SILENCE)
    assert (view.elsewhere, clocks.seconds_for_a_node(view, 401.0)) == (MULTIKUEUE, 0.0)
    state = FollowState.from_dict(json.loads(json.dumps(FollowState(ran_elsewhere=view.ran_elsewhere).to_dict())))
    next_view = View(ran_elsewhere=state.ran_elsewhere).with_job(a_copy(startTime=STARTED), 0.0)
    assert decide(next_view, LIMITS, 401.0) == Wait(SILENCE)


def test_it_does_not_wait_for_a_pod() -> None:
    """The next follower sees as well that it has begun (R4, R5)."""
    assert clocks.seconds_for_a_node(a_view(job=a_copy(active=1)), 50.0) == 0.0
    assert clocks.seconds_for_a_node(a_view(job=a_copy()), 50.0) == 50.0


def test_a_pause_in_the_other_cluster_stops_the_clock() -> None:
    """A queue there may suspend it, while the Job here is not suspended (R5)."""
    paused = a_copy(condition=("Suspended", "JobSuspended", ""))
    assert seconds_on_the_clock(paused, datetime(2026, 1, 1, 0, 1, tzinfo=UTC)) is None
    view = View().with_job(a_copy(), 0.0).with_job(paused, 100.0)
    assert view.started_at is None
    assert view.with_job(a_copy(active=1), 900.0).started_at == 900.0


def test_its_log_says_where_the_scripts_is() -> None:
    """Once, also if another follower goes on (R11, R19)."""
    announcer = Announcer()
    (line,) = announcer.job(a_copy())
    assert line.text.startswith(f"Job load is managed by {MULTIKUEUE}. If that runs it in another cluster, its pods")
    left = Announced.from_dict(json.loads(json.dumps(announcer.announced.to_dict())))
    assert announcer.job(a_copy()) == Announcer(left).job(a_copy()) == []
    assert Announcer().job(a_copy(None)) == []


@pytest.mark.parametrize(
    ("cause", "reason", "headline"),
    [
        (
            Cause.JOB_FAILED,
            "BackoffLimitExceeded",
            f"Job etl/load failed: BackoffLimitExceeded; {MULTIKUEUE} ran it in another cluster, where its pods and "
            "logs are.",
        ),
        (
            Cause.DEADLINE,
            "DeadlineExceeded",
            f"Job etl/load was ended by its timeout of 600 s (DeadlineExceeded); {MULTIKUEUE} ran it in another "
            "cluster, where its pods and logs are. Raise timeout.",
        ),
    ],
)
def test_a_failure_says_where_to_look(cause: Cause, reason: str, headline: str) -> None:
    """Also where a worker makes the result of what a triggerer has seen (R22)."""
    case = a_case(cause=cause, reason=reason, job=a_copy(failed=1))
    assert diagnose(case).headline == headline
    end = JobEnd.from_dict(json.loads(json.dumps(JobEnd(case.verdict, case.view, 1.0).to_dict())))
    assert end.view.elsewhere == MULTIKUEUE


FINAL = "Container script for pod etl/load-x1 failed with exit code {} matching FailJob rule at index 1"


@pytest.mark.parametrize(("code", "skipped", "retryable"), [(99, True, True), (4, False, False), (5, False, True)])
def test_a_final_exit_code_is_in_its_condition(code: int, skipped: bool, retryable: bool) -> None:
    """``skip_on_exit_code`` and ``fail_on_exit_code`` hold in another cluster as well (R7)."""
    limits = some_limits(final_codes=frozenset({4}))
    message = FINAL.format(code)
    job = a_copy(failed=1)
    case = a_case(cause=Cause.JOB_FAILED, reason="PodFailurePolicy", message=message, job=job, limits=limits)
    outcome = conclude(case, Output(), a_launched_job(skip_codes=frozenset({99})), 1.0)
    assert (outcome.result.exit_code, outcome.skipped, outcome.retryable) == (code, skipped, retryable)


@pytest.mark.parametrize("message", ["", FINAL.format(4).replace("script", "install", 1)])
def test_another_message_has_no_exit_code_of_the_script(message: str) -> None:
    """A code of an installation is not the script's (R7)."""
    case = a_case(cause=Cause.JOB_FAILED, reason="PodFailurePolicy", message=message, job=a_copy(failed=1))
    assert conclude(case, Output(), a_launched_job(), 1.0).result.exit_code is None


COUNTED: list[dict[str, Any]] = [{"active": 1}, {"terminating": 1}, {"terminating": 1, "condition": TIMED_OUT}]


@pytest.mark.parametrize("cause", [Cause.DEADLINE, Cause.JOB_DELETED, Cause.SILENCE])
@pytest.mark.parametrize("status", COUNTED)
def test_no_try_begins_beside_a_pod_that_its_last_status_counts(cause: Cause, status: dict[str, Any]) -> None:
    """The Job was deleted, or no end was reported: the script may run on in the other cluster (R10)."""
    case = a_case(cause=cause, job=a_copy(**status))
    assert wait_until(case.view, case.verdict, LIMITS, 100.0) == 100 + 30 + MARGIN
    arrived = JobEnd.from_dict(json.loads(json.dumps(JobEnd(case.verdict, case.view, 1.0).to_dict())))
    for view in (case.view, arrived.view):
        outcome = conclude(replace(case, view=view), Output(), a_launched_job(), 1.0)
        assert (outcome.is_unknown, outcome.retryable) == (True, False)
        assert f"may still run in the cluster that {MULTIKUEUE} chose, so it is not" in str(outcome.result.error)
        assert "where its pods and logs are" not in str(outcome.result.error)


@pytest.mark.parametrize("status", [{"failed": 1, "condition": ("Failed", *TIMED_OUT[1:])}, {"failed": 1}])
def test_another_try_may_begin_after_its_last_pod(status: dict[str, Any]) -> None:
    """Its last status counts none that runs or ends (R10)."""
    case = a_case(cause=Cause.DEADLINE, job=a_copy(**status))
    assert conclude(case, Output(), a_launched_job(), 1.0).retryable


def test_a_success_says_what_its_result_lacks() -> None:
    """No result is not the same as a result that cannot be read (R1, R13)."""
    case = a_case(cause=Cause.JOB_SUCCEEDED, job=a_copy(succeeded=1))
    assert unread(case.job, case.verdict, case.view) == [
        f"Job etl/load: {MULTIKUEUE} ran it in another cluster, where its pods and logs are. The result has no exit "
        "code, no output and no value"
    ]
    gone = a_case(cause=Cause.JOB_SUCCEEDED, job=a_copy(None, succeeded=1))
    assert "its pods and their logs are gone" in unread(gone.job, gone.verdict, gone.view)[0]
    seen = a_case(a_pod(exit_code=0), cause=Cause.SCRIPT_SUCCEEDED)
    assert unread(seen.job, seen.verdict, seen.view) == []
