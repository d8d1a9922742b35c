"""From the verdict on a run to its result, and to the error that says why it failed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_script_provider.exceptions import JobTimeoutError, OutcomeUnknownError, ScriptFailedError
from airflow_script_provider.kube.job.diagnosis import Case, Diagnosis
from airflow_script_provider.kube.job.outcomes import LAST_LINES, Outcome, conclude, failure, summary, unread
from airflow_script_provider.kube.job.progress import decide
from airflow_script_provider.kube.job.verdict import Cause, Verdict
from airflow_script_provider.kube.logs.output import Output
from airflow_script_provider.kube.request.provision import MESSAGE_PREFIX, PACKAGES_VARIABLE
from airflow_script_provider.result import Attempt, Category, ScriptResult, Status
from tests.builders import (
    a_case,
    a_failed_outcome,
    a_failed_result,
    a_launched_job,
    a_pod,
    a_result,
    a_script,
    a_view,
    some_limits,
    some_output,
)


def concluded(case: Case, output: Output | None = None, **facts: Any) -> Outcome:
    """The outcome of a case after a second and a half."""
    return conclude(case, output or some_output("hi"), a_launched_job(**facts), 1.5)


SUCCESS = a_case(a_pod(exit_code=0), cause=Cause.SCRIPT_SUCCEEDED)


@pytest.mark.parametrize(
    ("changes", "is_retried"),
    [({}, True), ({"retryable": False}, False), ({"skipped": True}, False), ({"diagnosis": None}, False)],
)
def test_what_airflow_tries_again(changes: dict[str, Any], is_retried: bool) -> None:
    """A failure that is neither final nor a skip."""
    assert a_failed_outcome(**changes).is_retried is is_retried


def test_the_result_of_a_success() -> None:
    """Every field of the result of a script that ended well."""
    assert concluded(SUCCESS, some_output('{"a": 1}')).result == ScriptResult(
        status=Status.COMPLETED,
        job_name="load",
        namespace="etl",
        pod_name="load-x1",
        execution_time=1.5,
        output='{"a": 1}\n',
        succeeded=1,
        failed=0,
        exit_code=0,
        value={"a": 1},
        attempts=(Attempt("load-x1", "node-1", 0, "Completed", "2026-01-01T00:00:01Z", "2026-01-01T00:00:05Z"),),
        duration_ms=1500,
        output_bytes=9,
        script_sha256=a_script().sha256,
        script_origin="inline",
        script_bytes=12,
    )


def test_the_result_tells_of_the_files() -> None:
    """Of each that lay beside the script: digest, origin and size."""
    files = {"lib/a.py": {"sha256": a_script("x\n").sha256, "origin": "gs://etl/a.py", "bytes": 2}}
    assert concluded(SUCCESS, files=files).result.files == files


def test_a_success_has_no_error() -> None:
    """Nothing is raised of a run that ended well."""
    assert failure(concluded(SUCCESS)) is None


def test_the_result_of_a_failure() -> None:
    """A failure has the same result, with error and reason (R21)."""
    case = a_case(a_pod("first", exit_code=1), a_pod("second", exit_code=2), limits=some_limits(backoff_limit=1))
    result = concluded(case).result
    assert (result.status, result.exit_code, result.pod_name) == (Status.FAILED, 2, "second")
    assert (result.succeeded, result.failed, len(result.attempts)) == (0, 2, 2)
    assert result.error == "Job failed with 2 failures: the script ended with exit code 2 (2 attempts)"
    assert result.reason == "Error"


def test_a_failure_has_a_value_too() -> None:
    """What the script printed before it failed is found (R21)."""
    assert concluded(a_case(a_pod(exit_code=1)), some_output('{"done": 7}')).result.value == {"done": 7}


ENDED_WITH_ITS_POD: dict[str, Any] = {"exit_code": 143, "being_deleted": True, "phase": "Failed"}


def test_a_deadline_is_a_timeout() -> None:
    """The Job's deadline has a status of its own (R5)."""
    outcome = concluded(a_case(a_pod(**ENDED_WITH_ITS_POD), cause=Cause.DEADLINE))
    assert outcome.result.status is Status.TIMEOUT
    assert outcome.result.error == "Job ran longer than its timeout of 600 s (DeadlineExceeded)"
    assert type(failure(outcome)) is JobTimeoutError


def test_a_run_without_a_pod_has_a_result() -> None:
    """Where no pod ever was, the result has neither name nor exit code (R11)."""
    result = concluded(a_case(cause=Cause.STARTUP_TIMEOUT)).result
    assert (result.pod_name, result.exit_code, result.attempts) == (None, None, ())


