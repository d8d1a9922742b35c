"""Workers that die: their Job goes on, the retry takes it over, and nothing runs twice or for nobody."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import yaml
from airflow.sdk.execution_time.timeout import timeout as airflow_timeout

from airflow_script_provider import exceptions
from airflow_script_provider._airflow import AirflowTaskTimeout
from airflow_script_provider.hooks.script import KubernetesScriptHook
from airflow_script_provider.jobs.answers import doubt
from airflow_script_provider.operators.script import KubernetesScriptOperator
from tests.cluster.accounts import author
from tests.cluster.dying import run_doomed_task
from tests.cluster.kubectl import Kubectl
from tests.cluster.tasks import (
    FakeTaskInstance,
    TaskRun,
    meanwhile,
    run_and_kill,
    run_operator,
    run_task,
    wait_until_logged,
)
from tests.cluster.told_to_end import UNTIL_TOLD, tell_all
from tests.faulty_api import FIRST, Fault, FaultyApi
from tests.patience import LONG, PATIENCE, wait_for
from tests.state_store import StateStore

COUNTING = """
import json, os, time
for i in range(12):
    print("n", i)
    time.sleep(0.5)
print(json.dumps(os.environ["A"]))
"""
ECHO = "import json, os\nprint(json.dumps(os.environ['A']))"
ENDLESS = f"import time\ntime.sleep({LONG})"
COUNTING_UNTIL_TOLD = COUNTING.replace("print(json", f"{UNTIL_TOLD}print(json")
OURS = ("-l", "app.kubernetes.io/managed-by=airflow-script-provider")
READ = "airflow-script-provider/read"
PATCH = r"^PATCH .*/jobs/"


def a_try(number: int, *, retries: int = 2) -> dict[str, Any]:
    """A try of the one task of these tests."""
    return {"try_number": number, "max_tries": retries}


def retried(number: int = 2, *, retries: int = 2, **arguments: Any) -> TaskRun:
    """The run of another try."""
    return run_task(ti=FakeTaskInstance(**a_try(number, retries=retries)), **arguments)


def lines_of(run: TaskRun) -> list[str]:
    """What the counting script has logged."""
    return [line for line in run.lines if line.startswith("n ")]


def is_complete(kubectl: Kubectl, namespace: str) -> bool:
    """Whether a Job is."""
    return any(job["status"].get("succeeded") for job in kubectl.items("jobs", namespace))


@pytest.mark.parametrize("last_call", ["create jobs", "create secrets", "create configmaps", "get pods/log"])
def test_a_retry_takes_over_what_a_lost_worker_began(own: dict[str, Any], kubectl: Kubectl, last_call: str) -> None:
    """kill -9 after any call of the launch: one Job, one pod, the side effect once, the whole log (R2, R6)."""
    arguments = {"script": COUNTING, "env": {"A": "b"}, **own}
    run_doomed_task(last_call, a_try(1), **arguments)
    before = kubectl.items("jobs", own["namespace"])
    run = retried(**arguments).succeeded()
    after = kubectl.items("jobs", own["namespace"])
    assert [job["metadata"]["uid"] for job in before] == [job["metadata"]["uid"] for job in after]
    assert len(kubectl.names("pods", own["namespace"])) == 1
    assert lines_of(run) == [f"n {i}" for i in range(12)]
    assert run.result["value"] == "b"
    assert run.result["job_name"] == before[0]["metadata"]["name"]
    assert len([line for line in run.lines if "of try 1, whose worker was lost" in line]) == 1


def test_nothing_of_another_task_instance_of_the_same_ids_is_touched(own: dict[str, Any], kubectl: Kubectl) -> None:
    """Another deployment, or a run that was deleted: its running Job is neither read nor changed (R33).

    Its own retry still takes it over.
    """
    arguments = {"script": COUNTING, "env": {"A": "theirs"}, **own}
    run_doomed_task("create configmaps", {"id": "theirs", "store": StateStore(), **a_try(1)}, **arguments)
    theirs = kubectl.items("jobs", own["namespace"])[0]["metadata"]
    changed = {"script": ECHO, "env": {"A": "ours"}, **own}
    for ours in ({"script": COUNTING, "env": {"A": "ours"}, **own}, changed):
        run = run_task(ti=FakeTaskInstance(**a_try(2), store=StateStore("ours")), **ours).succeeded()
        assert run.result["value"] == "ours"
        assert run.result["job_name"] != theirs["name"]
    left = [job["metadata"] for job in kubectl.items("jobs", own["namespace"])]
    assert [(job["annotations"], job["labels"]) for job in left if job["uid"] == theirs["uid"]] == [
        (theirs["annotations"], theirs["labels"])
    ]
    again = run_task(ti=FakeTaskInstance(**a_try(2), store=StateStore("theirs")), **arguments).succeeded()
    assert (again.result["value"], again.result["job_name"]) == ("theirs", theirs["name"])


def test_an_outcome_waits_for_its_reader(api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl) -> None:
    """A Job that has ended meanwhile is read, not repeated; its TTL of 0 counts only from then on (R2, R9).

    It is read an hour later, by the API server's clock, and that is none of its time.
    """
    arguments = {"script": COUNTING, "env": {"A": "b"}, "ttl_seconds_after_finished": 0, **flaky}
    run_doomed_task("get pods/log", a_try(1), **arguments)
    wait_for(lambda: is_complete(kubectl, flaky["namespace"]), "the end of the Job")
    assert kubectl.items("jobs", flaky["namespace"])[0]["spec"]["ttlSecondsAfterFinished"] > 0
    api.ahead = LONG
    run = retried(**arguments).succeeded()
    assert lines_of(run) == [f"n {i}" for i in range(12)]
    assert run.result["execution_time"] < LONG
    wait_for(lambda: not kubectl.names("jobs,pods,secrets,configmaps", flaky["namespace"], *OURS), "the end of all")


def test_a_failure_that_waits_for_its_reader(own: dict[str, Any], kubectl: Kubectl) -> None:
    """The retry of a lost worker reads the failure; the retry after that runs the script again (R8)."""
    arguments: dict[str, Any] = {"script": "raise SystemExit(3)", "backoff_limit": 0, **own}
    run_doomed_task("create configmaps", a_try(1), **arguments)
    runs = [retried(number, **arguments) for number in (2, 3)]
    assert [run.result["exit_code"] for run in runs] == [3, 3]
    first, second = (run.result["job_name"] for run in runs)
    assert first != second
    assert len(kubectl.names("jobs", own["namespace"])) == 2


def test_a_failure_that_was_told_is_not_told_again(own: dict[str, Any], kubectl: Kubectl) -> None:
    """An ordinary retry launches anew, and the failed Job stays to be looked at (R8)."""
    arguments: dict[str, Any] = {"script": "raise SystemExit(3)", "backoff_limit": 0, **own}
    runs = [retried(number, **arguments) for number in (1, 2)]
    assert runs[0].result["job_name"] != runs[1].result["job_name"]
    jobs = kubectl.items("jobs", own["namespace"])
    assert [READ in job["metadata"]["annotations"] for job in jobs] == [True, True]
    assert [job["spec"]["ttlSecondsAfterFinished"] for job in jobs] == [300, 300]


@pytest.mark.parametrize("cleared", [{"number": 2, "retries": 3}, {"number": 3, "retries": 1}], ids=["raised", "last"])
def test_a_cleared_task_runs_again(own: dict[str, Any], kubectl: Kubectl, cleared: dict[str, int]) -> None:
    """It never returns the old result, and the Job that nobody will read is deleted (R8)."""
    last = cleared["number"] - 1
    arguments = {"script": ECHO, **own}
    run_doomed_task("create configmaps", a_try(last, retries=min(cleared["retries"], 2)), env={"A": "old"}, **arguments)
    wait_for(lambda: is_complete(kubectl, own["namespace"]), "the end of the Job")
    run = retried(**cleared, env={"A": "new"}, **arguments).succeeded()
    assert run.result["value"] == "new"
    wait_for(lambda: kubectl.names("jobs", own["namespace"]) == [run.result["job_name"]], "the end of the old Job")


def test_a_changed_script_is_run(own: dict[str, Any], kubectl: Kubectl) -> None:
    """Whoever mends the DAG between two tries wants the new script; the old one's Job ends (R8)."""
    run_doomed_task("create configmaps", a_try(1), script=ENDLESS, termination_grace_period=1, **own)
    run = retried(script="print('[2]')", termination_grace_period=1, **own).succeeded()
    assert run.result["value"] == [2]
    wait_for(lambda: kubectl.names("jobs", own["namespace"]) == [run.result["job_name"]], "the end of the old Job")


