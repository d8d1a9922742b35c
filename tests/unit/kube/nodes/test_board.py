"""All runs on nodes, as they were seen."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_script_provider.kube.job.follow_state import FollowState
from airflow_script_provider.kube.job.verdict import Cause, Verdict
from airflow_script_provider.kube.labels import (
    ENDED_ANNOTATION_PREFIX,
    FOLLOW_STATE_ANNOTATION,
    OUTCOME_ANNOTATION,
    TIMEOUT_ANNOTATION,
)
from airflow_script_provider.kube.logs.pod_lines import LogPosition
from airflow_script_provider.kube.nodes import board as node_board
from airflow_script_provider.kube.nodes import manifest
from airflow_script_provider.kube.nodes.board import Board
from airflow_script_provider.kube.nodes.plan import NextRuns, Start
from airflow_script_provider.result import Category
from tests.builders import a_failed_record, a_job, a_plan, a_pod, a_record, some_limits

FIRST = Start("a", 0)
HANDOVER = "airflow-script-provider/handover"


def a_board(*nodes: str, **settings: Any) -> Board:
    """A board on which nothing was seen yet."""
    return Board(a_plan(*nodes, **settings), some_limits(schedule_timeout=60, startup_timeout=60))


def a_run(start: Start = FIRST, /, **annotations: str) -> dict[str, Any]:
    """The Job of a run."""
    job = a_job()
    job["metadata"]["annotations"] = {"airflow-script-provider/node": start.node, **annotations}
    job["metadata"]["labels"] = {"airflow-script-provider/run": str(start.index)}
    job["spec"]["activeDeadlineSeconds"] = 600
    return job


def its_pod(start: Start = FIRST, **state: Any) -> dict[str, Any]:
    """The pod of a run."""
    pod = a_pod(**state)
    pod["metadata"]["annotations"] = {"airflow-script-provider/node": start.node}
    pod["metadata"]["labels"] = {"airflow-script-provider/run": str(start.index)}
    return pod


def ends(board: Board, now: float, expires_at: float | None = None) -> list[tuple[Start, Any]]:
    """The runs that are over, and why."""
    return [(run.start, decision) for run, decision in board.due(now, expires_at)]


@pytest.mark.parametrize("limit", [0, 6])
@pytest.mark.parametrize("failed", [0, 1])
def test_a_run_is_over_at_its_first_failure(limit: int, failed: int) -> None:
    """A limit that admission has raised would run the script on its node again (R1, R2)."""
    board, job = a_board("a"), a_run()
    job["spec"]["backoffLimit"], job["status"]["failed"] = limit, failed
    board.take_job(job, 0.0, 0.0)
    board.take_pod(its_pod(exit_code=3, phase="Failed"), 1.0)
    ((start, verdict),) = ends(board, 1.0)
    assert (start, verdict.cause) == (FIRST, Cause.SCRIPT_FAILED)
    assert board.runs[FIRST].may_be_repeated is (limit > 0)


def test_an_empty_board_starts_everything() -> None:
    """Nothing is there yet."""
    assert a_board("a", "b").next_step(0.0, is_expired=False).starts == [FIRST, Start("b", 0)]


def test_what_was_left_is_not_started_again() -> None:
    """A Job that is there is a run under way, one with an outcome is over (R2)."""
    board = a_board("a", "b", "c")
    board.take_job(a_run(FIRST), 0.0, 5.0)
    board.take_job(a_run(Start("b", 0), **{OUTCOME_ANNOTATION: a_record().to_text()}), 0.0, 5.0)
    assert board.next_step(0.0, is_expired=False).starts == [Start("c", 0)]
    assert board.records == {Start("b", 0): a_record()}
    assert board.runs[FIRST].is_taken_over


def test_a_pod_that_ended_ends_its_run() -> None:
    """Once: a run that is being concluded is not looked at again."""
    board = a_board("a")
    board.take_job(a_run(), 0.0, 0.0)
    run = board.take_pod(its_pod(exit_code=0), 1.0)
    assert run is not None
    ((start, verdict),) = ends(board, 1.0)
    assert (start, verdict.cause) == (FIRST, Cause.SCRIPT_SUCCEEDED)
    run.is_concluding = True
    assert ends(board, 2.0) == []


def test_a_clock_that_ran_before_counts() -> None:
    """A run that another one has started, and that never began, ends at its ``startup_timeout`` (R5)."""
    board = a_board("a")
    job = a_run()
    job["status"]["startTime"] = "2026-01-01T00:00:00Z"
    board.take_job(job, 100.0, 55.0)
    board.take_pod(its_pod(created="2026-01-01T00:00:00Z"), 100.0)
    assert ends(board, 100.0) == []
    assert board.next_look() == 105.0
    ((_, verdict),) = ends(board, 105.0)
    assert verdict.cause is Cause.STARTUP_TIMEOUT


def test_a_run_without_a_pod_that_took_over_is_not_late() -> None:
    """A run that another process has started may be between two pods (R4, R5)."""
    board = a_board("a")
    board.take_job(a_run(), 100.0, 300.0)
    assert ends(board, 100.0) == []
    assert board.next_look() == 160.0


def seconds_waited(board: Board, now: float) -> dict[Start, float]:
    """How long the board leaves to the next follower that its runs have waited."""
    return {start: state.waited for start, state in board.waits(now).items()}


def test_a_wait_for_a_node_goes_on_with_the_next_follower() -> None:
    """A triggerer may restart more often than a run without a pod has time to get a node (R4, R5, R10)."""
    state = json.dumps(FollowState(waited=20.0).to_dict())
    board = a_board("a")
    board.take_job(a_run(FIRST, **{FOLLOW_STATE_ANNOTATION: state}), 100.0, 300.0)
    assert ends(board, 100.0) == []
    assert (board.next_look(), seconds_waited(board, 110.0)) == (140.0, {FIRST: 30.0})
    ((_, verdict),) = ends(board, 140.0)
    assert verdict.cause is Cause.SCHEDULE_TIMEOUT
    board.take_pod(its_pod(), 140.0)
    assert seconds_waited(board, 140.0) == {FIRST: 0.0}


def test_the_position_of_a_run_survives_a_follower_that_sees_no_pod() -> None:
    """The lines that an earlier follower has shown are not shown again (R4, R19)."""
    left = FollowState(logs={("uid-x1", "script"): LogPosition("2026-01-01T00:00:01.000000000Z", (0,))}, has_begun=None)
    board = a_board("a")
    board.take_job(a_run(FIRST, **{FOLLOW_STATE_ANNOTATION: json.dumps(left.to_dict())}), 100.0, 300.0)
    assert board.waits(110.0) == {FIRST: replace(left, waited=10.0)}


def test_a_pod_that_took_over_is_not_late() -> None:
    """Of a run that another process has started, the first pod may have been preempted and be gone (R4, R5)."""
    board = a_board("a")
    job = a_run()
    job["status"]["startTime"] = "2026-01-01T00:00:00Z"
    board.take_job(job, 100.0, 300.0)
    board.take_pod(its_pod(created="2026-01-01T00:04:55Z"), 100.0)
    assert ends(board, 100.0) == []
    assert board.next_look() == 155.0


def test_a_run_that_ends_makes_room() -> None:
    """Its outcome is kept, the next run of its node has the next index."""
    board = a_board("a", runs=2)
    board.begin(FIRST, "load-a-0", 0.0)
    board.end(FIRST, a_failed_record(), 5.0)
    assert board.next_step(5.0, is_expired=False).starts == [Start("a", 1)]
    assert board.failures_before("a") == 1


def test_the_next_run_waits_for_the_end_of_the_script() -> None:
    """A run that reached its timeout is over when its script is (R5)."""
    board = a_board("a", runs=2)
    job = a_run()
    board.take_job(job, 0.0, 0.0)
    board.take_pod(its_pod(running=True), 1.0)
    board.take_pod(its_pod(running=True, being_deleted=True), 600.0)
    job["status"] = a_job("FailureTarget", reason="DeadlineExceeded")["status"]
    board.take_job(job, 600.0, 600.0)
    assert ends(board, 601.0) == []
    assert board.next_step(601.0, is_expired=False).starts == []
    board.take_pod(its_pod(exit_code=143, being_deleted=True), 610.0)
    assert [verdict.cause for _, verdict in ends(board, 610.0)] == [Cause.DEADLINE]


def test_an_outcome_that_another_one_has_written_ends_the_run() -> None:
    """Two triggerers may see to the same runs for a moment."""
    board = a_board("a")
    board.take_job(a_run(), 0.0, 0.0)
    board.take_job(a_run(**{OUTCOME_ANNOTATION: a_record().to_text()}), 1.0, 1.0)
    assert board.runs == {}
    assert board.next_step(1.0, is_expired=False).is_over


def test_a_pause_goes_on_when_somebody_takes_over() -> None:
    """It is counted from the run's end, by the API server's clock."""
    text = a_record(finished_at="2026-01-01T00:00:00+00:00").to_text()
    job = a_run(**{OUTCOME_ANNOTATION: text})
    clock = node_board.clock_of(job, datetime(2026, 1, 1, 0, 0, 40, tzinfo=UTC))
    assert clock == 40.0
    board = a_board("a", runs=2, interval=60)
    board.take_job(job, 1000.0, clock)
    assert board.next_step(1000.0, is_expired=False) == NextRuns([], until=1020.0)


def test_news_of_a_run_that_is_over_are_nothing() -> None:
    """Its Job and its pod may be there for long."""
    board = a_board("a")
    board.end(FIRST, a_record(), 0.0)
    board.take_job(a_run(), 1.0, 1.0)
    assert board.take_pod(its_pod(exit_code=0), 1.0) is None
    assert board.runs == {}


def test_a_run_whose_job_was_deleted() -> None:
    """Somebody has deleted it: what became of the script is unknown (R9)."""
    board = a_board("a")
    board.take_job(a_run(), 0.0, 0.0)
    board.take_job(a_run(), 1.0, 1.0, deleted=True)
    ((_, verdict),) = ends(board, 1.0)
    assert verdict.cause is Cause.JOB_DELETED


def test_an_owner_that_was_deleted_starts_nothing() -> None:
    """What runs goes with it (R9)."""
    board = a_board("a", "b", max_parallel=1)
    board.take_job(a_run(), 0.0, 0.0)
    board.take_job(a_job(), 1.0, 1.0, deleted=True)
    assert board.next_step(1.0, is_expired=False) == NextRuns(is_over=False)
    board.end(FIRST, a_failed_record(), 1.0)
    assert board.next_step(1.0, is_expired=False) == NextRuns(is_over=True)


def test_an_owner_that_is_complete_starts_nothing() -> None:
    """A run whose Job somebody has deleted since is not run again: nobody has asked for that (R9)."""
    owner = a_job()
    owner["spec"] |= manifest.COMPLETE
    board = a_board("a")
    board.take_job(node_board.kept_job(owner, with_output=True), 0.0, 0.0)
    assert board.next_step(0.0, is_expired=False) == NextRuns(is_over=True)
    assert board.missing(is_expired=False) == "of unknown outcome (their Jobs were deleted)"


def test_why_runs_are_missing() -> None:
    """The author's own bound, the task's time, or somebody."""
    board = a_board("a", "b", stop_after_failures=1)
    assert board.missing(is_expired=True) == "not started (execution_timeout)"
    board.take_job(a_job(), 0.0, 0.0, deleted=True)
    assert board.missing(is_expired=True) == "not started (the Job that owns them was deleted)"
    board.end(FIRST, a_failed_record(), 1.0)
    assert board.missing(is_expired=True) == "not started (stop_after_failures=1)"


def test_the_owner_remembers_runs_without_a_job() -> None:
    """What could not be created, or was deleted, is not tried again by who goes on."""
    owner = a_job()
    owner["metadata"]["annotations"] = node_board.owner_annotation("a", a_failed_record(output="long"))
    board = a_board("a")
    board.take_job(node_board.kept_job(owner, with_output=True), 0.0, 0.0)
    assert board.records == {FIRST: a_failed_record(output="", output_truncated=True)}


def test_after_the_tasks_time_everything_is_over() -> None:
    """What does not end by itself, such as a Job that somebody suspended, is ended (R5)."""
    board = a_board("a")
    board.take_job(a_run(), 0.0, 0.0)
    assert ends(board, 10.0, expires_at=20.0) == []
    verdict = Verdict(Cause.DEADLINE, delete_job=True)
    assert ends(board, 20.0, expires_at=20.0) == [(FIRST, verdict)]
    board.take_pod(its_pod(), 20.0)
    assert ends(board, 20.0, expires_at=20.0) == [(FIRST, replace(verdict, pod_uid="uid-load-x1"))]
    assert board.next_step(20.0, is_expired=True).starts == ()


@pytest.mark.parametrize(
    ("timeout", "expires_at", "name"),
    [
        (600, None, "timeout"),
        (600, 1e9, "timeout"),
        (900, 1e9, "execution_timeout"),
        (900, None, "activeDeadlineSeconds"),
        (None, None, "activeDeadlineSeconds"),
    ],
)
def test_which_bound_ended_a_run_is_said_by_its_name(timeout: int | None, expires_at: float | None, name: str) -> None:
    """Its own, or what was left of the task's; without these, admission has changed it (R5, R22)."""
    board = a_board("a", timeout=timeout, expires_at=expires_at)
    board.take_job(a_run(), 0.0, 0.0)
    assert (board.runs[FIRST].limits.deadline, board.runs[FIRST].limits.deadline_name) == (600, name)


