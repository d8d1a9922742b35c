"""What earlier tries came to on each node."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_script_provider.kube.labels import (
    NODE_ANNOTATION,
    NODES_LABEL,
    OUTCOME_ANNOTATION,
    PLAN_ANNOTATION,
    READ_ANNOTATION,
    RUN_LABEL,
    TRY_NUMBER_ANNOTATION,
    TRY_NUMBER_LABEL,
)
from airflow_script_provider.kube.nodes.board import owner_annotation
from airflow_script_provider.kube.nodes.earlier import (
    MISSING,
    EarlierNodes,
    nodes_of,
    plan_of_try,
    still_running,
    unended,
)
from airflow_script_provider.kube.nodes.plan import NodePlan
from airflow_script_provider.kube.nodes.record import RunRecord
from airflow_script_provider.kube.nodes.selection import Selection
from airflow_script_provider.result import Category
from tests.builders import a_failed_record, a_plan, a_pod, a_record, a_task


def an_owner(plan: NodePlan | str, **records: RunRecord) -> dict[str, Any]:
    """An owner with this plan, and with records of runs by node whose Job is gone."""
    annotations = {PLAN_ANNOTATION: plan if isinstance(plan, str) else plan.to_text()}
    for node, record in records.items():
        annotations |= owner_annotation(node, record)
    return {"metadata": {"name": "load", "annotations": annotations}}


def of_node(node: str, record: Any = None, owner: str = "x") -> dict[str, Any]:
    """The Job of a run."""
    outcome = {OUTCOME_ANNOTATION: record.to_text()} if record else {}
    annotations = {NODE_ANNOTATION: node} | outcome
    return {"metadata": {"name": f"load-{node}", "labels": {NODES_LABEL: owner}, "annotations": annotations}}


UNREACHABLE = a_failed_record(exit_code=None, category=Category.NODE_UNREACHABLE)
NO_ANSWER = a_failed_record(exit_code=None, category=Category.NO_ANSWER)


@pytest.mark.parametrize(
    ("jobs", "runs", "found"),
    [
        ([], 1, EarlierNodes()),
        ([of_node("a", a_record()), of_node("b", a_failed_record())], 1, EarlierNodes(frozenset("a"), frozenset("b"))),
        ([of_node("b", a_failed_record()), of_node("b", a_record())], 1, EarlierNodes(frozenset("b"))),
        ([of_node("a", a_record()), of_node("b")], 2, EarlierNodes(others=frozenset("ab"))),
        ([an_owner(a_plan("a", "c")), of_node("a", a_record())], 1, EarlierNodes(frozenset("a"), frozenset("c"))),
        ([an_owner(a_plan(skipped={"d": "cordoned"}, owed=("d",)))], 1, EarlierNodes(others=frozenset("d"))),
        ([an_owner("changed")], 1, EarlierNodes()),
        (
            [an_owner(a_plan("a", "b"), a=a_record(), b=NO_ANSWER)],
            1,
            EarlierNodes(frozenset("a"), frozenset("b")),
        ),
        ([of_node("a", UNREACHABLE)], 1, EarlierNodes(others=frozenset("a"))),
    ],
)
def test_where_the_script_has_not_succeeded_yet(jobs: list[dict[str, Any]], runs: int, found: EarlierNodes) -> None:
    """Also where an earlier try has not come to it, or could not any more (R1)."""
    assert nodes_of(jobs, a_plan("a", runs=runs)) == found


@pytest.mark.parametrize(
    ("jobs", "history_limit", "succeeded"),
    [
        ([of_node("a", a_record(1))], 10, ""),
        ([of_node("a", a_record(1))], 1, "a"),
        ([of_node("a", a_record(0)), of_node("a", a_record(1))], 10, "a"),
        ([of_node("a", a_record(0), "y"), of_node("a", a_record(1))], 10, ""),
    ],
)
def test_a_run_without_a_record_is_no_success(jobs: list[Any], history_limit: int, succeeded: str) -> None:
    """Its Job was deleted, and it may have failed; a record of another try says nothing about it (R1)."""
    found = nodes_of(jobs, a_plan("a", runs=2, history_limit=history_limit))
    assert found.succeeded == frozenset(succeeded)


@pytest.mark.parametrize(
    ("skipped", "why"), [({"b": "cordoned (include_cordoned)"}, "cordoned (include_cordoned)"), ({}, MISSING)]
)
def test_a_failed_node_that_is_left_out_is_owed_a_success(skipped: dict[str, str], why: str) -> None:
    """Also if it has lost its label, or if the autoscaler has removed it: a retry must not be green (R1)."""
    earlier = EarlierNodes(frozenset("a"), frozenset("b"))
    plan = plan_of_try(a_plan(), Selection(("a", "c"), skipped), earlier)
    assert plan == a_plan("c", earlier=("a",), skipped={"b": why}, owed=("b",))


def of_try(pod: dict[str, Any], node: str = "a") -> dict[str, Any]:
    """A pod of a run of the first try."""
    return pod | {"metadata": pod["metadata"] | {"annotations": {NODE_ANNOTATION: node, TRY_NUMBER_ANNOTATION: "1"}}}


@pytest.mark.parametrize(
    ("pod", "runs"),
    [
        (a_pod(running=True), True),
        (a_pod(running=True, being_deleted=True), True),
        (a_pod(exit_code=3), False),
        (a_pod(phase="Failed"), False),
        (a_pod(node=None), True),
        (a_pod(node=None, being_deleted=True), False),
    ],
)
def test_a_script_whose_end_was_not_reported_may_still_run(pod: dict[str, Any], runs: bool) -> None:
    """Unless its pod has ended by now; one without a node may still get it (R1, R10)."""
    found = still_running([of_try(pod)])
    assert found == ({"a": "the script of try 1 may still run in pod load-x1"} if runs else {})


def test_a_pod_without_its_annotations_is_known_by_its_node() -> None:
    """A webhook may have replaced them (R1, R10)."""
    assert list(still_running([a_pod(running=True, node="b")])) == ["b"]


def test_no_retry_begins_beside_a_script_that_may_still_run() -> None:
    """Its node is left out, also if it is ready, and counts as failed (R1, R10)."""
    earlier = EarlierNodes(frozenset("c"), frozenset("ab"), {"a": "may still run"})
    plan = plan_of_try(a_plan(), Selection(("a", "b", "c")), earlier)
    assert plan == a_plan("b", earlier=("c",), skipped={"a": "may still run"}, owed=("a",))


def of_the_try(job: dict[str, Any], number: int = 1, run: int | None = 0, *, is_read: bool = False) -> dict[str, Any]:
    """A Job of a run of this try, or of its owner."""
    metadata = {"labels": {}, "annotations": {}} | job["metadata"]
    labels = {NODES_LABEL: "x", TRY_NUMBER_LABEL: str(number)} | ({} if run is None else {RUN_LABEL: str(run)})
    marks = {TRY_NUMBER_ANNOTATION: str(number)} | ({READ_ANNOTATION: "2026-01-01T00:00:00+00:00"} if is_read else {})
    return job | {"metadata": metadata | {"labels": labels, "annotations": metadata["annotations"] | marks}}


def ended(condition: str) -> dict[str, Any]:
    """The status of a Job that has ended so."""
    moment = "2026-01-01T00:00:00Z"
    return {"status": {"conditions": [{"type": condition, "status": "True", "lastTransitionTime": moment}]}}


OWNER_OF_ALL = of_the_try(an_owner("changed"), run=None, is_read=True)
BEGINS = of_the_try(of_node("a"))


@pytest.mark.parametrize(
    ("jobs", "is_unended"),
    [
        ([BEGINS], True),
        ([OWNER_OF_ALL, BEGINS], True),
        ([of_the_try(an_owner("changed"), run=None), BEGINS], False),
        ([of_the_try(of_node("a", a_failed_record()))], False),
        ([of_the_try(of_node("a") | ended("Complete"))], False),
        ([of_the_try(of_node("a") | ended("Failed"))], False),
        ([of_the_try(of_node("a"), number=2)], False),
        ([OWNER_OF_ALL], False),
    ],
    ids=["no owner", "read owner", "unread owner", "record", "complete", "failed", "this try", "owner"],
)
def test_which_runs_of_earlier_tries_kubernetes_may_go_on_with(jobs: list[dict[str, Any]], is_unended: bool) -> None:
    """Their Jobs could not be ended, and no try follows them (R1, R10)."""
    assert unended(jobs, a_task(try_number=2)) == ([jobs[-1]] if is_unended else [])