def test_two_lost_workers(own: dict[str, Any], kubectl: Kubectl) -> None:
    """The third try takes over what the second had taken over (R2)."""
    arguments = {"script": COUNTING, "env": {"A": "b"}, **own}
    run_doomed_task("create jobs", a_try(1), **arguments)
    run_doomed_task("get pods/log", a_try(2), **arguments)
    run = retried(3, **arguments).succeeded()
    assert lines_of(run) == [f"n {i}" for i in range(12)]
    assert len(kubectl.names("jobs,pods", own["namespace"])) == 2


def test_a_job_that_was_evicted_meanwhile(own: dict[str, Any], kubectl: Kubectl) -> None:
    """Its dead pod is not what is followed, but the one that replaces it (R7, R8)."""
    arguments = {"script": COUNTING_UNTIL_TOLD, "env": {"A": "b"}, "termination_grace_period": 1, **own}
    run_doomed_task("get pods/log", a_try(1), **arguments)
    evicted = kubectl.names("pods", own["namespace"])[0]
    kubectl.evict(evicted, own["namespace"])
    wait_for(lambda: set(kubectl.running_pods(own["namespace"])) - {evicted}, "the pod that replaces it")
    tell_all(kubectl, own["namespace"])
    run = retried(**arguments).succeeded()
    assert run.result["pod_name"] != evicted
    assert lines_of(run)[-12:] == [f"n {i}" for i in range(12)]


