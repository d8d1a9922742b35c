"""When a run is over, and how it ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from airflow_script_provider.kube.job.observed import clocks
from airflow_script_provider.kube.job.observed.pruning import pruned_pod
from airflow_script_provider.kube.job.observed.view import View
from airflow_script_provider.kube.job.progress import (
    CONFIRMATION,
    IMAGE_GRACE,
    MAX_DISRUPTIONS,
    NODE_PATIENCE,
    OTHERS_GRACE,
    REFUSAL_GRACE,
    SILENCE_GRACE,
    decide,
    may_be_stopped,
    other_failures,
)
from airflow_script_provider.kube.job.verdict import Cause, Verdict, Wait
from airflow_script_provider.kube.pods import pod_status
from tests.builders import a_container, a_job, a_pod, a_view, an_event, some_limits

HOPELESS: dict[str, Any] = {"waiting": "ErrImagePull", "message": "python:9.99: not found"}


def verdict_of(view: View, now: float = 0.0, **limits: Any) -> Verdict:
    """The verdict on a view that is expected to have one."""
    decided = decide(view, some_limits(**limits), now)
    assert isinstance(decided, Verdict)
    return decided


def test_a_running_script_is_waited_for() -> None:
    """While the script runs, nothing is over."""
    assert isinstance(decide(a_view(a_pod(running=True)), some_limits(), 10), Wait)


def test_exit_code_zero_is_success_at_once() -> None:
    """A script that ended with 0 has succeeded before the Job's controller says so (R31)."""
    assert verdict_of(a_view(a_pod(exit_code=0))).cause is Cause.SCRIPT_SUCCEEDED


@pytest.mark.parametrize("condition", ["Complete", "SuccessCriteriaMet"])
def test_the_jobs_success_is_success(condition: str) -> None:
    """The early condition of a Job that succeeded counts like the late one."""
    assert verdict_of(a_view(job=a_job(condition))).is_success


@pytest.mark.parametrize("condition", ["Failed", "FailureTarget"])
def test_the_jobs_failure_is_final(condition: str) -> None:
    """``FailureTarget`` is final: on a dead node ``Failed`` never comes (R10)."""
    view = a_view(a_pod(running=True), job=a_job(condition, reason="BackoffLimitExceeded"))
    assert verdict_of(view).cause is Cause.JOB_FAILED


def test_a_condition_that_is_not_true_says_nothing() -> None:
    """Only conditions with status True count."""
    job = a_job("Failed")
    job["status"]["conditions"][0]["status"] = "False"
    assert isinstance(decide(a_view(job=job), some_limits(), 0), Wait)


def test_the_jobs_deadline_is_told_from_other_failures() -> None:
    """A Job ended by its deadline is a timeout (R5)."""
    view = a_view(job=a_job("FailureTarget", reason="DeadlineExceeded"))
    assert verdict_of(view).cause is Cause.DEADLINE


def test_the_last_attempt_that_fails_is_failure() -> None:
    """With no attempt left, a failed script is the end (R7)."""
    assert verdict_of(a_view(a_pod(exit_code=1)), backoff_limit=0).cause is Cause.SCRIPT_FAILED


def test_a_failed_attempt_with_others_left_is_waited_for() -> None:
    """While ``backoff_limit`` allows another attempt, a failed one decides nothing (R7)."""
    assert isinstance(decide(a_view(a_pod(exit_code=1)), some_limits(backoff_limit=1), 1), Wait)


def test_the_jobs_own_back_off_limit_counts() -> None:
    """A policy or a user may change it: while Kubernetes goes on, no retry may begin beside it (R7)."""
    view = a_view(a_pod(exit_code=1), job=a_job(backoff_limit=1))
    assert isinstance(decide(view, some_limits(backoff_limit=0), 1), Wait)
    lowered = a_view(a_pod(exit_code=1), job=a_job(backoff_limit=0))
    assert verdict_of(lowered, backoff_limit=3).cause is Cause.SCRIPT_FAILED


def test_the_last_attempt_decides() -> None:
    """Of several failed attempts the verdict names the last: its exit code and output are the result's (R7)."""
    view = a_view(a_pod("first", exit_code=1), a_pod("second", exit_code=2))
    assert verdict_of(view, backoff_limit=1).pod_uid == "uid-second"


def test_attempts_are_in_the_order_of_their_creation() -> None:
    """A list brings pods by name, and the last attempt may have the first one (R7)."""
    second = a_pod("load-aa", oom_killed=True, created="2026-01-01T00:00:12Z")
    view = a_view(second, a_pod("load-zz", exit_code=1, created="2026-01-01T00:00:00Z"))
    assert list(view.pods) == ["uid-load-zz", "uid-load-aa"]
    assert verdict_of(view, backoff_limit=1).pod_uid == "uid-load-aa"


def test_a_change_of_a_pod_keeps_the_order() -> None:
    """The first attempt may change last, for example when it is deleted (R7)."""
    first = a_pod("load-zz", exit_code=1, created="2026-01-01T00:00:00Z")
    view = a_view(first, a_pod("load-aa", exit_code=2, created="2026-01-01T00:00:12Z")).with_pod(first, 9, deleted=True)
    assert list(view.pods) == ["uid-load-zz", "uid-load-aa"]


def test_a_count_that_runs_ahead_of_the_pods_is_waited_out() -> None:
    """The Job may count the last attempt as failed before its pod is seen to have ended (R7)."""
    view = a_view(a_pod("first", exit_code=1), a_pod("second", running=True), job=a_job(failed=2))
    assert isinstance(decide(view, some_limits(backoff_limit=1), 1), Wait)


def test_an_older_state_does_not_undo_an_end() -> None:
    """A look may bring an end before the watch brings the state before it (R6, R10)."""
    helper = a_container(name="helper", running=True)
    view = a_view(a_pod(exit_code=0, others=[helper])).with_pod(a_pod(running=True, others=[helper]), 1.0)
    assert isinstance(decide(view, some_limits(), 1), Wait)
    assert verdict_of(view, now=10).is_success


def test_success_after_a_failed_attempt_is_success() -> None:
    """Fails once, succeeds on attempt 2: success (R7)."""
    view = a_view(a_pod("first", exit_code=1), a_pod("second", exit_code=0))
    assert verdict_of(view, backoff_limit=1).is_success


def test_a_final_exit_code_ends_the_run() -> None:
    """An exit code that no attempt mends is final, whatever ``backoff_limit`` says."""
    view = a_view(a_pod(exit_code=99))
    assert verdict_of(view, backoff_limit=3, final_codes=frozenset({99})).cause is Cause.SCRIPT_FAILED


@pytest.mark.parametrize(
    "ended",
    [
        {"being_deleted": True}, {"phase": "Failed", "pod_reason": "DeadlineExceeded"}, {"phase": "Failed"},
        {"phase": "Failed", "reason": "ContainerStatusUnknown"}, {"phase": "Failed", "reason": "Unknown"},
    ],
)  # fmt: skip
def test_a_final_exit_code_ends_the_run_only_of_a_script_that_ended_by_itself(ended: dict[str, Any]) -> None:
    """A script that was stopped may end with any code (R1, R7)."""
    decision = decide(
        a_view(a_pod(exit_code=99, **ended)), some_limits(backoff_limit=3, final_codes=frozenset({99})), 1
    )
    assert isinstance(decision, Verdict) is (ended == {"phase": "Failed"})


