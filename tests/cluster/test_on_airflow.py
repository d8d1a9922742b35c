"""What only a whole Airflow shows: real task processes, masking, what the interface reads."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from airflow_script_provider.kube.labels import LAUNCH_LABEL, NODES_LABEL
from tests.cluster.airflow_start import Airflow
from tests.cluster.airflow_tasks import Run, RunningTask
from tests.cluster.kubectl import Kubectl
from tests.patience import wait_for


def test_sigterm_to_the_task_process(airflow: Airflow, kubectl: Kubectl) -> None:
    """SIGTERM to a real task process: the task is failed or up for retry, its Job is gone (R1)."""
    run = airflow.trigger("sleeps")
    selector = "airflow-script-provider/dag-id=sleeps"
    running = "--field-selector=status.phase=Running"
    wait_for(lambda: kubectl.names("pods", airflow.namespace, "-l", selector, running), "a running pod")
    os.kill(airflow.task_process("sleeps", run, "sleep"), signal.SIGTERM)
    assert airflow.final_state("sleeps", run, "sleep") in ("failed", "up_for_retry")
    wait_for(lambda: not kubectl.names("jobs,pods", airflow.namespace, "-l", selector), "the end of Job and pod")
    wait_for(lambda: "the run was killed. Job " in str(airflow.log("sleeps", run, "sleep")), "why it has failed")


def test_what_a_script_is_fetched_with_is_hidden(airflow: Airflow, kubectl: Kubectl) -> None:
    """A header from a connection and a signature are in no log, rendered field and object, on failure too (R26)."""
    run = airflow.trigger("fetches")
    states = {task: airflow.final_state("fetches", run, task) for task in ("fetch", "presigned", "denied")}
    assert states == {"fetch": "success", "presigned": "success", "denied": "failed"}
    objects = kubectl("get", "jobs,pods,configmaps,secrets", "-n", airflow.namespace, "-o", "yaml")
    for task in states:
        log, shown = str(airflow.log("fetches", run, task)), str(airflow.rendered_fields("fetches", run, task))
        assert "-secret" not in log + shown + objects
        assert ".sh?…" in log
        assert ".sh?…" in shown


def test_marking_failed_ends_the_job(airflow: Airflow, kubectl: Kubectl) -> None:
    """A running task that somebody marks as failed takes its Job along (R1)."""
    run = airflow.trigger("sleeps")
    selector = "airflow-script-provider/dag-id=sleeps"
    running = "--field-selector=status.phase=Running"
    wait_for(lambda: kubectl.names("pods", airflow.namespace, "-l", selector, running), "a running pod")
    airflow.call("PATCH", f"dags/sleeps/dagRuns/{run}/taskInstances/sleep", {"new_state": "failed"})
    wait_for(lambda: not kubectl.names("jobs,pods", airflow.namespace, "-l", selector), "the end of Job and pod")
    assert airflow.state("sleeps", run, "sleep") == "failed"


@pytest.mark.parametrize("target", ["task", "supervisor"])
def test_a_worker_that_is_told_to_end(airflow: Airflow, kubectl: Kubectl, target: str) -> None:
    """SIGTERM where nobody acted on the task: its Job is left, and the retry takes it over (R1, R2)."""
    task, process = _counting(airflow, kubectl)
    os.kill(process if target == "task" else _parent(process), signal.SIGTERM)
    _assert_taken_over(task, "For Airflow the task is still running")


def test_a_worker_that_is_told_to_end_while_airflow_is_away(airflow: Airflow, kubectl: Kubectl) -> None:
    """SIGTERM while Airflow's API does not answer: nobody knows why, so the Job is left to the retry (R1, R2)."""
    task, process = _counting(airflow, kubectl)
    with airflow.processes.stopped("api-server"):
        os.kill(process, signal.SIGTERM)
        wait_for((airflow.home / f"answer-{task.run_id}").exists, "the end of the question")
    _assert_taken_over(task, "Airflow does not answer")


def test_marking_failed_ends_the_job_of_a_task_with_retries(airflow: Airflow, kubectl: Kubectl) -> None:
    """A user who acts means the Job, too: Airflow's state tells it from a worker's end (R1)."""
    task, _ = _counting(airflow, kubectl)
    task.mark("failed")
    wait_for(lambda: not task.uids(), "the end of Job and pod")
    assert task.state == "failed"
    wait_for(lambda: "For Airflow the task is failed: Job " in str(task.log()), "the line of the worker's end")


def test_clearing_a_running_task_ends_its_job(airflow: Airflow, kubectl: Kubectl) -> None:
    """The new try runs anew, not what the old one had begun (R8)."""
    task, _ = _counting(airflow, kubectl)
    first = task.uids()
    task.clear()
    wait_for(lambda: not first & task.uids(), "the end of the first Job and pod")
    task.tell_to_end()
    wait_for(lambda: task.state == "success", "success")
    assert "For Airflow the task is restarting: Job " in str(task.log(1))
    assert len(task.uids()) == 2