def test_a_retry_after_an_eviction_makes_a_new_job(own: dict[str, Any], kubectl: Kubectl) -> None:
    """A run that lost pod and Job is over; its retry is a run of its own (R8)."""

    def drain() -> None:
        kubectl.running_pods(own["namespace"])
        kubectl("delete", "jobs", "--all", "-n", own["namespace"])

    script = "import os, time\ntime.sleep(int(os.environ['SECONDS']))\nprint('[1]')"
    helper = meanwhile(drain)
    lost = retried(1, script=script, env={"SECONDS": str(LONG)}, termination_grace_period=1, **own)
    helper.join()
    assert isinstance(lost.error, exceptions.OutcomeUnknownError)
    run = retried(2, script=script, env={"SECONDS": "0"}, termination_grace_period=1, **own).succeeded()
    assert run.result["value"] == [1]
    assert run.result["job_name"] != lost.result["job_name"]


def test_the_wait_for_a_node_does_not_start_anew(api: FaultyApi, flaky: dict[str, Any]) -> None:
    """A pod that cannot be scheduled has no more time for being followed by another worker (R5).

    That one comes an hour later, by the API server's clock: the time is over.
    """
    limits = {"schedule_timeout": LONG, "timeout": 2 * LONG}
    arguments: dict[str, Any] = {"script": ENDLESS, "node_selector": {"no": "where"}, **limits, **flaky}
    run_doomed_task("create configmaps", a_try(1), **arguments)
    api.ahead = LONG
    run = retried(**arguments)
    assert "got no node within schedule_timeout" in run.headline
    assert run.result["category"] == "Unschedulable"


def test_a_kill_that_nobody_explains_leaves_the_job(own: dict[str, Any], kubectl: Kubectl) -> None:
    """Tries are left and Airflow cannot be asked: the retry takes over what was begun (R1, R2)."""
    arguments = {"script": COUNTING_UNTIL_TOLD, "env": {"A": "b"}, **own}
    operator = KubernetesScriptOperator(task_id="task", **arguments)
    killed = run_and_kill(operator, lambda: wait_until_logged("n 3"), ti=FakeTaskInstance(**a_try(1)))
    assert isinstance(killed.error, exceptions.RunKilledError)
    assert "is left to the next try" in killed.headline
    tell_all(kubectl, own["namespace"])
    run = retried(**arguments).succeeded()
    assert lines_of(run) == [f"n {i}" for i in range(12)]
    assert len(kubectl.names("jobs,pods", own["namespace"])) == 2