@pytest.mark.parametrize(
    ("pod", "may_be_stopped_"),
    [
        (a_pod(exit_code=143), True), (a_pod(exit_code=137), True), (a_pod(exit_code=99), True),
        (a_pod(exit_code=0), True), (a_pod(exit_code=1), False), (a_pod(oom_killed=True), False),
        (a_pod(exit_code=143, being_deleted=True), False), (a_pod(exit_code=143, phase="Failed"), True),
        (a_pod(exit_code=143, phase="Failed", pod_reason="Evicted"), False),
        (a_pod(exit_code=143, phase="Failed", disrupted="PreemptionByScheduler"), False), (a_pod(running=True), True),
    ],
)  # fmt: skip
def test_when_the_kubelets_events_are_worth_a_request(pod: dict[str, Any], may_be_stopped_: bool) -> None:
    """A liveness probe leaves only an event, and an ordinary failure needs no explanation (R1, R22).

    A pod may be gone before its end was seen, of a Job that has succeeded.
    """
    limits, cause = some_limits(final_codes=frozenset({99})), Cause.SCRIPT_FAILED
    if pod_status.failed_end(pod) is None:
        cause = Cause.SCRIPT_SUCCEEDED
    assert may_be_stopped(a_view(pod), Verdict(cause, "uid-load-x1"), limits) is may_be_stopped_
    assert not may_be_stopped(a_view(pod), Verdict(Cause.DEADLINE, "uid-load-x1"), limits)


def test_a_final_exit_code_of_a_stopped_script_is_left_to_the_job() -> None:
    """Whether another attempt follows is then the Job's decision (R1, R7)."""
    view = a_view(a_pod(exit_code=99)).with_stopped("uid-load-x1", "Killing", "Stopping container script")
    assert isinstance(decide(view, some_limits(backoff_limit=3, final_codes=frozenset({99})), 1), Wait)


def test_helpers_of_a_deleted_pod_end_with_it() -> None:
    """Another attempt follows, which must not be ended with the Job (R7, R12)."""
    helper = [a_container(name="helper", running=True)]
    pod = a_pod(exit_code=143, being_deleted=True, grace_period=60, others=helper)
    limits = some_limits(deadline=None, backoff_limit=3)
    assert decide(a_view(pod), limits, OTHERS_GRACE) == Wait(60 + CONFIRMATION)
    assert verdict_of(a_view(pod), 60 + CONFIRMATION, backoff_limit=3).cause is Cause.SCRIPT_FAILED
    replaced = a_view(pod).with_pod(pod, 1, deleted=True).with_pod(a_pod("load-x2", running=True), 1)
    assert isinstance(decide(replaced, limits, 60 + CONFIRMATION), Wait)


def test_a_failure_before_the_jobs_deletion_is_known() -> None:
    """The pod is deleted with its Job, after the end that was seen (R10)."""
    view = (
        a_view(a_pod(exit_code=3))
        .with_pod(a_pod(exit_code=3, being_deleted=True), 1)
        .with_job(a_job(), 1, deleted=True)
    )
    assert verdict_of(view, 1, backoff_limit=3).cause is Cause.SCRIPT_FAILED


def test_an_evicted_pod_is_no_attempt() -> None:
    """An eviction is not counted, even if the script ended with an exit code (R7)."""
    evicted = a_view(a_pod(exit_code=143, disrupted="EvictionByEvictionAPI"))
    assert evicted.failures == 0
    assert isinstance(decide(evicted, some_limits(), 1), Wait)


def test_disruptions_have_an_end() -> None:
    """A cluster that ends every pod would start the script for ever: the bound counts earlier followers' too (R7)."""
    preempted: dict[str, Any] = {"running": True, "being_deleted": True, "disrupted": "PreemptionByScheduler"}
    pods = [a_pod(f"load-{number}", **preempted) for number in range(3)]
    earlier = {f"uid-{number}": "load-x on node-2: gone" for number in range(MAX_DISRUPTIONS - 2)}
    view = replace(a_view(*pods[:2]), disruptions={**earlier, **a_view(*pods[:2]).disruptions})
    assert isinstance(decide(view, some_limits(), 1), Wait)
    verdict = verdict_of(view.with_pod(pods[2], 1))
    assert (verdict.cause, verdict.pod_uid, verdict.delete_job) == (Cause.DISRUPTED, "uid-load-2", True)
    assert verdict.message == "load-2 on node-1: PreemptionByScheduler: the node is drained"


def test_a_pod_is_one_disruption_however_often_it_is_seen() -> None:
    """Its changes on the way out are no others."""
    pod = a_pod(running=True, being_deleted=True, disrupted="PreemptionByScheduler")
    view = a_view(pod).with_pod(pod | {"status": {**pod["status"], "phase": "Failed"}}, 1)
    assert len(view.disruptions) == 1


def test_an_announced_disruption_ends_nothing() -> None:
    """Kubernetes may break it off: the pod is no disruption, and its node not silent (R7, R10)."""
    view = a_view(a_pod(running=True, disrupted="EvictionByEvictionAPI"))
    assert decide(view, some_limits(deadline=None), 10_000) == Wait()
    assert not view.disruptions
    assert verdict_of(view.with_job(DEADLINE_EXCEEDED, 600), 600).cause is Cause.DEADLINE


def test_a_success_under_an_announced_disruption_is_one() -> None:
    """Nothing ended the script (R1)."""
    view = a_view(a_pod(exit_code=0, disrupted="EvictionByEvictionAPI"))
    assert verdict_of(view).cause is Cause.SCRIPT_SUCCEEDED


def test_a_pod_that_somebody_ended_counts_if_the_job_counts_it() -> None:
    """A deleted pod is an attempt, one of a suspended Job is none: the Job knows which it was (R7)."""
    pod = a_pod(running=True)
    assert a_view(pod).with_pod(pod, 1, deleted=True).failures == 0
    assert a_view(pod, job=a_job(failed=1)).with_pod(pod, 1, deleted=True).failures == 1


def test_a_pod_that_failed_as_a_whole_is_no_early_success() -> None:
    """A script that ends with 0 because its pod's own deadline ended it has not done its work (R1)."""
    view = a_view(a_pod(exit_code=0, phase="Failed"))
    assert isinstance(decide(view, some_limits(), 1), Wait)


def test_an_image_beside_a_running_script_ends_nothing() -> None:
    """A sidecar whose image cannot be pulled is no reason to end a script at work (R12, R15)."""
    pod = a_pod(running=True, others=[a_container(name="proxy", waiting="ErrImageNeverPull")])
    assert isinstance(decide(a_view(pod), some_limits(), 100), Wait)


def test_exit_code_zero_of_an_evicted_pod_proves_nothing() -> None:
    """A script that was told to stop may end with 0 without having done its work (R1)."""
    view = a_view(a_pod(exit_code=0, being_deleted=True, disrupted="EvictionByEvictionAPI"))
    assert isinstance(decide(view, some_limits(), 1), Wait)


def test_exit_code_zero_of_a_deleted_pod_proves_nothing() -> None:
    """A handler of SIGTERM that exits with 0 is not success (R1)."""
    view = a_view(a_pod(exit_code=0, being_deleted=True), job_deleted=True)
    assert verdict_of(view).cause is Cause.JOB_DELETED


ENDED_BEFORE: dict[str, Any] = {"being_deleted": "2026-01-01T00:00:41Z", "grace_period": 30}


@pytest.mark.parametrize(
    ("deletion", "is_known"),
    [
        (ENDED_BEFORE, True),
        ({"being_deleted": "2026-01-01T00:00:40Z", "grace_period": 30}, False),
        ({"being_deleted": "2026-01-01T00:00:41Z"}, False),
        ({"being_deleted": True, "grace_period": 0}, False),
    ],
)
def test_an_end_before_the_deletion_stands_though_both_are_seen_at_once(
    deletion: dict[str, Any], is_known: bool
) -> None:
    """The next follower first sees the pod while a helper uses its grace period (R1, R9).

    The clock of the node may differ a little from the API server's.
    """
    succeeded = verdict_of(a_view(a_pod(exit_code=0, **deletion), job_deleted=True))
    assert succeeded.cause is (Cause.SCRIPT_SUCCEEDED if is_known else Cause.JOB_DELETED)
    failed = verdict_of(a_view(a_pod(exit_code=3, **deletion), job_deleted=True))
    assert failed.cause is (Cause.SCRIPT_FAILED if is_known else Cause.JOB_DELETED)


