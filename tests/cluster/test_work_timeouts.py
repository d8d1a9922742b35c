"""``timeout`` bounds the work: not the wait for a node, not the start, and no follower that is gone."""

from __future__ import annotations

import json
import time
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_script_provider import exceptions
from airflow_script_provider.kube.labels import TIMEOUT_ANNOTATION
from tests.cluster.accounts import author
from tests.cluster.dying import run_doomed_task
from tests.cluster.kubectl import Kubectl
from tests.cluster.node_tasks import SLEEPS, run_nodes
from tests.cluster.tasks import FakeTaskInstance, TaskRun, meanwhile, run_task
from tests.faulty_api import FaultyApi
from tests.patience import LONG, wait_for, with_time_to_begin

SLEEP: dict[str, Any] = {"script": f"import time\nprint('working', flush=True)\ntime.sleep({LONG})"}
SLEEP |= {"termination_grace_period": 1}
GATED: dict[str, Any] = {"spec": {"schedulingGates": [{"name": "example.com/room"}]}}
"""A pod that the scheduler leaves alone until its gate is removed: as if there was no room for it."""


def its_job(kubectl: Kubectl, namespace: str) -> str:
    """The name of the only Job, as soon as there is one."""
    return wait_for(lambda: kubectl.names("jobs", namespace), "the Job")[0]


def make_room(kubectl: Kubectl, namespace: str, after: float) -> None:
    """Let the scheduler place the only pod after so many seconds."""
    pod = wait_for(lambda: kubectl.names("pods", namespace), "the pod")[0]
    time.sleep(after)
    remove = json.dumps([{"op": "remove", "path": "/spec/schedulingGates"}])
    kubectl("patch", "pod", pod, "-n", namespace, "--type=json", "-p", remove)


def suspend(kubectl: Kubectl, namespace: str, seconds: float) -> None:
    """Suspend the only Job for so many seconds, once its script runs."""
    job = its_job(kubectl, namespace)
    kubectl.running_pods(namespace)
    for value, then in (("true", seconds), ("false", 0)):
        kubectl("patch", "job", job, "-n", namespace, "-p", f'{{"spec": {{"suspend": {value}}}}}')
        time.sleep(then)


def seconds_of(attempt: dict[str, Any]) -> float:
    """How long a script ran, by the node's clock in whole seconds."""
    began, ended = (datetime.fromisoformat(attempt[name]) for name in ("started_at", "finished_at"))
    return (ended - began).total_seconds()


def test_a_wait_for_room_takes_nothing_of_the_timeout(
    own: dict[str, Any], kubectl: Kubectl, waiting: dict[str, Any]
) -> None:
    """A full cluster fails no task: the script has all its time when there is room (R5, R11)."""

    def run(seconds: float) -> TaskRun:
        helper = meanwhile(partial(make_room, kubectl, own["namespace"], seconds + 5))
        script = f"import time\ntime.sleep({seconds / 2})\nprint('[1]')"
        done = run_task(
            script=script, timeout=seconds, pod_overrides=GATED, ttl_seconds_after_finished=0, **own, **waiting
        )
        helper.join()
        wait_for(lambda: not kubectl.names("jobs,pods", own["namespace"]), "the end of Job and pod")
        return done

    seconds, done = with_time_to_begin(run, lambda done: done.error is None, 8)
    assert done.succeeded().result["value"] == [1]
    assert done.result["execution_time"] > seconds + 5


@pytest.mark.parametrize("moment", ["worker", "triggerer"])
def test_work_that_is_over_is_ended(own: dict[str, Any], kubectl: Kubectl, moment: str) -> None:
    """Kubernetes reports it as a deadline, and the Job says who has set it (R5, R29)."""
    deferring: dict[str, Any] = {"deferrable": True, "defer_after": 0} if moment == "triggerer" else {}
    seconds, run = with_time_to_begin(
        lambda seconds: run_task(timeout=seconds, **SLEEP, **own, **deferring), lambda run: "working" in run.lines
    )
    assert isinstance(run.error, exceptions.JobTimeoutError)
    assert run.headline.endswith(f"ran longer than its timeout of {seconds:g} s (DeadlineExceeded). Raise timeout.")
    assert (run.result["status"], run.result["reason"]) == ("timeout", "DeadlineExceeded")
    assert seconds_of(run.result["attempts"][0]) >= seconds - 1
    annotations = [job["metadata"]["annotations"] for job in kubectl.items("jobs", own["namespace"])]
    assert f"{seconds:g}" in [found.get(TIMEOUT_ANNOTATION) for found in annotations]