def test_a_timeout_leaves_no_job_to_the_next_try(own: dict[str, Any], kubectl: Kubectl) -> None:
    """``execution_timeout`` is no lost worker: what took too long is over (R5)."""
    operator = KubernetesScriptOperator(task_id="task", script=ENDLESS, termination_grace_period=1, **own)
    with airflow_timeout(6):  # type: ignore[no-untyped-call]  # not annotated in the SDK
        run = run_operator(operator, ti=FakeTaskInstance(**a_try(1)))
    assert isinstance(run.error, AirflowTaskTimeout)
    wait_for(lambda: not kubectl.names("jobs,pods", own["namespace"]), "the end of Job and pods")


@pytest.mark.parametrize("replaced", [False, True], ids=["gone", "another"])
def test_a_job_that_goes_before_it_is_followed(
    kubeconfig: str, namespace: str, kubectl: Kubectl, replaced: bool
) -> None:
    """Neither its absence nor another Job of its name is waited for: the outcome is unknown (R8, R9)."""
    hook = KubernetesScriptHook(config_file=kubeconfig)
    request = hook.prepare(ENDLESS, termination_grace_period=1, namespace=namespace)
    ref = hook.launch(request)
    kubectl("delete", "job", ref.name, "-n", namespace)
    if replaced:
        kubectl("create", "job", ref.name, "-n", namespace, "--image=python:3.11-slim", "--", "sleep", str(LONG))
    with pytest.raises(exceptions.OutcomeUnknownError):
        asyncio.run(asyncio.wait_for(hook.afollow(request, ref), PATIENCE))
    assert len(kubectl.names("jobs", namespace)) == replaced


def test_a_cleaner_of_finished_jobs(own: dict[str, Any], kubectl: Kubectl) -> None:
    """Something deletes each Job as soon as it is complete: the outcome is known, or is said to be unknown (R9)."""
    stop = Event()

    def clean() -> None:
        while not stop.wait(0.05):
            kubectl("delete", "jobs", "--field-selector=status.successful=1", "-n", own["namespace"], check=False)

    helper = meanwhile(clean)
    try:
        runs = [run_task(script="print('[1]')", **own) for _ in range(8)]
    finally:
        stop.set()
        helper.join()
    for run in runs:
        assert isinstance(run.error, exceptions.OutcomeUnknownError) or run.succeeded().result["value"] == [1]
    assert len(kubectl.names("jobs", own["namespace"])) < len(runs), "the cleaner has come across some of them"


@pytest.mark.usefixtures("unhurried")
def test_a_kill_during_the_launch_leaves_nothing(api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl) -> None:
    """What was not launched whole is not left to the next try (R6)."""
    api.on(r"^POST .*/jobs", Fault(late=1.5))
    operator = KubernetesScriptOperator(task_id="task", script=ENDLESS, **flaky)
    creating = partial(wait_for, lambda: api.count(r"^POST .*/jobs"), "the create")
    run = run_and_kill(operator, creating, ti=FakeTaskInstance(**a_try(1)))
    assert isinstance(run.error, exceptions.RunKilledError)
    assert kubectl.items("jobs", flaky["namespace"]) == []


@pytest.mark.parametrize("fault", [Fault(status=401), Fault(status=403), Fault(status=409)], ids=["401", "403", "409"])
def test_a_mark_that_is_refused_is_a_warning(
    api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl, fault: Fault
) -> None:
    """The run has succeeded, whatever becomes of its Job (R17)."""
    api.on(PATCH, fault)
    run = run_task(script="print('[1]')", **flaky).succeeded()
    assert run.xcoms["value"] == [1]
    assert [line for line in run.warnings if "could not be marked as read" in line] == run.warnings
    assert len(run.warnings) == 1
    assert len(kubectl.names("jobs", flaky["namespace"])) == 1


