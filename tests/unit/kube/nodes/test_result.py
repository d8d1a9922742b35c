"""What a script came to on all nodes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from airflow_script_provider.exceptions import NodesFailedError
from airflow_script_provider.kube.nodes import result as node_result
from airflow_script_provider.kube.nodes.plan import NodePlan
from airflow_script_provider.kube.nodes.result import conclude, headline, lines, successful, title
from airflow_script_provider.kube.wording import MAX_HEADLINE
from airflow_script_provider.result import Category, NodesResult
from tests.builders import a_failed_record, a_plan, a_record


def test_a_success() -> None:
    """Each node has its runs, and the counts are of nodes."""
    outcome = conclude(a_plan("a", "b"), {"a": [a_record()], "b": [a_record()]}, str, seconds=2.0, job_name="load")
    assert outcome.is_success
    result = outcome.to_dict()
    assert (result["status"], result["succeeded"], result["failed"], result["skipped"]) == ("completed", 2, 0, 0)
    assert result["nodes"]["a"]["runs"][0]["output"] == "hi\n"
    assert (result["execution_time"], result["job_name"], result["error"]) == (2.0, "load", None)


def test_the_headline_names_every_node_and_why() -> None:
    """The first line of the failure (R22)."""
    plan = a_plan(*(f"n{number}" for number in range(37)), "db-7", "db-9", "web-1")
    records = {node: [a_record()] for node in plan.nodes} | {
        "db-7": [a_failed_record()],
        "db-9": [a_failed_record(exit_code=137, category=Category.OOM_KILLED, reason="OOMKilled")],
        "web-1": [a_failed_record(exit_code=None, category=Category.NODE_UNREACHABLE)],
    }
    assert headline(plan, records) == ("3 of 40 nodes failed: db-7 (exit 3), db-9 (OOMKilled), web-1 (NodeUnreachable)")


NO_PANDAS: dict[str, Any] = {
    "exit_code": 1,
    "category": Category.MODULE_NOT_FOUND,
    "error": "the script ended with exit code 1.",
    "line": "ModuleNotFoundError: No module named 'pandas'",
    "advice": "Add it to install_dependencies.",
}


def test_a_node_that_is_owed_a_success_counts_as_failed() -> None:
    """A retry that cannot run on it any more must not make a failure green (R1)."""
    plan = a_plan(skipped={"b": "not ready", "c": "cordoned"}, earlier=("a",), owed=("b",))
    outcome = conclude(NodePlan.from_text(plan.to_text()), {"a": [a_record()]}, str, seconds=1)
    assert outcome.error == "1 of 2 nodes failed: b (no success in an earlier try, now left out: not ready)"
    assert (outcome.succeeded, outcome.failed, outcome.skipped) == (1, 1, 1)
    assert outcome.nodes["b"]["message"] == "no success in an earlier try, now left out: not ready"


def test_the_headline_has_the_error_that_all_failed_nodes_share() -> None:
    """What the first line of one failed Job would say, and the nodes (R22, R37)."""
    records = {"a": [a_record()], "b": [a_failed_record(**NO_PANDAS)], "c": [a_failed_record(**NO_PANDAS)]}
    outcome = conclude(a_plan("a", "b", "c", "d"), records, str, seconds=1)
    assert outcome.error == (
        "2 of 4 nodes failed: exit code 1: ModuleNotFoundError: No module named 'pandas'. "
        "Add it to install_dependencies. Failed: b, c; 1 not started"
    )
    assert str(outcome.nodes["b"]["runs"][-1]["error"]).startswith("exit code 1: ModuleNotFoundError: No module")


@pytest.mark.parametrize("other", [{"line": "KeyError: 'x'"}, {"line": ""}])
def test_nodes_that_failed_for_different_reasons(other: dict[str, Any]) -> None:
    """Each is named with its own, in a word or two (R22)."""
    records = {"a": [a_failed_record(**NO_PANDAS)], "b": [a_failed_record(**NO_PANDAS | other)]}
    words = "exit 1, ModuleNotFound"
    assert conclude(a_plan("a", "b"), records, str, seconds=1).error == f"2 of 2 nodes failed: a ({words}), b ({words})"


def test_one_run_that_failed_makes_a_node_fail() -> None:
    """Whatever came after it."""
    plan = a_plan("a", runs=2)
    outcome = conclude(plan, {"a": [a_failed_record(0), a_record(1, failures=1)]}, str, seconds=1)
    assert outcome.nodes["a"]["status"] == "failed"
    assert outcome.error == "1 of 1 node failed: a (exit 3)"


def test_a_failure_that_is_forgotten_still_counts() -> None:
    """``history_limit`` bounds what is kept, not what happened."""
    plan = a_plan("a", runs=9, history_limit=2)
    outcome = conclude(plan, {"a": [a_record(7, failures=1), a_record(8, failures=1)]}, str, seconds=1)
    assert outcome.error == "1 of 1 node failed: a (an earlier run failed)"


def test_a_run_whose_job_was_deleted_is_not_forgotten() -> None:
    """The follower of then may be gone; the run may have failed (R1, R2)."""
    outcome = conclude(a_plan("a", runs=3), {"a": [a_record(0), a_record(2)]}, str, seconds=1)
    assert outcome.error == "1 of 1 node failed: a (1 of 3 runs of unknown outcome (their Jobs were deleted))"
    assert outcome.nodes["a"]["status"] == "failed"


@pytest.mark.parametrize("number", [2, 9, 500])
@pytest.mark.parametrize("changes", [{}, {"line": "x" * 400}, {"category": Category.MODULE_NOT_FOUND}])
@pytest.mark.parametrize("not_run", [0, 3])
def test_a_first_line_stays_short(number: int, changes: dict[str, Any], not_run: int) -> None:
    """It has the number of nodes that failed, and the first of them (R22)."""
    names = [f"ip-10-0-{index // 250}-{index % 250}.eu-west-1.compute.internal" for index in range(number)]
    record = a_failed_record(error="the script ended with exit code 3.", **changes)
    plan = a_plan(*names, *(f"node-{index}" for index in range(not_run)))
    outcome = conclude(plan, {name: [record] for name in names}, str, seconds=1)
    assert len(str(outcome.error)) <= MAX_HEADLINE
    assert str(outcome.error).startswith(f"{number} of {number + not_run} nodes failed: ")
    assert names[0] in str(outcome.error)
    assert "in all" in str(outcome.error) or number == 2
    assert ("3 not started" in str(outcome.error)) == (not_run > 0)


def test_the_history_is_bounded() -> None:
    """Newest last."""
    runs = [a_record(index) for index in (3, 0, 2, 1)]
    outcome = conclude(a_plan("a", runs=4, history_limit=2), {"a": runs}, str, seconds=1)
    assert [run["index"] for run in outcome.nodes["a"]["runs"]] == [2, 3]


def test_nodes_that_were_left_out() -> None:
    """They are in the result with the reason, and no failure."""
    outcome = conclude(a_plan("a", skipped={"b": "cordoned"}), {"a": [a_record()]}, str, seconds=1)
    assert outcome.is_success
    said = {"message": "cordoned", "category": None, "reason": None}
    assert outcome.nodes["b"] == {"status": "skipped", "runs": []} | said
    assert outcome.skipped == 1


def test_nodes_that_were_not_started() -> None:
    """The headline counts them, the result says why."""
    plan = a_plan("a", "b", "c", max_parallel=1, stop_after_failures=1)
    missing = "not started (stop_after_failures=1)"
    outcome = conclude(plan, {"a": [a_failed_record()]}, str, seconds=1, missing=missing)
    assert outcome.error == "1 of 3 nodes failed: a (exit 3); 2 not started (stop_after_failures=1)"
    assert outcome.nodes["c"]["message"] == "not started (stop_after_failures=1)"


def test_nodes_that_succeeded_in_an_earlier_try() -> None:
    """They are in the result as they were, and count."""
    outcome = conclude(a_plan("b", earlier=("a",)), {"a": [a_record()], "b": [a_failed_record()]}, str, seconds=1)
    assert outcome.error == "1 of 2 nodes failed: b (exit 3)"
    assert outcome.nodes["a"]["runs"][0]["exit_code"] == 0
    assert outcome.succeeded == 1


def test_runs_that_are_missing_make_a_node_fail() -> None:
    """Green means done: one run of three is no success, however well it went (R1)."""
    plan = a_plan("a", "b", runs=3)
    records = {"a": [a_record(0)], "b": [a_record(index) for index in range(3)]}
    outcome = conclude(plan, records, str, seconds=1, missing="not started (execution_timeout)")
    assert outcome.error == "1 of 2 nodes failed: a (1 of 3 runs, the others not started (execution_timeout))"
    assert {name: node["status"] for name, node in outcome.nodes.items()} == {"a": "failed", "b": "completed"}


def test_a_node_that_never_began_is_no_success() -> None:
    """Even where no node failed (R1)."""
    assert headline(a_plan("a", "b"), {"a": [a_record()]}, "not started (execution_timeout)") == (
        "0 of 2 nodes failed; 1 not started (execution_timeout)"
    )


def test_titles() -> None:
    """Of the group of a run's lines."""
    assert title("a", a_plan("a"), a_record()) == "Node a: completed in 1.5 s"
    assert title("a", a_plan("a", runs=3), a_failed_record(1)) == "Node a, run 2 of 3: failed (exit 3) in 1.5 s"


