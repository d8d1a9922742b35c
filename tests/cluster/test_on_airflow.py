"""What only a whole Airflow shows: real task processes, masking, what the interface reads."""

from __future__ import annotations

import os
import signal

from tests.cluster.airflow_start import Airflow
from tests.cluster.kubectl import Kubectl, wait_for


def test_sigterm_to_the_task_process(airflow: Airflow, kubectl: Kubectl) -> None:
    """SIGTERM to a real task process: the task is failed or up for retry, its Job is gone (R1a)."""
    run = airflow.trigger("sleeps")
    selector = "airflow-script-provider/dag-id=sleeps"
    running = "--field-selector=status.phase=Running"
    wait_for(lambda: kubectl.names("pods", airflow.namespace, "-l", selector, running), "a running pod")
    os.kill(airflow.task_process("sleeps", run, "sleep"), signal.SIGTERM)
    assert airflow.final_state("sleeps", run, "sleep") in ("failed", "up_for_retry")
    wait_for(lambda: not kubectl.names("jobs,pods", airflow.namespace, "-l", selector), "the end of Job and pod")
    assert "the run was killed. Job " in str(airflow.log("sleeps", run, "sleep"))


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
    wait_for(lambda: not kubectl.names("jobs,pods", airflow.namespace, "-l", selector), "the end of Job and pod", 90)
    assert airflow.state("sleeps", run, "sleep") == "failed"


def test_failure_in_the_log_and_in_xcom(airflow: Airflow) -> None:
    """One ERROR entry says why, and the result of the failure can be read by downstream tasks (R22)."""
    run = airflow.trigger("fails")
    assert airflow.final_state("fails", run, "fail") == "failed"
    errors = [entry for entry in airflow.log("fails", run, "fail") if entry.get("level") == "error"]
    assert len(errors) == 1
    assert "failed: the script ended with exit code 3." in str(errors[0])
    result = airflow.xcom("fails", run, "fail")
    assert (result["status"], result["exit_code"], result["output"]) == ("failed", 3, "before\n")


def test_secrets_are_hidden_and_harmless_values_are_not(airflow: Airflow, kubectl: Kubectl) -> None:
    """Values of connections and of sensitive names are masked in the log and absent elsewhere (R26)."""
    run = airflow.trigger("hides")
    assert airflow.final_state("hides", run, "hide") == "success"
    secrets = ("environment-secret", "argument-secret", "connection-secret")
    log = str(airflow.log("hides", run, "hide"))
    shown = str(airflow.rendered_fields("hides", run, "hide"))
    objects = kubectl("get", "jobs,pods,configmaps,secrets", "-n", airflow.namespace, "-o", "yaml")
    for secret in secrets:
        assert secret not in log
        assert secret not in shown
        assert secret not in objects
    assert "DEBUG is DEBUG" in log
    assert "LOG_LEVEL, API_KEY, PARTNER (values hidden)" in shown