def test_an_unknown_outcome_is_an_error_of_its_own() -> None:
    """A Job that was deleted is no failure of the script (R9)."""
    outcome = concluded(a_case(a_pod(**ENDED_WITH_ITS_POD), cause=Cause.JOB_DELETED))
    assert type(failure(outcome)) is OutcomeUnknownError
    assert outcome.result.error == "Job outcome unknown: the Job was deleted"


def test_exit_codes_that_skip() -> None:
    """A code of ``skip_on_exit_code`` skips the task, and is not tried again."""
    case = a_case(a_pod(exit_code=99), limits=some_limits(final_codes=frozenset({99})))
    outcome = concluded(case, skip_codes=frozenset({99}))
    assert (outcome.skipped, outcome.retryable) == (True, False)


@pytest.mark.parametrize("cause", [Cause.DEADLINE, Cause.JOB_DELETED, Cause.SILENCE, Cause.DISRUPTED])
def test_the_exit_code_of_a_script_that_was_stopped_decides_nothing(cause: Cause) -> None:
    """A script that is stopped ends with any code: it neither skips the task nor prevents another try (R1, R5)."""
    case = a_case(a_pod(exit_code=99), cause=cause, limits=some_limits(final_codes=frozenset({99})))
    outcome = concluded(case, skip_codes=frozenset({99}))
    assert (outcome.result.exit_code, outcome.skipped, outcome.retryable) == (99, False, True)


@pytest.mark.parametrize("cause", [Cause.SCRIPT_FAILED, Cause.JOB_FAILED])
def test_the_exit_code_of_an_evicted_pod_decides_nothing(cause: Cause) -> None:
    """The code of a pod that the cluster ended is not the script's answer (R1)."""
    pod = a_pod(exit_code=137, disrupted="EvictionByEvictionAPI")
    case = a_case(pod, cause=cause, limits=some_limits(final_codes=frozenset({137})))
    outcome = concluded(case, skip_codes=frozenset({137}))
    assert (outcome.skipped, outcome.retryable) == (False, True)


TOO_LONG = "Pod was active on the node longer than the specified deadline"


@pytest.mark.parametrize(
    "ended",
    [
        {"being_deleted": True},
        {"phase": "Failed", "pod_reason": "DeadlineExceeded", "pod_message": TOO_LONG},
        {"phase": "Failed", "pod_reason": "Evicted"},
    ],
)
def test_the_exit_code_of_a_pod_that_was_ended_decides_nothing(ended: dict[str, Any]) -> None:
    """A handler of SIGTERM may exit with any code: such a run is neither skipped nor failed for good (R1)."""
    case = a_case(a_pod(exit_code=99, **ended), cause=Cause.JOB_FAILED, limits=some_limits(final_codes=frozenset({99})))
    outcome = concluded(case, skip_codes=frozenset({99}))
    assert (outcome.skipped, outcome.retryable) == (False, True)


def test_the_exit_code_of_a_script_that_the_kubelet_stopped_decides_nothing() -> None:
    """A liveness probe ends the script alone: only the kubelet's event says so (R1)."""
    case = a_case(a_pod(exit_code=99), limits=some_limits(final_codes=frozenset({99})))
    stopped = case.view.with_stopped("uid-load-x1", "Killing", "Container script failed liveness probe")
    outcome = concluded(replace(case, view=stopped), skip_codes=frozenset({99}))
    assert (outcome.skipped, outcome.retryable) == (False, True)


FINAL = "Container script for pod etl/load-x1 failed with exit code 3 matching FailJob rule at index 1"


@pytest.mark.parametrize(
    ("pods", "code"),
    [
        ([], 3),
        ([a_pod(running=True)], 3),
        ([a_pod(running=True, being_deleted=True)], None),
        ([a_pod(exit_code=143, being_deleted=True)], None),
    ],
    ids=["never seen", "not seen to end", "deleted", "ended by a deletion"],
)
def test_the_condition_has_the_final_code_of_a_pod_that_is_gone(pods: list[dict[str, Any]], code: int | None) -> None:
    """A node may be scaled down before a follower sees the end of its pod (R7)."""
    case = a_case(*pods, cause=Cause.JOB_FAILED, reason="PodFailurePolicy", message=FINAL)
    limits = some_limits(final_codes=frozenset({3, 143}))
    view = case.view.with_pod(pods[0], 1, deleted=True) if pods else case.view
    outcome = concluded(replace(case, limits=limits, view=view), skip_codes=frozenset({3, 143}))
    assert (outcome.skipped, outcome.retryable) == (code == 3, code is None)