def test_the_summary() -> None:
    """One line with the counts that are not zero."""
    outcome = conclude(a_plan("a", "b"), {"a": [a_record()], "b": [a_failed_record()]}, str, seconds=2)
    assert node_result.summary(outcome) == "2 nodes in 2.0 s: 1 succeeded, 1 failed"


def test_a_result_that_is_too_long_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest outputs first, short ones stay whole; each cut is marked."""
    monkeypatch.setattr(node_result, "MAX_RESULT", 6000)
    records = {"a": [a_record(output="x" * 9000)], "b": [a_record(output="y" * 2000)], "c": [a_record(output="z\n")]}
    result = conclude(a_plan("a", "b", "c"), records, str, seconds=1).to_dict()
    runs = {name: node["runs"][0] for name, node in result["nodes"].items()}
    assert len(json.dumps(result["nodes"])) < 6500
    assert {name: run["output_truncated"] for name, run in runs.items()} == {"a": True, "b": False, "c": False}
    assert result["truncated"] is True


def test_values_that_do_not_fit_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of a value is none."""
    monkeypatch.setattr(node_result, "MAX_RESULT", 2000)
    records = {"a": [a_record(value=["x"] * 1000)], "b": [a_record(value={"small": 1})]}
    result = conclude(a_plan("a", "b"), records, str, seconds=1).to_dict()
    first, second = (result["nodes"][name]["runs"][0] for name in ("a", "b"))
    assert (first["value"], first["value_truncated"]) == (None, True)
    assert (second["value"], second["value_truncated"]) == ({"small": 1}, False)