def test_a_success_before_an_eviction_stands_though_both_are_seen_at_once() -> None:
    """The Job counts no pod that the cluster ends, whatever its exit code, and would start another (R1, R7)."""
    evicted: dict[str, Any] = {"disrupted": "EvictionByEvictionAPI"} | ENDED_BEFORE
    view = a_view(a_pod(exit_code=0, **evicted))
    assert (verdict_of(view).cause, view.disruptions) == (Cause.SCRIPT_SUCCEEDED, {})
    assert isinstance(decide(a_view(a_pod(exit_code=3, **evicted)), some_limits(), 1), Wait)


def test_sidecars_get_a_moment_to_end() -> None:
    """Right after the script's end the run waits for other containers, until the grace is over (R12)."""
    view = a_view(a_pod(exit_code=0, others=[a_container(name="proxy", running=True)]), now=10)
    assert decide(view, some_limits(), 10.5) == Wait(10 + OTHERS_GRACE)


def test_the_scripts_end_is_the_runs_end() -> None:
    """A sidecar that never ends costs the grace and then the Job (R12)."""
    view = a_view(a_pod(exit_code=0, others=[a_container(name="proxy", running=True)]), now=10)
    verdict = verdict_of(view, 10 + OTHERS_GRACE)
    assert (verdict.cause, verdict.delete_job) == (Cause.SCRIPT_SUCCEEDED, True)


def test_a_failed_script_beside_a_sidecar_is_final() -> None:
    """Kubernetes starts no other attempt beside a sidecar that runs: the first failure is final (R12)."""
    view = a_view(a_pod(exit_code=1, others=[a_container(name="proxy", running=True)]), now=10)
    verdict = verdict_of(view, 10 + OTHERS_GRACE, backoff_limit=3)
    assert (verdict.cause, verdict.delete_job) == (Cause.SCRIPT_FAILED, True)


@pytest.mark.parametrize(
    ("pod", "until", "attempts"),
    [
        (a_pod(exit_code=1, others=[a_container(name="proxy", running=True)]), OTHERS_GRACE, 4),
        (a_pod(exit_code=1, phase="Running"), 30 + CONFIRMATION, 1),
    ],
    ids=["another container runs", "its end is not reported"],
)
def test_a_failure_that_rests_on_silence_is_confirmed(pod: dict[str, Any], until: float, attempts: int) -> None:
    """The containers may have ended while the watch was dead, and Kubernetes goes on (R7, R12)."""
    verdict = verdict_of(a_view(pod), until, backoff_limit=attempts - 1)
    assert (verdict.cause, verdict.delete_job, verdict.must_be_confirmed) == (Cause.SCRIPT_FAILED, True, True)
    ended = verdict_of(a_view(a_pod(exit_code=1, phase="Failed")))
    assert (ended.delete_job, ended.must_be_confirmed) == (False, False)


def test_a_sidecar_that_failed_does_not_undo_success() -> None:
    """With a sidecar that ended badly Kubernetes would try again; the Job is deleted instead."""
    view = a_view(a_pod(exit_code=0, others=[a_container(name="proxy", exit_code=1)]))
    verdict = verdict_of(view)
    assert (verdict.is_success, verdict.delete_job) == (True, True)


HELPERS = {
    "at once": a_pod(exit_code=0, phase="Failed", others=[a_container(name="proxy", exit_code=143)]),
    "failed before": a_pod(exit_code=0, phase="Running", others=[a_container(name="proxy", exit_code=1)]),
    "killed for memory": a_pod(
        exit_code=0, phase="Failed", others=[a_container(name="proxy", exit_code=137, reason="OOMKilled")]
    ),
}


@pytest.mark.parametrize("pod", HELPERS.values(), ids=HELPERS)
@pytest.mark.parametrize("job", [None, a_job("Failed", reason="BackoffLimitExceeded", failed=1)])
def test_no_end_of_a_helper_undoes_exit_code_zero(pod: Any, job: Any) -> None:
    """The script's exit code 0 is the verdict, also where Kubernetes counts a failed attempt (R1, R12)."""
    verdict = verdict_of(a_view(pod, job=job), backoff_limit=3)
    assert (verdict.cause, verdict.pod_uid, verdict.delete_job) == (Cause.SCRIPT_SUCCEEDED, "uid-load-x1", True)


def test_exit_code_zero_stays_the_verdict_beside_another_attempt() -> None:
    """The Job controller may have started one before a lost worker's retry looks (R1, R12)."""
    view = a_view(HELPERS["at once"], a_pod("load-x2", exit_code=1), job=a_job(failed=2))
    assert verdict_of(view, backoff_limit=1).pod_uid == "uid-load-x1"


def test_what_happens_to_the_pod_afterwards_does_not_matter() -> None:
    """Once the script was seen to end with 0, its pod may be deleted while helpers still run (R1, R12)."""
    helper = [a_container(name="proxy", running=True)]
    view = a_view(a_pod(exit_code=0, others=helper), now=10)
    view = view.with_pod(a_pod(exit_code=0, others=helper, being_deleted=True), 11)
    assert verdict_of(view, 10 + OTHERS_GRACE).is_success


EVICTED = ("Evicted", "Pod ephemeral local storage usage exceeds the total limit of containers 50Mi.")


@pytest.mark.parametrize(
    ("pod", "job"),
    [
        (a_pod(exit_code=0, phase="Succeeded"), None),
        (a_pod(exit_code=0), a_job("Complete")),
        (a_pod(exit_code=0, others=[a_container(name="proxy", running=True)]), None),
    ],
)
def test_exit_code_zero_of_a_script_that_the_kubelet_stopped_is_unknown(pod: Any, job: Any) -> None:
    """A pod beyond its own limits is neither deleted nor marked as disrupted (R1, R36)."""
    view = a_view(pod, job=job).with_stopped("uid-load-x1", *EVICTED)
    verdict = verdict_of(view, OTHERS_GRACE)
    assert (verdict.is_success, verdict.is_unknown) == (False, True)
    assert (verdict.cause, verdict.reason, verdict.message) == (Cause.STOPPED, *EVICTED)


def test_another_attempt_may_follow_a_script_that_the_kubelet_stopped() -> None:
    """The pod failed as a whole: the Job controller decides (R7)."""
    evicted = a_view(a_pod(exit_code=0)).with_stopped("uid-load-x1", *EVICTED)
    evicted = evicted.with_pod(a_pod(exit_code=0, phase="Failed", pod_reason="Evicted"), 1)
    assert isinstance(decide(evicted, some_limits(backoff_limit=1), 2), Wait)
    assert verdict_of(evicted.with_pod(a_pod("load-x2", exit_code=0), 9)).pod_uid == "uid-load-x2"


DENIED = an_event(
    "FailedCreate",
    "Error creating: pods \"load-\" is forbidden: ValidatingAdmissionPolicy 'no-env' with binding 'all' denied "
    "request: no",
    kind="Job",
    name="load",
)


def test_a_pod_that_a_policy_denies_is_not_waited_for() -> None:
    """A policy answers the same again, so ``startup_timeout`` need not pass (R11)."""
    view = a_view().with_event(DENIED, 5).with_event(DENIED, 9)
    assert decide(view, some_limits(), 6) == Wait(5 + REFUSAL_GRACE)
    verdict = verdict_of(view, 5 + REFUSAL_GRACE)
    assert (verdict.cause, verdict.reason, verdict.delete_job) == (Cause.REFUSED, "FailedCreate", True)
    assert verdict.message == "ValidatingAdmissionPolicy no-env denied its pod: no"