@pytest.mark.parametrize("cause", [Cause.JOB_SUCCEEDED, Cause.JOB_FAILED])
def test_a_result_has_nothing_of_another_attempt(cause: Cause) -> None:
    """The first attempt is left, and the one that decided is gone (R13)."""
    case = a_case(
        a_pod(exit_code=1, phase="Failed"), cause=cause, message="" if cause is Cause.JOB_SUCCEEDED else FINAL
    )
    result = concluded(replace(case, verdict=replace(case.verdict, pod_uid=None))).result
    assert (result.pod_name, result.exit_code) == (None, None if cause is Cause.JOB_SUCCEEDED else 3)
    assert [attempt.exit_code for attempt in result.attempts] == [1]


@pytest.mark.parametrize(
    ("uid", "pods", "lines"),
    [
        ("uid-load-x1", [a_pod(running=True)], []),
        (None, [], ["Job etl/load: its pods are gone. The result has no exit code, no output and no value"]),
        (
            None,
            [a_pod(exit_code=1)],
            ["Job etl/load: the pod that succeeded is gone. The result has no exit code, no output and no value"],
        ),
    ],
)
def test_what_a_success_lacks_without_its_pod(uid: str | None, pods: list[dict[str, Any]], lines: list[str]) -> None:
    """A log line says why the result is empty (R13)."""
    assert unread("etl/load", Verdict(Cause.JOB_SUCCEEDED, uid), a_view(*pods)) == lines


NOT_CHOSEN = {
    "packages": a_pod(exit_code=98, message=f"{MESSAGE_PREFIX}could not install packages"),
    "killed for memory": a_pod(oom_killed=True),
    "mount": a_pod(exit_code=128, reason="StartError", message="error mounting: input/output error"),
    "lost": a_pod(exit_code=137, reason="ContainerStatusUnknown"),
}
NOT_CHOSEN["packages"]["spec"]["containers"][0]["env"] = [{"name": PACKAGES_VARIABLE}]


@pytest.mark.parametrize("pod", NOT_CHOSEN.values(), ids=NOT_CHOSEN)
@pytest.mark.parametrize("cause", [Cause.SCRIPT_FAILED, Cause.JOB_FAILED])
def test_an_exit_code_that_the_script_did_not_choose_decides_nothing(pod: dict[str, Any], cause: Cause) -> None:
    """An installation, the kernel or the container runtime has chosen it: another try may help (R1, R7)."""
    codes = frozenset({98, 128, 137})
    case = a_case(pod, cause=cause, limits=some_limits(final_codes=codes, backoff_limit=3))
    outcome = concluded(case, skip_codes=codes)
    assert (outcome.skipped, outcome.retryable) == (False, True)
    assert not isinstance(decide(case.view, case.limits, 0.0), Verdict)


def test_an_image_without_the_program_does_not_skip() -> None:
    """127 of cri-dockerd is the runtime's code (R1, R7)."""
    message = 'exec: "ruby": executable file not found in $PATH'
    pod = a_pod(exit_code=127, reason="ContainerCannotRun", message=message)
    case = a_case(pod, cause=Cause.NOT_EXECUTABLE, limits=some_limits(final_codes=frozenset({127})))
    outcome = concluded(case, skip_codes=frozenset({127}))
    assert (outcome.skipped, outcome.retryable) == (False, True)


def test_a_script_whose_child_was_killed_for_memory_chose_its_exit_code() -> None:
    """With cgroup v1 the word is OOMKilled all the same (R7)."""
    case = a_case(a_pod(exit_code=3, reason="OOMKilled"), limits=some_limits(final_codes=frozenset({3})))
    assert not concluded(case).retryable


def test_an_exit_code_stands_when_the_pod_is_deleted_afterwards() -> None:
    """The Job of a script with a sidecar is ended by us, after the script."""
    case = a_case(a_pod(exit_code=99))
    deleted = case.view.with_pod(a_pod(exit_code=99, being_deleted=True), 1)
    assert concluded(replace(case, view=deleted), skip_codes=frozenset({99})).skipped


def test_exit_codes_that_fail_for_good() -> None:
    """A code of ``fail_on_exit_code`` fails the task, and Airflow does not try again."""
    error = failure(concluded(a_case(a_pod(exit_code=2), limits=some_limits(final_codes=frozenset({2})))))
    assert error is not None
    assert not error.retryable


def test_other_failures_may_be_tried_again() -> None:
    """By default whether to retry is Airflow's decision."""
    error = failure(concluded(a_case(a_pod(exit_code=1))))
    assert type(error) is ScriptFailedError
    assert error.retryable


def test_a_success_is_never_skipped() -> None:
    """Only a failure can skip."""
    assert not concluded(SUCCESS, skip_codes=frozenset({0})).skipped