def test_where_that_is_not_enough_old_runs_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest run of each node stays; how many went is marked."""
    monkeypatch.setattr(node_result, "MAX_RESULT", 3000)
    records = {name: [a_record(index, output="") for index in range(10)] for name in ("a", "b")}
    node = conclude(a_plan("a", "b", runs=10), records, str, seconds=1).nodes["a"]
    assert [run["index"] for run in node["runs"]] == list(range(10 - len(node["runs"]), 10))
    assert node["runs_truncated"] == 10 - len(node["runs"]) > 0


def test_a_result_that_fits_is_whole() -> None:
    """500 nodes with what each may print."""
    records = {f"n{number}": [replace(a_record(), output="x" * 2048)] for number in range(500)}
    result = conclude(a_plan(*records), records, str, seconds=1).to_dict()
    assert result["truncated"] is False
    assert len(json.dumps(result)) < node_result.MAX_RESULT


def test_a_failure_has_the_result() -> None:
    """Its first line is the error of the result."""
    result = conclude(a_plan("a", "b"), {"a": [a_record()], "b": [a_failed_record()]}, str, seconds=2)
    with pytest.raises(NodesFailedError, match=r"1 of 2 nodes failed: b \(exit 3\)") as caught:
        successful(result)
    assert caught.value.result == result.to_dict()


def test_a_result_is_read_again() -> None:
    """``to_dict`` and ``from_dict`` are inverse, and keys of a newer version are dropped."""
    result = conclude(a_plan("a"), {"a": [a_record()]}, str, seconds=2)
    assert NodesResult.from_dict(json.loads(json.dumps(result.to_dict() | {"newer": 1}))) == result


def test_the_result_has_the_lines_that_a_trigger_has_held() -> None:
    """A worker shows them, in a group for each run (R22, R26)."""
    records = {"a": [a_record(0, output="one\n"), a_record(1, output="::endgroup::\ntwo\n")], "b": []}
    shown = lines(conclude(a_plan("a", "b", runs=2), records, str, seconds=2))
    assert shown == [
        "::group::Node a: completed",
        "one",
        "::endgroup::",
        "::group::Node a, run 2: completed",
        ":\u200b:endgroup::",
        "two",
        "::endgroup::",
    ]
