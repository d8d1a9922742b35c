"""What Airflow offers to every task, used by scripts in Jobs, in pods that run already, and on nodes."""

from __future__ import annotations

import json
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from tests.airflow_versions import HAS_RETRY_POLICIES
from tests.cluster.airflow_start import Airflow
from tests.cluster.airflow_tasks import Run, RunningTask
from tests.cluster.apps import a_deployment, rolled_out
from tests.cluster.kubectl import Kubectl
from tests.patience import wait_for

pytestmark = pytest.mark.usefixtures("api")


@pytest.fixture(scope="module")
def api(airflow: Airflow, kubectl: Kubectl) -> None:
    """The Deployment that scripts are run in."""
    rolled_out(kubectl, a_deployment("api", airflow.namespace))


def test_a_pool_bounds_scripts(airflow: Airflow, kubectl: Kubectl) -> None:
    """A task keeps its slot while its script runs, deferred too where the pool says so."""
    pool = {"name": "one_at_a_time", "slots": 1, "include_deferred": True}
    airflow.call("POST", "pools", pool)
    run = Run(airflow, kubectl, "pooled", airflow.trigger("pooled"))
    run.end_deferrals(("load_deferred", 1), ("on_nodes", 1))
    tasks = [run[task] for task in ("load", "load_deferred", "in_a_pod", "on_nodes")]
    assert {task.ended() for task in tasks} == {"success"}
    spans = sorted(tuple(_value(task.xcom())) for task in tasks)
    assert all(ended <= begun for (_, ended), (begun, _) in pairwise(spans))


@pytest.mark.skipif(not HAS_RETRY_POLICIES, reason="of Airflow 3.3")
def test_a_retry_policy_tells_categories_apart(airflow: Airflow, kubectl: Kubectl) -> None:
    """Airflow 3.3 asks it after each failure: a script without its module is not tried again (R22)."""
    run = Run(airflow, kubectl, "by_category", airflow.trigger("by_category"))
    tries = {"hopeless": 1, "hopeful": 2}
    for task in tries:
        wait_for(partial(_is_in_state, run[task], "failed"), f"{task} failed")
    assert {task: run[task].try_number for task in tries} == tries
    categories = {task: run[task].xcom()["category"] for task in tries}
    assert categories == {"hopeless": "ModuleNotFound", "hopeful": "ConnectionRefused"}


def test_callbacks_are_told(airflow: Airflow, kubectl: Kubectl) -> None:
    """Success, failure, retry and skip reach the author's callbacks, with the reason, however the task waits."""
    run = Run(airflow, kubectl, "tells", airflow.trigger("tells"))
    retried = [(task, number) for task in ("fails_deferred", "fails_on_nodes") for number in (1, 2)]
    run.end_deferrals(("succeeds_deferred", 1), *retried)
    expected = {"succeeds": "success", "succeeds_deferred": "success", "skips": "skipped"}
    expected |= {"fails": "failed", "fails_deferred": "failed"}
    expected |= {"fails_in_a_pod": "failed", "skips_in_a_pod": "skipped", "fails_on_nodes": "failed"}
    for task, state in expected.items():
        wait_for(partial(_is_in_state, run[task], state), f"{task} {state}")
    # The last callback of a task comes after its state.
    wait_for(lambda: sum(note["callback"] != "execute" for note in _notes(airflow)) >= 12, "the last callbacks")
    notes = _notes(airflow)
    told = {task: [note["callback"] for note in notes if note["task"] == task] for task in expected}
    assert told["succeeds"] == ["execute", "success"]
    assert told["skips"] == told["skips_in_a_pod"] == ["execute", "skipped"]
    assert told["fails"] == told["fails_in_a_pod"] == ["execute", "retry", "execute", "failure"]
    assert [name for name in told["succeeds_deferred"] if name != "execute"] == ["success"]
    assert [name for name in told["fails_deferred"] if name != "execute"] == ["retry", "failure"]
    assert [name for name in told["fails_on_nodes"] if name != "execute"] == ["retry", "failure"]
    errors = [note["error"] for note in notes if note["callback"] in ("retry", "failure")]
    assert len(errors) == 8
    assert all("exit code 3" in error or "exit 3" in error or "exited with 3" in error for error in errors)


def test_teardown_and_trigger_rules_after_a_failure(airflow: Airflow) -> None:
    """A script that fails is a failed task for Airflow: its teardown runs, and so does what waits for a failure."""
    run = airflow.trigger("torn_down")
    expected = {"create": "success", "load": "failed", "drop": "success", "rescue": "success"}
    assert {task: airflow.final_state("torn_down", run, task) for task in expected} == expected
    assert airflow.final_state("torn_down", run, "report") == "upstream_failed"


@pytest.mark.parametrize("task", ["in_a_worker", "deferred", "in_a_pod", "on_nodes", "on_nodes_deferred"])
def test_a_task_is_tried_from_the_command_line(airflow: Airflow, task: str) -> None:
    """``airflow tasks test`` runs the script and shows its log, in both ways of waiting, beside a live triggerer."""
    with airflow.processes.stopped("scheduler"):  # it may start the task, too
        answer = airflow.processes.tell("run", f"tried-{task}", "tasks", "test", "tried", task)
    printed = (airflow.home / f"tried-{task}.log").read_text()
    assert answer == "ended with 0", printed[-4000:]
    assert " completed in " in printed
    assert printed.count("hello") >= 1


def test_marking_failed_ends_what_runs_on_nodes(airflow: Airflow, kubectl: Kubectl) -> None:
    """A deferred task that somebody marks as failed takes the Jobs on all its nodes along (R3)."""
    run = airflow.trigger("on_nodes")
    selector = "airflow-script-provider/dag-id=on_nodes"
    wait_for(lambda: len(kubectl.names("pods", airflow.namespace, "-l", selector)) == 2, "a pod on each node")
    wait_for(lambda: airflow.state("on_nodes", run, "sleep") == "deferred", "the deferral")
    airflow.call("PATCH", f"dags/on_nodes/dagRuns/{run}/taskInstances/sleep", {"new_state": "failed"})
    wait_for(lambda: not kubectl.names("jobs,pods", airflow.namespace, "-l", selector), "the end of Jobs and pods")
    assert airflow.state("on_nodes", run, "sleep") == "failed"


def _is_in_state(task: RunningTask, state: str) -> bool:
    return task.state == state


def _notes(airflow: Airflow) -> list[dict[str, Any]]:
    """What the callbacks have noted so far."""
    return [json.loads(line) for line in (airflow.home / "told").read_text().split("\n")[:-1]]


def _value(result: Any) -> Any:
    """What the script printed last, on the one node if it ran on nodes."""
    return next(iter(result["nodes"].values()))["runs"][0]["value"] if "nodes" in result else result["value"]