def test_a_pod_that_is_created_after_all_is_waited_for() -> None:
    """The policy may have changed in the meantime (R11)."""
    view = a_view().with_event(DENIED, 5).with_pod(a_pod(), 6)
    assert decide(view, some_limits(), 20) == Wait(300)


@pytest.mark.parametrize(
    "message",
    [
        'exec: "bash": executable file not found in $PATH',
        "exec /scripts/x: exec format error",
        'exec: "/scripts/x": permission denied',
    ],
)
def test_what_cannot_be_executed_is_not_tried_again(message: str) -> None:
    """A missing interpreter is the end, whatever ``backoff_limit`` says (R22)."""
    view = a_view(a_pod(exit_code=128, reason="StartError", message=message))
    assert verdict_of(view, backoff_limit=3).cause is Cause.NOT_EXECUTABLE


def test_a_deleted_job_leaves_the_outcome_unknown() -> None:
    """A Job that somebody deleted under a running script is unknown, never a guess (R9)."""
    verdict = verdict_of(a_view(a_pod(running=True), job_deleted=True))
    assert (verdict.cause, verdict.is_unknown) == (Cause.JOB_DELETED, True)


@pytest.mark.parametrize(
    ("pod", "cause"),
    [
        (a_pod(running=True), Cause.JOB_DELETED),
        (a_pod(exit_code=1), Cause.SCRIPT_FAILED),
        (a_pod(exit_code=0), Cause.SCRIPT_SUCCEEDED),
    ],
    ids=["runs", "has failed", "has succeeded"],
)
def test_a_job_that_a_finalizer_holds_is_deleted(pod: dict[str, Any], cause: Cause) -> None:
    """It gets no other attempt and no condition, so waiting for one would have no end (R10)."""
    leaving = a_job()
    leaving["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:09Z", "finalizers": ["example.com/keep"]}
    assert verdict_of(a_view(pod, job=leaving), backoff_limit=3).cause is cause


def test_a_condition_outlives_the_job() -> None:
    """What the Job said before it was deleted still holds (R9)."""
    assert verdict_of(a_view(job=a_job("Complete"), job_deleted=True)).is_success


def test_a_failure_outlives_the_job() -> None:
    """A script that failed by itself has failed, whoever deleted its Job afterwards (R9)."""
    view = a_view(a_pod(exit_code=1), job_deleted=True)
    assert verdict_of(view, backoff_limit=3).cause is Cause.SCRIPT_FAILED


def test_a_success_outlives_the_job() -> None:
    """A script that ended with 0 before its Job was deleted has succeeded (R9)."""
    assert verdict_of(a_view(a_pod(exit_code=0), job_deleted=True)).is_success


def test_a_missing_image_fails_after_its_grace() -> None:
    """A wrong tag fails long before the startup timeout (R15)."""
    view = a_view(a_pod(**HOPELESS), now=5)
    assert verdict_of(view, 5 + IMAGE_GRACE).cause is Cause.IMAGE


def test_a_missing_image_gets_its_grace() -> None:
    """Until the grace is over, the image may still appear; the run looks again then (R15)."""
    assert decide(a_view(a_pod(**HOPELESS), now=5), some_limits(), 6) == Wait(5 + IMAGE_GRACE)


def test_the_back_off_of_a_pull_keeps_the_grace_running() -> None:
    """``ImagePullBackOff`` without the registry's words doesn't start the grace anew (R15)."""
    view = a_view(a_pod(**HOPELESS), now=0).with_pod(a_pod(waiting="ImagePullBackOff", message="Back-off"), 10)
    assert verdict_of(view, IMAGE_GRACE).cause is Cause.IMAGE


def test_a_pull_that_goes_on_forgets_the_trouble() -> None:
    """Once the pod is past its image trouble, the grace is forgotten (R15)."""
    view = a_view(a_pod(**HOPELESS), now=0).with_pod(a_pod(running=True), 10)
    assert isinstance(decide(view, some_limits(), IMAGE_GRACE), Wait)


NO_RUBY = "container create failed: executable file `ruby` not found in $PATH: No such file or directory"


@pytest.mark.parametrize("word", ["CreateContainerError", "RunContainerError"])
def test_a_missing_program_fails_after_the_grace_of_an_image(word: str) -> None:
    """CRI-O goes on trying to create the container; containerd reports the same as the pod's end (R15)."""
    view = a_view(a_pod(waiting=word, message=NO_RUBY), now=5)
    assert decide(view, some_limits(), 6) == Wait(5 + IMAGE_GRACE)
    verdict = verdict_of(view, 5 + IMAGE_GRACE)
    assert (verdict.cause, verdict.reason, verdict.delete_job) == (Cause.NOT_CREATED, word, True)
    assert verdict.must_be_confirmed


@pytest.mark.parametrize(
    "message", ["failed to reserve container name", "error mounting /work: no such file or directory"]
)
def test_a_container_that_is_not_created_for_another_reason_is_waited_for(message: str) -> None:
    """It may be created later (R15)."""
    view = a_view(a_pod(waiting="CreateContainerError", message=message), now=0)
    assert isinstance(decide(view, some_limits(), IMAGE_GRACE), Wait)


def test_a_registry_that_answers_503_is_waited_for() -> None:
    """A registry's blip at start is not an image that is missing (R15)."""
    view = a_view(a_pod(waiting="ErrImagePull", message="unexpected status: 503 Service Unavailable"))
    assert isinstance(decide(view, some_limits(), 200), Wait)


def test_nothing_started_is_a_startup_timeout() -> None:
    """A pod on a node without any container after ``startup_timeout`` is ended (R5, R11)."""
    verdict = verdict_of(a_view(a_pod(), now=100), 100 + 300)
    assert (verdict.cause, verdict.delete_job) == (Cause.STARTUP_TIMEOUT, True)


STARTED, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:20:00Z"
UNSCHEDULABLE: dict[str, Any] = a_pod("load-x2", unschedulable="0/3 nodes are available", created=LATER)
WAITS_FOR_A_NODE: dict[str, Callable[[], View]] = {
    "no pod": lambda: a_view(now=100),
    "no node": lambda: a_view(UNSCHEDULABLE, now=100),
    "suspended": lambda: a_view(job=a_job(suspended=True), now=100),
    "suspended again": lambda: a_view(a_pod(exit_code=143, being_deleted=True), now=5).with_job(
        a_job(suspended=True), 100
    ),
    "second attempt": lambda: a_view(a_pod(exit_code=1), now=5).with_pod(UNSCHEDULABLE, 100),
}


@pytest.mark.parametrize("view", WAITS_FOR_A_NODE.values(), ids=WAITS_FOR_A_NODE)
def test_no_node_is_waited_for_without_end(view: Callable[[], View]) -> None:
    """Whether a queue, a quota or a full cluster keeps the run from a node, the wait has one bound (R5, R10, R11)."""
    limits: dict[str, Any] = {"deadline": None, "backoff_limit": 3}
    assert decide(view(), some_limits(**limits), 999) == Wait(100 + 900)
    verdict = verdict_of(view(), 1000, **limits)
    assert (verdict.cause, verdict.delete_job, verdict.must_be_confirmed) == (Cause.SCHEDULE_TIMEOUT, True, True)


def test_the_time_to_start_begins_on_the_node() -> None:
    """A pod that waited long for its node has as long to pull its image as any other (R5)."""
    pod = a_pod(created=STARTED, scheduled="2026-01-01T00:13:20Z")
    seen_waiting = a_view(a_pod(unschedulable="0/3 nodes are available"), job=a_job(started=STARTED))
    assert decide(seen_waiting, some_limits(deadline=None), 800) == Wait(900)
    for before in (seen_waiting, a_view(job=a_job(started=STARTED))):
        assert decide(before.with_pod(pod, 800), some_limits(deadline=None), 801) == Wait(800 + 300)