@pytest.mark.parametrize(
    ("own", "annotations", "limits"),
    [
        (720, {}, (600, 720, "timeout")),
        (600, {}, (None, 600, "timeout")),
        (600, {TIMEOUT_ANNOTATION: "600"}, (600, 600, "timeout")),
        (130, {TIMEOUT_ANNOTATION: "600"}, (600, 130, "timeout")),
        (60, {}, (600, 60, "activeDeadlineSeconds")),
        (820, {}, (700, 820, "activeDeadlineSeconds")),
    ],
    ids=["ours", "of an earlier version", "ended at its timeout", "ended after a wait", "a policy's", "a user's"],
)
def test_a_run_may_work_for_its_timeout(own: int, annotations: dict[str, str], limits: tuple[Any, ...]) -> None:
    """Its Job's deadline also has time for what comes before the work (R5)."""
    board, job = a_board("a", timeout=600, begins_within=120), a_run(FIRST, **annotations)
    job["spec"]["activeDeadlineSeconds"] = own
    board.take_job(node_board.kept_job(job, with_output=False), 0.0, 0.0)
    found = board.runs[FIRST].limits
    assert (found.timeout, found.deadline, found.deadline_name) == limits


def test_a_run_is_ended_when_its_work_is_over() -> None:
    """Until its Job has ended, it is not ended again (R5)."""
    board, job = a_board("a", timeout=600, begins_within=120), a_run()
    job["spec"]["activeDeadlineSeconds"] = 720
    board.take_job(job, 0.0, 0.0)
    board.take_pod(its_pod(running=True), 10.0)
    assert (ends(board, 609.0), board.next_look()) == ([], 610.0)
    ((start, verdict),) = ends(board, 610.0)
    assert (start, verdict.cause) == (FIRST, Cause.TIMEOUT)
    ended = a_run(FIRST, **{TIMEOUT_ANNOTATION: "600"})
    board.take_job(ended, 611.0, 611.0)
    assert ends(board, 611.0) == []
    ended["status"]["conditions"] = a_job("Failed", reason="DeadlineExceeded")["status"]["conditions"]
    board.take_job(ended, 612.0, 612.0)
    board.take_pod(its_pod(exit_code=143, phase="Failed"), 612.0)
    ((_, verdict),) = ends(board, 612.0)
    assert (verdict.cause, verdict.reason) == (Cause.DEADLINE, "DeadlineExceeded")