def test_a_suspension_takes_nothing_of_the_timeout(
    own: dict[str, Any], kubectl: Kubectl, waiting: dict[str, Any]
) -> None:
    """A queue takes the place away in the middle of the work, for longer than ``timeout`` (R5, R11)."""
    helper = meanwhile(partial(suspend, kubectl, own["namespace"], 35))
    script = "import time\nprint('working', flush=True)\ntime.sleep(10)\nprint('[1]')"
    run = run_task(script=script, timeout=30, termination_grace_period=1, **own, **waiting)
    helper.join()
    assert run.succeeded().result["value"] == [1]
    assert run.result["execution_time"] > 35


def test_the_retry_of_a_lost_worker_goes_on_with_the_works_clock(own: dict[str, Any], kubectl: Kubectl) -> None:
    """The script has its time once, whoever follows it (R4, R5)."""
    arguments: dict[str, Any] = {"timeout": 30, **SLEEP, **own}
    run_doomed_task("get pods/log", {"try_number": 1, "max_tries": 2}, **arguments)
    time.sleep(15)
    run = run_task(ti=FakeTaskInstance(try_number=2, max_tries=2), **arguments)
    assert "ran longer than its timeout of 30 s" in run.headline
    assert len(run.result["attempts"]) == 1
    assert 29 <= seconds_of(run.result["attempts"][0]) < 30 + 15


def test_without_a_follower_kubernetes_ends_the_run_later(own: dict[str, Any], kubectl: Kubectl) -> None:
    """After the sum of all timeouts, which the message of the retry names (R5, R22)."""
    arguments: dict[str, Any] = {"timeout": 5, "schedule_timeout": 20, "startup_timeout": 15, **SLEEP, **own}
    run_doomed_task("get pods/log", {"try_number": 1, "max_tries": 2}, **arguments)

    def has_ended() -> bool:
        conditions = [job["status"].get("conditions") for job in kubectl.items("jobs", own["namespace"])]
        return "DeadlineExceeded" in str(conditions)

    wait_for(has_ended, "the end of the Job")
    run = run_task(ti=FakeTaskInstance(try_number=2, max_tries=2), **arguments)
    assert isinstance(run.error, exceptions.JobTimeoutError)
    assert "ran longer than schedule_timeout + startup_timeout + timeout of 40 s (DeadlineExceeded)" in run.headline


def test_without_the_right_to_change_a_job_it_is_deleted(
    api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl
) -> None:
    """The work has the same time, and a warning says what is missing (R5, R17)."""
    config = author(kubectl, flaky["namespace"], api.kubeconfig, drop_verb=("jobs", "patch"))
    Path(api.kubeconfig).write_text(yaml.safe_dump(config))
    seconds, run = with_time_to_begin(
        lambda seconds: run_task(timeout=seconds, **SLEEP | flaky), lambda run: "working" in run.lines
    )
    assert isinstance(run.error, exceptions.JobTimeoutError)
    assert f"ran longer than its timeout of {seconds:g} s" in run.headline
    assert any("at its timeout, so the Job is deleted" in line for line in run.warnings)
    wait_for(lambda: not kubectl.names("jobs,pods", flaky["namespace"]), "the end of Job and pods")


def test_work_on_nodes_is_ended(own: dict[str, Any], kubectl: Kubectl, waiting: dict[str, Any]) -> None:
    """The runs of all nodes, by the same change of their Jobs (R5)."""
    deferring = {name: value for name, value in waiting.items() if name == "deferrable"}

    def both_begun(run: TaskRun) -> bool:
        return all(node["runs"] and node["runs"][0]["output"] for node in run.result["nodes"].values())

    seconds, run = with_time_to_begin(
        lambda seconds: run_nodes(timeout=seconds, **SLEEPS, **own, **deferring), both_begun, 10
    )
    for node in run.result["nodes"].values():
        assert (node["runs"][0]["status"], node["runs"][0]["reason"]) == ("timeout", "DeadlineExceeded")
        assert f"its timeout of {seconds:g} s" in node["runs"][0]["error"]