@pytest.mark.parametrize("late", [310, 600])
def test_a_late_job_controller_takes_no_time_of_the_script(late: int) -> None:
    """It may be away, or have thousands of Jobs to start before this one (R5, R10)."""
    job = a_job(started=(datetime.fromisoformat(STARTED) + timedelta(seconds=late)).isoformat())
    view = a_view(job=a_job()).with_job(job, late)
    scheduled = a_pod(created=job["status"]["startTime"], scheduled=job["status"]["startTime"])
    assert decide(view.with_pod(scheduled, late + 1), some_limits(deadline=None), late + 1) == Wait(late + 300)
    running = view.with_pod(a_pod(running=True), late + 2)
    assert not isinstance(decide(running, some_limits(), late + 599), Verdict)


def test_the_time_to_start_does_not_begin_before_it_was_seen_to() -> None:
    """The clock of the Job controller may be ahead of the scheduler's (R5, R10)."""
    view = a_view(a_pod(unschedulable="0/3 nodes are available"), job=a_job(started=LATER))
    scheduled = view.with_pod(a_pod(created=STARTED, scheduled="2026-01-01T00:05:20Z"), 320)
    assert decide(scheduled, some_limits(deadline=None), 321) == Wait(320 + 300)


def test_a_pod_has_waited_for_its_node_since_its_creation() -> None:
    """By the cluster's clock, whichever follower looks at it, and when (R4, R5)."""
    assert decide(taken_over(UNSCHEDULABLE, had_begun=None), some_limits(deadline=None), 1206) == Wait(1200 + 900)


def test_each_wait_for_a_node_has_its_own_time() -> None:
    """A queue may admit a script, preempt it, and admit it again much later (R5, R11)."""
    first = a_view(UNSCHEDULABLE)
    ran = first.with_pod(a_pod("load-x2", running=True, created=LATER), 800)
    again = ran.with_pod(a_pod("load-x2", exit_code=143, being_deleted=True, created=LATER), 2000)
    again = again.with_job(a_job(suspended=True), 2001)
    assert decide(again, some_limits(deadline=None, backoff_limit=3), 2800) == Wait(2001 + 900)


@pytest.mark.parametrize("ended", [a_job("Failed"), a_job("Complete")], ids=["failed", "complete"])
def test_a_job_that_is_over_waits_for_no_node(ended: dict[str, Any]) -> None:
    """Its pods may be gone (R5)."""
    assert clocks.node_awaited_since(a_view(job=ended)) is None


def test_between_two_attempts_no_node_is_waited_for() -> None:
    """The Job controller pauses before the next attempt, and a short ``schedule_timeout`` may be shorter (R7)."""
    assert decide(a_view(a_pod(exit_code=1)), some_limits(deadline=None, backoff_limit=3), 5000) == Wait()


def test_a_suspended_job_only_waits_for_a_node() -> None:
    """While a Job is suspended neither ``timeout`` nor ``startup_timeout`` runs (R11)."""
    limits = some_limits(startup_timeout=1, deadline=1)
    assert decide(a_view(job=a_job(suspended=True)), limits, 899) == Wait(900)


def test_a_new_start_time_is_a_new_clock() -> None:
    """The Job was suspended and resumed while the watch was away (R5)."""
    running = a_view(a_pod(running=True), job=a_job(started="2026-01-01T00:00:00Z"))
    resumed = running.with_job(a_job(started="2026-01-01T00:10:00Z"), 600)
    assert decide(running, some_limits(), 751).cause is Cause.SILENCE  # type: ignore[union-attr]
    assert decide(resumed, some_limits(), 751) == Wait(600 + 600 + 30 + SILENCE_GRACE)


def test_a_resumed_job_starts_its_clock_anew() -> None:
    """The clock starts when the Job is resumed (R11)."""
    view = a_view(job=a_job(suspended=True)).with_job(a_job(), 1000)
    assert decide(view.with_pod(a_pod(), 1000), some_limits(), 1001) == Wait(1300)


def test_silence_after_the_deadline_ends_the_wait() -> None:
    """When nobody tells the Job's end long after its deadline, the outcome is unknown: no wait is endless (R10)."""
    verdict = verdict_of(a_view(a_pod(running=True)), 600 + 30 + SILENCE_GRACE)
    assert (verdict.cause, verdict.is_unknown) == (Cause.SILENCE, True)


@pytest.mark.parametrize(
    ("deadline", "until"),
    [(3600, 3600 + 30 + SILENCE_GRACE), (None, None), (600, 600 + 30 + SILENCE_GRACE), (1, 600 + 30 + SILENCE_GRACE)],
    ids=["more time", "no deadline", "the one asked for", "less time"],
)
def test_a_user_may_give_a_running_job_more_time(deadline: int | None, until: float | None) -> None:
    """A healthy script is not ended for a deadline that its Job no longer has (R5)."""
    running = a_view(a_pod(running=True)).with_job(a_job(deadline=deadline), 10)
    assert decide(running, some_limits(), 20) == Wait(until)


def test_without_a_deadline_a_running_script_may_run_for_ever() -> None:
    """``timeout=None`` means no end, so there is nothing to wait until."""
    assert decide(a_view(a_pod(running=True)), some_limits(deadline=None), 1e6) == Wait(None)


def test_failures_are_the_more_of_seen_and_counted() -> None:
    """Attempts that this run never saw are counted by the Job (R7)."""
    assert a_view(a_pod(exit_code=1), job=a_job(failed=2)).failures == 2


def test_no_startup_timeout_before_the_pods_are_known() -> None:
    """Who takes over a Job that is long on its way does not know yet whether its script has begun (R4)."""
    view = replace(a_view(), pods_known=False)
    assert isinstance(decide(view, some_limits(deadline=None), 901.0), Wait)
    assert isinstance(decide(replace(view, pods_known=True), some_limits(deadline=None), 901.0), Verdict)


HELPER = [a_container(name="proxy", running=True)]


def taken_over(*pods: Any, had_begun: bool | None, disruptions: Mapping[str, str] | None = None, **status: Any) -> View:
    """A Job that has run for 1,205 seconds, and is followed from now on."""
    job = a_job(started=STARTED)
    job["status"] |= status
    view = replace(View(had_begun=had_begun, disruptions=disruptions or {}), started_at=0.0).with_job(job, 1205)
    for pod in pods:
        view = view.with_pod(pod, 1205)
    return view


def test_a_run_that_has_begun_has_no_startup_timeout_in_any_follower() -> None:
    """Its first pod was evicted and is gone, and the second one waits: the next follower sees only that (R4, R5)."""
    waiting = a_pod("load-x2", created=LATER)
    assert isinstance(decide(taken_over(waiting, had_begun=True), some_limits(deadline=None), 1206), Wait)


def test_without_an_earlier_follower_the_oldest_pod_is_waited_for() -> None:
    """After a lost worker, pods that are gone may have run: the time counts from the pod that is left (R4, R5)."""
    view = taken_over(a_pod("load-x2", created=LATER), had_begun=None)
    assert decide(view, some_limits(deadline=None), 1206) == Wait(1200 + 300)
    assert verdict_of(view, 1500).cause is Cause.STARTUP_TIMEOUT
    first = taken_over(a_pod(created=STARTED), had_begun=None)
    assert verdict_of(first, 1206).cause is Cause.STARTUP_TIMEOUT


def test_a_run_without_a_pod_is_waited_for_from_the_first_look() -> None:
    """Its pod may have run and be gone with the node, and a quota may refuse the next one for a while (R4, R5)."""
    view = taken_over(had_begun=None)
    assert decide(view, some_limits(deadline=None), 1206) == Wait(1205 + 900)
    assert verdict_of(view.with_job(view.job, 1400), 2105, deadline=None).cause is Cause.SCHEDULE_TIMEOUT