def test_the_work_of_a_run_is_handed_on() -> None:
    """If it has waited for a node in between: otherwise its pod says when it began (R4, R5)."""
    board = a_board("a", timeout=600, begins_within=120)
    board.take_job(a_run(), 0.0, 0.0)
    board.take_pod(its_pod(running=True), 10.0)
    assert board.waits(20.0) == {}
    board.take_pod(its_pod(running=True), 110.0, deleted=True)
    board.take_pod(its_pod(name="load-x2", unschedulable="no room"), 110.0)
    state = board.waits(120.0)[FIRST]
    assert (state.worked, state.works_since) == (100.0, None)
    following = a_board("a", timeout=600, begins_within=120)
    following.take_job(a_run(FIRST, **{FOLLOW_STATE_ANNOTATION: json.dumps(state.to_dict())}), 500.0, 500.0)
    following.take_pod(its_pod(name="load-x2", running=True), 501.0)
    assert following.runs[FIRST].seen.view.work.worked == 100.0


@pytest.mark.parametrize(("limit", "is_repeated"), [(0, False), (2, True), (None, False)])
def test_a_job_may_run_a_script_again_if_admission_allows_it(limit: int | None, is_repeated: bool) -> None:
    """Its own limit counts, which a webhook may have raised (R1, R10)."""
    board, job = a_board("a"), a_run()
    job["spec"].pop("backoffLimit", None)
    job["spec"] |= {} if limit is None else {"backoffLimit": limit}
    board.take_job(node_board.kept_job(job, with_output=True), 0.0, 0.0)
    assert board.runs[FIRST].may_be_repeated is is_repeated