def test_clearing_another_task_leaves_the_job_of_a_lost_worker_to_the_retry(airflow: Airflow, kubectl: Kubectl) -> None:
    """A clear changes what the DAG run says of itself, and not which Job is the task's (R2, R33)."""
    task, process = _counting(airflow, kubectl)
    other = Run(airflow, kubectl, "counts", task.run_id)["other"]
    assert other.ended() == "success"
    other.clear()
    os.kill(process, signal.SIGTERM)
    _assert_taken_over(task, "For Airflow the task is still running")


def test_a_run_that_was_made_again_has_nothing_of_the_deleted_one(airflow: Airflow, kubectl: Kubectl) -> None:
    """A lost worker's Job of the deleted run is neither read nor changed by a retry of the new one (R33)."""
    task, process = _counting(airflow, kubectl)
    old = task.jobs()[0]["metadata"]
    for number in (_parent(process), process):
        os.kill(number, signal.SIGKILL)
    run = Run(airflow, kubectl, "counts", task.run_id)
    run.delete()
    run.start_again()
    wait_for(task.uids, "a Job of the new run")
    wait_for(lambda: "n 2" in task.lines(), "the third line in the new run")
    assert old["uid"] not in task.uids()
    os.kill(airflow.task_process(task.dag_id, task.run_id, task.task_id), signal.SIGTERM)
    _assert_taken_over(task, "For Airflow the task is still running")
    left = kubectl.items("jobs", airflow.namespace, "-l", f"{LAUNCH_LABEL}={old['labels'][LAUNCH_LABEL]}")
    assert [job["metadata"]["annotations"] for job in left] == [old["annotations"]]
    kubectl("delete", "job", old["name"], "-n", airflow.namespace)


def test_failure_in_the_log_and_in_xcom(airflow: Airflow) -> None:
    """One ERROR entry says why, and the result of the failure can be read by downstream tasks (R22)."""
    run = airflow.trigger("fails")
    assert airflow.final_state("fails", run, "fail") == "failed"
    errors = [entry for entry in airflow.log("fails", run, "fail") if entry.get("level") == "error"]
    assert len(errors) == 1
    assert "failed: the script ended with exit code 3." in str(errors[0])
    result = airflow.xcom("fails", run, "fail")
    assert (result["status"], result["exit_code"], result["output"]) == ("failed", 3, "before\n")


def test_what_a_script_prints_reaches_its_reader(airflow: Airflow) -> None:
    """A number that the supervisor's messages cannot hold, and a reserved key, arrive as plain JSON (R35)."""
    run = airflow.trigger("prints")
    assert airflow.final_state("prints", run, "read") == "success"
    assert airflow.xcom("prints", run, "read") == {"wei": "1180591620717411303424", "example": [1]}
    assert airflow.xcom("prints", run, "print")["value"] == airflow.xcom("prints", run, "read")


def test_secrets_are_hidden_and_harmless_values_are_not(airflow: Airflow, kubectl: Kubectl) -> None:
    """Values of connections and of sensitive names are masked in the log and absent elsewhere (R26, R29).

    A triggerer, which cannot mask them, shows no lines; a worker does afterwards.
    """
    run = airflow.trigger("hides")
    kinds = "jobs,pods,configmaps,secrets"
    # A Job on a node keeps what its script has printed, for the result.
    selector = f"!{NODES_LABEL}"
    for task_id in ("hide", "hide_deferred", "hide_on_nodes"):
        assert airflow.final_state("hides", run, task_id) == "success"
        log = str(airflow.log("hides", run, task_id))
        shown = str(airflow.rendered_fields("hides", run, task_id))
        objects = kubectl("get", kinds, "-n", airflow.namespace, "-l", selector, "-o", "yaml")
        for secret in ("environment-secret", "argument-secret", "connection-secret"):
            assert secret not in log
            assert secret not in shown
            assert secret not in objects
        assert "DEBUG is DEBUG" in log
        assert "once more ***" in log
        assert ("a worker shows its lines" in log) == (task_id != "hide")
        assert "LOG_LEVEL, API_KEY, PARTNER, SECONDS_LEFT (values hidden)" in shown


def _counting(airflow: Airflow, kubectl: Kubectl) -> tuple[RunningTask, int]:
    """A task whose script counts already, and will until it is told to end; and the process of the task."""
    task = Run(airflow, kubectl, "counts", airflow.trigger("counts"))["count"]
    wait_for(task.uids, "a Job")
    wait_for(lambda: "n 2" in task.lines(), "the third line")
    return task, airflow.task_process(task.dag_id, task.run_id, task.task_id)


def _assert_taken_over(task: RunningTask, seen: str) -> None:
    """The first try says what was seen, the second has the whole log of the one Job that there is."""
    wait_for(lambda: task.state == "running" and task.try_number == 2, "the second try")
    wait_for(lambda: "n 2" in task.lines(try_number=2), "the third line in the second try")
    task.tell_to_end()
    wait_for(lambda: task.state == "success", "success")
    first, second = task.lines(1), task.lines(2)
    assert len([line for line in first if seen in line]) == 1
    assert "is left to the next try" in str(first)
    assert [line for line in second if line.startswith("n ")] == [f"n {i}" for i in range(15)]
    assert len(task.uids()) == 2


def _parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