def test_followers_of_a_run_without_a_pod_count_their_waits_together() -> None:
    """A triggerer that restarts every two minutes keeps no Job alive whose pods a quota refuses (R4, R5, R10)."""
    first = View(started_at=0.0).with_job(a_job(started=STARTED), 0)
    second = replace(taken_over(had_begun=None), waited=clocks.seconds_for_a_node(first, 120))
    third = replace(taken_over(had_begun=None), waited=clocks.seconds_for_a_node(second, 1205 + 120))
    assert (second.waited, third.waited) == (120, 240)
    assert decide(third, some_limits(deadline=None), 1206) == Wait(1205 + 660)
    assert verdict_of(third, 1865, deadline=None).cause is Cause.SCHEDULE_TIMEOUT


def test_a_wait_that_was_not_seen_does_not_count() -> None:
    """Before Job and pods are known, or once a pod has a node (R4, R5)."""
    waiting = replace(taken_over(had_begun=None), waited=120.0)
    assert clocks.seconds_for_a_node(replace(waiting, pods_known=False), 1300) == 120
    assert clocks.seconds_for_a_node(View(started_at=0.0, had_begun=None, waited=120.0), 1300) == 120
    assert clocks.seconds_for_a_node(waiting, 1300) == 120 + 95
    assert clocks.seconds_for_a_node(waiting.with_pod(a_pod(), 1210), 1300) == 0
    begun = replace(waiting, had_begun=True).with_job(waiting.job, 1206)
    assert clocks.seconds_for_a_node(begun, 1300) == 0


def test_the_wait_of_a_later_attempt_goes_on_with_the_next_follower() -> None:
    """Its pods are listed after its Job is seen (R4, R5)."""
    unknown = replace(View(had_begun=True, waited=120.0, pods_known=False), started_at=0.0)
    listed = unknown.with_job(a_job(), 1205).with_pod(UNSCHEDULABLE, 1205)
    assert clocks.seconds_for_a_node(replace(listed, pods_known=True), 1300) == 120 + 95


ENDED_UNSEEN: dict[str, dict[str, Any]] = {
    "disrupted": {"disruptions": {"uid-load-x1": "load-x1 on node-1: the node is drained"}},
    "failed": {"failed": 1},
    "uncounted": {"uncountedTerminatedPods": {"failed": ["uid-load-x1"]}},
}


@pytest.mark.parametrize("earlier", ENDED_UNSEEN.values(), ids=ENDED_UNSEEN)
def test_a_pod_that_ended_before_the_first_look_may_have_run(earlier: dict[str, Any]) -> None:
    """It is unknown whether the script has begun: the run does not wait for a first node (R4, R5)."""
    view = taken_over(had_begun=None, **earlier)
    assert view.has_begun
    assert decide(view, some_limits(deadline=None), 9999) == Wait(None)


@pytest.mark.parametrize("earlier", ENDED_UNSEEN.values(), ids=ENDED_UNSEEN)
def test_the_pod_after_one_that_nobody_saw_has_its_time_to_start(earlier: dict[str, Any]) -> None:
    """Without ``timeout``, nothing else would end a pod that cannot start (R4, R5)."""
    view = taken_over(a_pod("load-x2", created=LATER), had_begun=None, **earlier)
    assert verdict_of(view, 9999, deadline=None).cause is Cause.STARTUP_TIMEOUT


def test_an_attempt_that_was_seen_to_end_before_its_start_is_no_unseen_one() -> None:
    """A user may delete a pod that does not start: the next one has its own time for that (R5)."""
    first, second = a_pod("load-x1", created=STARTED), a_pod("load-x2", created=LATER)
    view = taken_over(first, second, had_begun=None, failed=1).with_pod(first, 1206, deleted=True)
    assert verdict_of(view, 1500).cause is Cause.STARTUP_TIMEOUT


@pytest.mark.parametrize("reference", ["proxy", "wait"])
def test_a_sidecar_or_a_finished_init_container_is_no_start(reference: str) -> None:
    """The script still waits for its Secret, and ``startup_timeout`` says so (R5, R15)."""
    waits: dict[str, Any] = {"waiting": "CreateContainerConfigError", "message": 'secret "db" not found'}
    beside = a_pod(**waits, sidecars=[a_container(name="proxy", running=True)])
    after = a_pod(**waits, installers=[a_container(name="wait", exit_code=0)])
    view = a_view(beside if reference == "proxy" else after)
    assert decide(view, some_limits(startup_timeout=15), 14) == Wait(15)
    assert verdict_of(view, 15, startup_timeout=15).cause is Cause.STARTUP_TIMEOUT


def test_init_containers_are_a_part_of_the_start() -> None:
    """An installation that hangs has an end, also without ``timeout`` (R5, R10)."""
    view = a_view(a_pod(installers=[a_container(name="install", running=True)]))
    assert decide(view, some_limits(deadline=None), 200) == Wait(300)
    ended = view.with_pod(a_pod(installers=[a_container(name="install", exit_code=0)]), 200)
    assert decide(ended, some_limits(deadline=None), 201) == Wait(300)
    verdict = verdict_of(view, 300, deadline=None)
    assert (verdict.cause, verdict.delete_job) == (Cause.STARTUP_TIMEOUT, True)


INSTALLING: dict[str, Any] = {"waiting": "PodInitializing", "created": STARTED}
AT_WORK = [a_container(name="install", running=True)]
WITH_ITS_NODE = a_pod(
    **INSTALLING, installers=AT_WORK, phase="Failed", disrupted="DeletionByPodGC", being_deleted=True, grace_period=0
)
DRAINED = a_pod(
    **INSTALLING, installers=[a_container(name="install", exit_code=143)], disrupted="EvictionByEvictionAPI",
    being_deleted=True, grace_period=30,
)  # fmt: skip


@pytest.mark.parametrize(
    ("ended", "since"), [(WITH_ITS_NODE, 1000), (DRAINED, 1001), (None, 1000)], ids=["node gone", "drained", "unseen"]
)
def test_a_node_is_waited_for_again_after_an_installation_that_was_ended(ended: Any, since: float) -> None:
    """Its script never began, and no other pod may find a place: without ``timeout`` nothing else ends the run (R5)."""
    first = a_pod(**INSTALLING, installers=AT_WORK)
    view = a_view(first).with_pod(ended or first, 1000, deleted=ended is None)
    view = view.with_pod(ended or first, 1001, deleted=True).with_pod(UNSCHEDULABLE, 1002)
    assert (view.has_begun, decide(view, some_limits(deadline=None), 1003)) == (False, Wait(since + 900))
    verdict = verdict_of(view, since + 900, deadline=None)
    assert (verdict.cause, verdict.pod_uid) == (Cause.SCHEDULE_TIMEOUT, "uid-load-x2")


def test_an_installation_that_fails_by_itself_has_begun() -> None:
    """Its attempts have an end of their own, with waits between them (R5, R7)."""
    failed = a_pod(**INSTALLING, installers=[a_container(name="install", exit_code=1)])
    deleted = a_pod(**INSTALLING, installers=[a_container(name="install", exit_code=1)], being_deleted=True)
    view = a_view(failed).with_pod(deleted, 1, deleted=True).with_pod(UNSCHEDULABLE, 2)
    assert decide(view, some_limits(deadline=None, backoff_limit=3), 400) == Wait(2 + 900)


def ended_without_a_start() -> dict[str, Any]:
    """A pod that was deleted, as a kubelet reports it that knows no container of it."""
    pod = a_pod(exit_code=137, reason="ContainerStatusUnknown", phase="Failed", being_deleted=True, created=STARTED)
    pod["status"]["containerStatuses"][0]["state"]["terminated"] |= {"startedAt": None, "finishedAt": None}
    return pod