@pytest.mark.parametrize("is_concluding", [True, False])
def test_the_record_of_a_run_that_is_concluded_here_is_not_its_last(is_concluding: bool) -> None:
    """Its pods are waited for: until then, no other run begins on its node (R5, R10)."""
    board, text = a_board("a", runs=2), a_failed_record(category=Category.NO_ANSWER).to_text()
    board.take_job(a_run(), 0.0, 0.0)
    board.runs[FIRST].is_concluding = is_concluding
    stopped = a_run(**{OUTCOME_ANNOTATION: text})
    stopped["spec"] |= manifest.STOPPED
    board.take_job(stopped, 1.0, 1.0)
    assert (FIRST in board.runs, FIRST in board.records) == (is_concluding, not is_concluding)
    if is_concluding:
        assert board.runs[FIRST].limits.deadline == 600


def test_little_is_kept() -> None:
    """Of Jobs and pods what the board reads; outputs only for the result."""
    job = a_run(**{OUTCOME_ANNOTATION: a_record(output="long").to_text(), "other": "x", HANDOVER: "{}"})
    kept = node_board.kept_job(job, with_output=False)["metadata"]["annotations"]
    assert kept.keys() == {"airflow-script-provider/node", HANDOVER, OUTCOME_ANNOTATION}
    assert "output" not in json.loads(kept[OUTCOME_ANNOTATION])
    pod = its_pod(running=True)
    pod["spec"]["tolerations"] = [{}]
    assert "tolerations" not in node_board.kept_pod(pod)["spec"]