def test_a_failure_that_cannot_be_marked_is_not_told_again(
    api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl
) -> None:
    """Its Job is deleted where another try follows, which would take it for one that nobody has read (R8)."""
    api.on(PATCH, Fault(status=403))
    arguments: dict[str, Any] = {"script": "raise SystemExit(3)", "backoff_limit": 0, **flaky}
    runs = [retried(number, retries=1, **arguments) for number in (1, 2)]
    assert runs[0].result["job_name"] != runs[1].result["job_name"]
    assert kubectl.names("jobs", flaky["namespace"]) == [runs[1].result["job_name"]]
    assert any(f"{runs[0].result['job_name']} is deleted" in line for line in runs[0].lines)


def test_a_mark_of_a_job_that_is_gone(api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl) -> None:
    """Nothing is left to be marked, and nothing to be warned of (R9)."""
    api.on(PATCH, Fault(delay=3))

    def delete() -> None:
        wait_for(lambda: api.count(PATCH), "the mark")
        kubectl("delete", "jobs", "--all", "-n", flaky["namespace"])

    helper = meanwhile(delete)
    run = run_task(script="print('[1]')", **flaky).succeeded()
    helper.join()
    assert run.warnings == []


def test_another_job_of_that_name_is_not_marked(api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl) -> None:
    """The mark is for the Job with the uid that was followed (R8)."""
    api.on(PATCH, Fault(delay=4))

    def replace() -> None:
        wait_for(lambda: api.count(PATCH), "the mark")
        name = kubectl.names("jobs", flaky["namespace"])[0]
        kubectl("delete", "job", name, "-n", flaky["namespace"])
        kubectl("create", "job", name, "-n", flaky["namespace"], "--image=python:3.11-slim", "--", "sleep", str(LONG))

    helper = meanwhile(replace)
    run = run_task(script="print('[1]')", **flaky).succeeded()
    helper.join()
    assert run.warnings == []
    assert READ not in kubectl.items("jobs", flaky["namespace"])[0]["metadata"].get("annotations", {})


def test_without_the_right_to_mark(api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl) -> None:
    """The Job is deleted when its outcome is saved: its TTL is still that of an unread one (R17)."""
    config = author(kubectl, flaky["namespace"], api.kubeconfig, drop_verb=("jobs", "patch"))
    Path(api.kubeconfig).write_text(yaml.safe_dump(config))
    run = run_task(script="print('[1]')", **flaky).succeeded()
    (warning,) = run.warnings
    assert "could not be marked as read" in warning
    assert f"kubectl auth can-i patch jobs -n {flaky['namespace']}" in warning
    assert any("would be kept for unread_ttl. Job" in line and line.endswith("is deleted.") for line in run.lines)
    assert kubectl.items("jobs", flaky["namespace"]) == []


def test_the_mark_is_refused_for_a_moment(api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl) -> None:
    """An API server that restarts may refuse what it grants a moment later: the Job stays to be looked at (R9, R17)."""
    api.on(PATCH, Fault(status=403, message='User "x" cannot patch resource "jobs"'), numbers=FIRST)
    assert run_task(script="print('[1]')", **flaky).succeeded().warnings == []
    assert kubectl.items("jobs", flaky["namespace"])[0]["spec"]["ttlSecondsAfterFinished"] == 300


def test_jobs_that_may_not_be_listed(
    api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the right to list Jobs a retry launches nothing: a Job of an earlier try may run (R2, R17)."""
    monkeypatch.setattr(doubt, "REFUSAL_PATIENCE", 1.0)
    api.on(r"^GET .*/jobs\?labelSelector", Fault(status=403, message='User "x" cannot list resource "jobs"'))
    run = retried(script="print('[1]')", **flaky)
    assert isinstance(run.error, exceptions.ApiForbiddenError)
    assert "kubectl auth can-i list jobs" in str(run.error)
    assert kubectl.names("jobs", flaky["namespace"]) == []


def test_a_first_try_does_not_look_for_others(api: FaultyApi, flaky: dict[str, Any]) -> None:
    """There is no earlier try."""
    retried(1, script="print('[1]')", **flaky).succeeded()
    assert api.count(r"^GET .*/jobs\?labelSelector") == 0