def test_the_message_of_a_failure() -> None:
    """The headline first, then warnings, then the last lines (R22)."""
    outcome = a_failed_outcome(warnings=["Pod x: FailedMount: no"], last_lines=["one", "two"])
    assert str(failure(outcome)).splitlines() == [
        "Job etl/load failed: the script ended with exit code 3.",
        "",
        "Warning events:",
        "  Pod x: FailedMount: no",
        "",
        "Last 2 lines of output:",
        "  one",
        "  two",
    ]


def test_a_termination_message_of_several_lines_is_in_the_message() -> None:
    """The author's own words for the failure, all of them."""
    diagnosed = Diagnosis(
        "exit code 1: locked",
        "Job etl/load failed: exit code 1: locked.",
        Category.ERROR,
        "Error",
        "",
        ("locked", "by x"),
    )
    message = str(failure(a_failed_outcome(diagnosis=diagnosed)))
    assert message.splitlines()[1:] == ["", "Termination message:", "  locked", "  by x"]


def test_a_script_that_the_kubelet_stopped_has_an_unknown_outcome() -> None:
    """It is a failure with an exit code of 0, and never a success (R1, R36)."""
    case = a_case(a_pod(exit_code=0), cause=Cause.STOPPED, reason="Evicted", message="too much")
    outcome = concluded(case)
    assert type(failure(outcome)) is OutcomeUnknownError
    assert (outcome.result.status, outcome.result.exit_code, outcome.result.reason) == (Status.FAILED, 0, "Evicted")


def test_a_failure_without_output_is_one_line() -> None:
    """Nothing to show is not shown."""
    assert str(failure(a_failed_outcome())) == "Job etl/load failed: the script ended with exit code 3."


def test_long_lines_are_cut_in_the_message() -> None:
    """A megabyte in one line doesn't flood the failure (R22)."""
    assert len(str(failure(a_failed_outcome(last_lines=["x" * 100_000])))) < 1_200


def test_enough_lines_are_shown() -> None:
    """The last twenty lines (R22)."""
    assert LAST_LINES == 20


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (a_result(output_bytes=1234), "Job etl/load completed in 1.5 s, exit code 0, 1,234 bytes of output"),
        (a_failed_result(), "Job etl/load failed in 1.5 s, exit code 3, 0 bytes of output"),
        (
            a_failed_result(status=Status.TIMEOUT, exit_code=143),
            "Job etl/load timed out in 1.5 s, exit code 143, 0 bytes of output",
        ),
        (
            a_failed_result(attempts=(Attempt("a"), Attempt("b")), exit_code=None),
            "Job etl/load failed in 1.5 s, 2 attempts, 0 bytes of output",
        ),
    ],
)
def test_the_summary_is_one_line(result: ScriptResult, words: str) -> None:
    """How the run ended, for the log's last line."""
    assert summary(result) == words


def test_a_script_that_may_still_run_is_not_run_again() -> None:
    """Its node does not answer: Airflow must not start a second one beside it (R10)."""
    outcome = concluded(a_case(a_pod(running=True, being_deleted=True), cause=Cause.UNREACHABLE))
    assert (outcome.is_unknown, outcome.retryable, outcome.result.status) == (True, False, Status.FAILED)


NOT_BY_THE_SCRIPT = (Cause.JOB_DELETED, Cause.DEADLINE, Cause.SILENCE, Cause.JOB_FAILED, Cause.DISRUPTED)


@pytest.mark.parametrize("cause", NOT_BY_THE_SCRIPT)
def test_no_cause_lets_airflow_run_a_script_beside_itself(cause: Cause) -> None:
    """An orphaned pod, or one that Kubernetes was not able to end: its user ends it first (R10)."""
    outcome = concluded(a_case(a_pod(running=True, phase="Running"), cause=cause))
    assert (outcome.is_unknown, outcome.retryable, outcome.result.status) == (True, False, Status.FAILED)
    error = failure(outcome)
    assert type(error) is OutcomeUnknownError
    assert "the script may still run in load-x1, so it is not retried" in error.message
    assert "Run kubectl -n etl delete pod load-x1." in error.message


@pytest.mark.parametrize("cause", NOT_BY_THE_SCRIPT)
def test_a_script_that_was_ended_may_be_run_again(cause: Cause) -> None:
    """Its end was reported (R10)."""
    assert concluded(a_case(a_pod(**ENDED_WITH_ITS_POD), cause=cause)).retryable


def test_a_pod_whose_node_is_silent_names_the_node() -> None:
    """It cannot be deleted a second time (R10, R11)."""
    error = failure(concluded(a_case(a_pod(running=True, being_deleted=True), cause=Cause.JOB_DELETED)))
    assert error is not None
    assert "Run kubectl describe node node-1." in error.message