CONTROLLER = "batch.kubernetes.io/controller-uid"


@pytest.mark.parametrize(
    ("labels", "annotations", "is_found"),
    [
        ({CONTROLLER: "uid-load", "airflow-script-provider/run": "0"}, None, True),
        ({CONTROLLER: "uid-load"}, {"sidecar/injected": "true"}, True),
        ({CONTROLLER: "uid-load", "airflow-script-provider/run": "x"}, {}, True),
        ({CONTROLLER: "uid-other"}, {}, False),
        ({CONTROLLER: "uid-other", "airflow-script-provider/run": "0"}, {"airflow-script-provider/node": "a"}, False),
        (None, None, False),
    ],
)
def test_a_pod_is_known_by_its_job(labels: Any, annotations: Any, is_found: bool) -> None:
    """A webhook may have replaced its annotations or labels; a pod of another Job is left alone (R15, R21)."""
    board, pod = a_board("a"), a_pod(running=True)
    board.take_job(node_board.kept_job(a_run(), with_output=True), 0.0, 0.0)
    pod["metadata"] |= {"labels": labels, "annotations": annotations}
    run = board.take_pod(node_board.kept_pod(pod), 1.0)
    assert run is (board.runs[FIRST] if is_found else None)


@pytest.mark.parametrize(
    ("of_job", "of_template", "is_found"), [({}, True, True), (None, True, True), ({"x": "y"}, False, False)]
)
def test_a_job_is_known_by_the_template_of_its_pods(of_job: Any, of_template: bool, is_found: bool) -> None:
    """A webhook may have replaced its annotations; without any of ours it is not taken for the owner (R2, R15)."""
    board, job = a_board("a"), a_run(FIRST)
    job["metadata"] |= {"annotations": of_job, "deletionTimestamp": "2026-01-01T00:00:00Z"}
    if of_template:
        job["spec"]["template"] = {"metadata": {"annotations": {"airflow-script-provider/node": "a"}}}
    board.take_job(node_board.kept_job(job, with_output=True), 0.0, 0.0)
    assert (FIRST in board.runs, board.is_owner_deleted) == (is_found, False)


ASKED_AT = 100.0
"""When the create of the run was sent."""


def test_a_run_whose_create_was_not_sent_waits() -> None:
    """Of thousands of runs few are created at a time: no limit counts meanwhile (R26)."""
    board = a_board("a")
    board.begin(FIRST, "load-a-0", 0.0)
    assert ends(board, 10_000.0) == []