def test_a_container_that_never_began_is_no_start() -> None:
    """Its pod was deleted while its image was pulled, and no other pod finds a place (R5)."""
    ended = ended_without_a_start()
    view = a_view(a_pod(created=STARTED)).with_pod(ended, 60).with_pod(ended, 61, deleted=True)
    view = view.with_pod(UNSCHEDULABLE, 62)
    assert (view.has_begun, decide(view, some_limits(deadline=None), 63)) == (False, Wait(60 + 900))
    assert verdict_of(view, 960, deadline=None).cause is Cause.SCHEDULE_TIMEOUT


def test_a_container_that_is_lost_after_its_start_has_begun() -> None:
    """A node that restarts knows its containers no longer; the next follower cannot tell (R4, R5)."""
    ended = ended_without_a_start()
    seen = a_view(a_pod(running=True, created=STARTED)).with_pod(ended, 60).with_pod(UNSCHEDULABLE, 62)
    unseen = taken_over(ended, UNSCHEDULABLE, had_begun=None)
    for view, since in ((seen, 62), (unseen, 1200)):
        assert decide(view, some_limits(deadline=None, backoff_limit=3), since + 800) == Wait(since + 900)


@pytest.mark.parametrize(
    "changes", [{"backoff_limit": 0}, {"backoff_limit": 3, "final_codes": frozenset({1})}], ids=["last", "final"]
)
def test_a_failure_is_final_once_nothing_of_its_pod_runs(changes: dict[str, Any]) -> None:
    """While a native sidecar stops, a drain makes the Job ignore the failure and start another pod (R9, R10)."""
    failed: dict[str, Any] = {"exit_code": 1, "sidecars": [a_container(name="proxy", running=True)]}
    view, until = a_view(a_pod(**failed, phase="Running"), now=100), 100 + 30 + CONFIRMATION
    assert decide(view, some_limits(**changes, deadline=None), 100) == Wait(100 + OTHERS_GRACE)
    assert decide(view, some_limits(**changes, deadline=None), 110) == Wait(until)
    drained = view.with_pod(
        a_pod(**failed, phase="Running", being_deleted=True, disrupted="EvictionByEvictionAPI"), 110
    )
    assert isinstance(decide(drained, some_limits(**changes, deadline=None), 111), Wait)
    over = verdict_of(view.with_pod(a_pod(exit_code=1, phase="Failed"), 111), 111, **changes)
    assert (over.cause, over.delete_job) == (Cause.SCRIPT_FAILED, False)
    silent = verdict_of(view, until, **changes)
    assert (silent.cause, silent.delete_job) == (Cause.SCRIPT_FAILED, True)


def test_an_exit_code_of_an_installation_is_not_final() -> None:
    """The Job's rule names the script's container, so another attempt follows (R7)."""
    view = a_view(a_pod(installers=[a_container(name="install", exit_code=1)]))
    assert isinstance(decide(view, some_limits(backoff_limit=3, final_codes=frozenset({1})), 1), Wait)


TAINT: dict[str, Any] = {"running": True, "being_deleted": True, "disrupted": "DeletionByTaintManager"}


def test_a_pod_whose_node_is_dead_is_not_waited_for_without_end() -> None:
    """Kubernetes starts no other pod before this one has ended; whether the script ended is unknown (R10)."""
    view, until = a_view(a_pod(**TAINT), now=100), 100 + 30 + NODE_PATIENCE
    assert decide(view, some_limits(deadline=None), 101) == Wait(until)
    verdict = verdict_of(view, until, deadline=None)
    assert (verdict.cause, verdict.pod_uid, verdict.delete_job) == (Cause.UNREACHABLE, "uid-load-x1", True)
    assert (verdict.reason, verdict.is_unknown, verdict.is_by_time) == ("DeletionByTaintManager", True, True)


def test_a_node_that_comes_back_ends_the_doubt() -> None:
    """Its kubelet reports the end, or the pod is gone with its node: Kubernetes starts another pod (R7)."""
    view = a_view(a_pod(**TAINT), now=100)
    for known in (view.with_pod(a_pod(**TAINT, phase="Failed"), 200), view.with_pod(a_pod(**TAINT), 200, deleted=True)):
        assert isinstance(decide(known, some_limits(deadline=None), 10_000), Wait)


def test_a_drain_may_give_a_script_more_time_than_the_run() -> None:
    """``kubectl drain --grace-period=900``: until then no end is expected, and no other try may begin (R10)."""
    pod = a_pod(running=True, being_deleted=True, grace_period=900, disrupted="EvictionByEvictionAPI")
    view = a_view(pruned_pod(pod), now=100)
    assert decide(view, some_limits(deadline=None), 101) == Wait(100 + 900 + NODE_PATIENCE)
    assert verdict_of(view, 100 + 900 + NODE_PATIENCE, deadline=None).cause is Cause.UNREACHABLE
    over = view.with_job(DEADLINE_EXCEEDED, 600)
    assert verdict_of(over, 600).cause is Cause.UNREACHABLE
    shorter = a_view(a_pod(running=True, being_deleted=True, grace_period=1), now=100)
    assert decide(shorter, some_limits(deadline=None), 101) == Wait(100 + 30 + NODE_PATIENCE)


def test_a_pod_without_a_node_has_no_silent_node() -> None:
    """Another controller's finalizer may keep it: its script cannot run, so its end is known (R10)."""
    view = a_view(a_pod(being_deleted=True, unschedulable="0/2 nodes are available"), now=100)
    verdict = verdict_of(view, 100 + 900, deadline=None)
    assert (verdict.cause, verdict.is_unknown) == (Cause.SCHEDULE_TIMEOUT, False)
    assert verdict_of(view.with_job(DEADLINE_EXCEEDED, 600), 600).cause is Cause.DEADLINE


SIDECAR = [a_container(name="proxy", running=True)]
IN_GRACE: dict[str, Any] = {"phase": "Running", "being_deleted": True, "grace_period": 30}
STUCK: dict[str, tuple[dict[str, Any], Cause]] = {
    "failed by itself": (a_pod(exit_code=1, phase="Running", sidecars=SIDECAR), Cause.SCRIPT_FAILED),
    "deleted": (a_pod(exit_code=143, sidecars=SIDECAR, **IN_GRACE), Cause.SCRIPT_FAILED),
    "only its phase": (a_pod(exit_code=1, phase="Running"), Cause.SCRIPT_FAILED),
    "disrupted": (
        a_pod(exit_code=143, others=SIDECAR, disrupted="DeletionByTaintManager", **IN_GRACE), Cause.SCRIPT_FAILED,
    ),
    "installation failed": (
        a_pod(installers=[a_container(name="install", exit_code=1)], sidecars=SIDECAR, **IN_GRACE),
        Cause.SCRIPT_FAILED,
    ),
    "init container failed": (
        a_pod(installers=[a_container(name="wait", exit_code=1)], sidecars=SIDECAR, **IN_GRACE), Cause.SCRIPT_FAILED,
    ),
    "stopped": (a_pod(exit_code=0, others=SIDECAR, **IN_GRACE), Cause.STOPPED),
    "stopped, sidecar": (a_pod(exit_code=0, sidecars=SIDECAR, **IN_GRACE), Cause.STOPPED),
}  # fmt: skip


@pytest.mark.parametrize(("pod", "cause"), STUCK.values(), ids=STUCK)
def test_a_pod_whose_sidecar_is_not_reported_to_end_is_not_waited_for_without_end(pod: Any, cause: Cause) -> None:
    """Its node died: the Job starts no other pod, and how the script ended is known (R10)."""
    view, limits = a_view(pod, now=100), some_limits(deadline=None, backoff_limit=3, startup_timeout=3600)
    until = 100 + 30 + NODE_PATIENCE
    assert isinstance(decide(view, limits, 102), Wait)
    assert decide(view, limits, until - 1) == Wait(until)
    verdict = verdict_of(view, until, deadline=None, backoff_limit=3, startup_timeout=3600)
    assert (verdict.cause, verdict.pod_uid, verdict.delete_job) == (cause, "uid-load-x1", True)
    assert verdict.must_be_confirmed
    assert verdict.ends_pods