@pytest.mark.parametrize(
    ("limits", "now", "cause"),
    [
        ({"startup_timeout": 60}, 159.0, None),
        ({"startup_timeout": 60}, 160.0, Cause.STARTUP_TIMEOUT),
        ({"startup_timeout": 60, "deadline": None}, 160.0, Cause.STARTUP_TIMEOUT),
        ({"startup_timeout": 900, "deadline": 20}, 119.0, None),
        ({"startup_timeout": 900, "deadline": 20}, 120.0, Cause.DEADLINE),
    ],
)
def test_a_run_without_a_job_has_an_end(limits: dict[str, Any], now: float, cause: Cause | None) -> None:
    """Its limits count from the create on; nothing in the cluster ends it (R5, R34)."""
    board = Board(a_plan("a", timeout=limits.pop("deadline", 600)), some_limits(**limits))
    board.ask(board.begin(FIRST, "load-a-0", 0.0), ASKED_AT)
    found = [verdict.cause for _, verdict in ends(board, now)]
    assert found == ([] if cause is None else [cause])
    assert cause is not None or board.next_look() == (160.0 if limits["startup_timeout"] == 60 else 120.0)


def test_a_run_without_a_job_ends_with_its_owner() -> None:
    """The garbage collector has nothing to delete, so no deletion would be seen (R9, R34)."""
    board = a_board("a", "b")
    board.ask(board.begin(FIRST, "load-a-0", 0.0), ASKED_AT)
    board.begin(Start("b", 0), "load-b-0", 0.0)
    board.take_job(a_job(), ASKED_AT, 1.0, deleted=True)
    assert [(start, verdict.cause) for start, verdict in ends(board, ASKED_AT)] == [
        (FIRST, Cause.JOB_DELETED), (Start("b", 0), Cause.JOB_DELETED)
    ]  # fmt: skip


def test_a_job_that_is_seen_late_has_its_whole_time() -> None:
    """What its create took is not counted as its time to start."""
    board = a_board("a")
    board.ask(board.begin(FIRST, "load-a-0", 0.0), ASKED_AT)
    board.take_job(a_run(), ASKED_AT + 50, 0.0)
    assert ends(board, ASKED_AT + 50) == []
    assert board.next_look() == ASKED_AT + 50 + 60


def test_a_job_that_comes_after_its_run_was_given_up_is_late() -> None:
    """Its create was slower than the run's limits; a Job that was seen is not late, whatever order changes have."""
    board = a_board("a", "b")
    for start in (FIRST, Start("b", 0)):
        board.begin(start, "load", 0.0)
    assert not board.take_job(a_run(Start("b", 0)), 1.0, None)
    for start in (FIRST, Start("b", 0)):
        board.end(start, a_failed_record(), 2.0)
    assert board.take_job(a_run(FIRST), 3.0, None)
    assert not board.take_job(a_run(FIRST), 3.0, None, deleted=True)
    assert not board.take_job(a_run(Start("b", 0)), 3.0, None)


@pytest.mark.parametrize("node", [None, 5, ""])
def test_a_record_without_its_node_is_none(node: object) -> None:
    """Whatever another program wrote into the owner's annotations, the task goes on (R13)."""
    text = json.dumps(json.loads(a_record().to_text()) | ({} if node is None else {"node": node}))
    owner = a_job()
    owner["metadata"]["annotations"] = {f"{ENDED_ANNOTATION_PREFIX}0": text}
    board = a_board("a")
    board.take_job(owner, 0.0, 0.0)
    assert board.records == {}


@pytest.mark.parametrize(
    ("newest", "changes", "is_kept"),
    [
        (0, {}, True),
        (1, {}, True),
        (2, {}, False),
        (0, {"is_owner_deleted": True}, False),
        (0, {"is_owner_complete": True}, False),
        (0, {"never_seen": {FIRST}}, False),
    ],
)
def test_a_record_survives_its_job(newest: int, changes: dict[str, Any], is_kept: bool) -> None:
    """Another follower may go on without it; what is no longer history is deleted here (R1, R2)."""
    board = a_board("a", runs=3, history_limit=2)
    for index in range(newest + 1):
        board.take_job(a_run(Start("a", index)), 0.0, 0.0)
        board.end(Start("a", index), a_record(index), 1.0)
    for name, value in changes.items():
        setattr(board, name, value)
    assert not board.take_job(a_run(FIRST), 2.0, 2.0, deleted=True)
    assert board.record_without_job(a_run(FIRST)) == (("a", a_record(0)) if is_kept else None)
    assert board.record_without_job({"metadata": {"name": "load"}}) is None