def test_a_pod_that_is_reported_to_end_is_left_to_the_job() -> None:
    """However late it is, another attempt follows (R7)."""
    view = a_view(a_pod(exit_code=1, phase="Running", sidecars=SIDECAR), now=100)
    limits = some_limits(deadline=None, backoff_limit=3)
    ended = view.with_pod(a_pod(exit_code=1, phase="Failed", sidecars=SIDECAR), 400)
    gone = view.with_pod(a_pod(exit_code=1, phase="Running", sidecars=SIDECAR), 400, deleted=True)
    for known in (ended, gone, ended.with_pod(a_pod("load-x2", running=True), 401)):
        assert decide(known, limits, 10_000) == Wait()


def test_a_drain_may_give_a_sidecar_more_time_than_the_run() -> None:
    """``kubectl drain --grace-period=900`` (R10)."""
    pod = a_pod(exit_code=143, sidecars=SIDECAR, being_deleted=True, grace_period=900, phase="Running")
    limits = some_limits(deadline=None, backoff_limit=3)
    assert decide(a_view(pruned_pod(pod)), limits, 911) == Wait(900 + NODE_PATIENCE)


LEFT_AT = 600 - 30 - CONFIRMATION
"""The latest moment from which a kubelet that is silent until the deadline counts as silent."""
DEADLINE_EXCEEDED = a_job("FailureTarget", reason="DeadlineExceeded")


@pytest.mark.parametrize(("since", "cause"), [(LEFT_AT, Cause.UNREACHABLE), (LEFT_AT + 1, Cause.DEADLINE)])
def test_a_deadline_says_nothing_about_a_script_whose_node_is_silent(since: float, cause: Cause) -> None:
    """After a timeout Airflow tries again, and the script may still run (R5, R10)."""
    view = a_view(a_pod(**TAINT), now=since).with_job(DEADLINE_EXCEEDED, 600)
    assert verdict_of(view, 600).cause is cause


def denied(last: str) -> dict[str, Any]:
    """The policy's refusal, reported for the last time at this time."""
    return DENIED | {"lastTimestamp": last}


def test_an_event_from_before_the_last_pod_is_settled() -> None:
    """The list of events reaches back an hour: a refusal of the launch ends no Job whose attempts have run (R11)."""
    pods = [a_pod("load-x1", exit_code=1, created=STARTED), a_pod("load-x2", exit_code=1, created=LATER)]
    view = a_view(*pods, job=a_job(started=STARTED, failed=2))
    old = view.with_event(denied("2026-01-01T00:00:01Z"), 5)
    assert isinstance(decide(old, some_limits(backoff_limit=3), 5 + REFUSAL_GRACE), Wait)
    new = view.with_event(denied("2026-01-01T00:20:30Z"), 5)
    assert verdict_of(new, 5 + REFUSAL_GRACE, backoff_limit=3).cause is Cause.REFUSED


def test_an_event_from_before_the_job_was_resumed_is_settled() -> None:
    """The policy may have changed during the suspension (R11)."""
    view = a_view(job=a_job(started=LATER)).with_event(denied(STARTED), 5)
    assert view.admission.refused_since is None


@pytest.mark.parametrize(
    ("job", "deleted"), [(a_job("FailureTarget", reason="DeadlineExceeded"), False), (a_job(), True)]
)
def test_exit_code_zero_stands_while_helpers_get_their_moment(job: Any, deleted: bool) -> None:
    """A deadline or a deletion right after the script's end does not undo it (R1, R5, R12)."""
    view = a_view(a_pod(exit_code=0, others=HELPER), now=59).with_job(job, 59.5, deleted=deleted)
    assert verdict_of(view, 59.5).cause is Cause.SCRIPT_SUCCEEDED


def test_a_job_that_is_deleted_while_another_attempt_runs_is_unknown() -> None:
    """The outcome of the attempt before is not the run's (R10)."""
    view = a_view(a_pod("load-x1", exit_code=1), a_pod("load-x2", running=True), job_deleted=True)
    verdict = verdict_of(view, 1, backoff_limit=3)
    assert (verdict.cause, verdict.pod_uid, verdict.is_unknown) == (Cause.JOB_DELETED, "uid-load-x2", True)
    ended = a_view(a_pod("load-x1", exit_code=1), a_pod("load-x2", exit_code=3), job_deleted=True)
    assert verdict_of(ended, 1, backoff_limit=3).cause is Cause.SCRIPT_FAILED


LEFT_HELPER = a_pod("x1", exit_code=1, others=HELPER)


@pytest.mark.parametrize(
    ("view", "failures"),
    [
        (a_view(a_pod("x1", exit_code=0)), 0),
        (a_view(a_pod("x1", exit_code=0, phase="Failed")), 0),
        (a_view(a_pod("x1", exit_code=0), a_pod("x0", exit_code=1)), 1),
        (a_view(a_pod("x1", exit_code=0), job=a_job(failed=2)), 2),
        (a_view(a_pod("x1", exit_code=0, phase="Failed"), a_pod("x0", exit_code=1), job=a_job(failed=2)), 1),
        (a_view(a_pod("x1", exit_code=0), a_pod("x0", exit_code=137, disrupted="PreemptionByScheduler")), 0),
        (a_view(a_pod("x1", exit_code=1, others=HELPER), job=a_job(failed=1)), 1),
        (a_view(a_pod("x1", exit_code=1, phase="Failed"), job=a_job(failed=1)), 0),
        (a_view(LEFT_HELPER, job=a_job(failed=1)).with_pod(LEFT_HELPER, 1, deleted=True), 0),
        (a_view(LEFT_HELPER, job=a_job(failed=2)).with_pod(LEFT_HELPER, 1, deleted=True), 1),
        (a_view(LEFT_HELPER).with_pod(LEFT_HELPER, 1, deleted=True), 0),
    ],
)
def test_failures_of_other_pods(view: View, failures: int) -> None:
    """With this back-off limit, the deciding pod may go on, and its failure starts no other attempt (R12, R21)."""
    assert other_failures(view, "uid-x1") == failures


def test_a_pod_that_is_gone_without_an_end_may_have_been_stopped() -> None:
    """Only a deletion removes a pod; the watch may have missed that it began (R1, R36)."""
    view = a_view(a_pod(running=True)).with_pod(a_pod(running=True), 1, deleted=True)
    assert view.suspected_stop("uid-load-x1") == ("", "pod load-x1 was deleted")
    ended = a_view(a_pod(exit_code=0)).with_pod(a_pod(exit_code=0), 1, deleted=True)
    assert ended.suspected_stop("uid-load-x1") is None


@pytest.mark.parametrize(
    ("deleted_at", "expected"),
    [("2026-01-01T00:06:05Z", Verdict(Cause.SCRIPT_SUCCEEDED, "uid-load-x1", delete_job=True)), (True, Wait)],
    ids=["ended before", "perhaps told to end"],
)
def test_a_success_counts_although_the_node_died_before_its_sidecar_ended(
    deleted_at: str | bool, expected: Verdict | type[Wait]
) -> None:
    """The pod's garbage collector calls such a pod Failed, and the Job would run the script again (R1, R9)."""
    lost: dict[str, Any] = {"phase": "Failed", "disrupted": "DeletionByPodGC", "grace_period": 0, "sidecars": SIDECAR}
    decision = decide(a_view(a_pod(exit_code=0, being_deleted=deleted_at, **lost)), some_limits(backoff_limit=3), 0)
    assert decision == expected or type(decision) is expected
