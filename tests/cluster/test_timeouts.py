"""Every timeout stops the work, and the script hears of it."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import pytest
from airflow.sdk.execution_time.timeout import timeout as airflow_timeout

from airflow_script_provider import exceptions
from airflow_script_provider._airflow import AirflowTaskTimeout
from airflow_script_provider.jobs import launching
from airflow_script_provider.jobs.nodes.runs import NodeRuns
from airflow_script_provider.operators.script import KubernetesScriptOperator
from tests.cluster.kubectl import Kubectl
from tests.cluster.node_tasks import BOTH, SAYS_WHERE, SLEEPS, run_nodes
from tests.cluster.tasks import (
    FakeTaskInstance,
    TaskRun,
    meanwhile,
    run_and_kill,
    run_operator,
    run_task,
    wait_until_logged,
)
from tests.patience import LONG, wait_for, with_time_to_begin

TALKATIVE = """
import signal, sys, time
def bye(number, frame):
    print("asked to end by", signal.Signals(number).name)
    sys.exit(0)
signal.signal(signal.SIGTERM, bye)
print("working")
time.sleep(3600)
"""
IN_TIME = 30
"""Seconds in which a pod comes as far as its init container."""
SLEEP: dict[str, Any] = {"script": "import time\nprint('working')\ntime.sleep(3600)", "termination_grace_period": 1}


def timed_out(**arguments: Any) -> tuple[float, TaskRun]:
    """A timeout, and the run of a script that says first that it is working."""
    ran = partial(run_task, **arguments)
    return with_time_to_begin(lambda seconds: ran(timeout=seconds), lambda run: "working" in run.lines)


def test_timeout_ends_the_job_and_says_so(own: dict[str, Any], kubectl: Kubectl) -> None:
    """Kubernetes ends it when its work is over: status timeout, with the message that says after how long (R5)."""
    seconds, run = timed_out(**SLEEP, **own)
    assert isinstance(run.error, exceptions.JobTimeoutError)
    assert f"ran longer than its timeout of {seconds} s" in run.headline
    assert run.result["status"] == "timeout"
    wait_for(lambda: not kubectl.names("pods", own["namespace"]), "the end of the pods")


def test_output_of_the_grace_period_is_logged(own: dict[str, Any]) -> None:
    """The interpreter gets SIGTERM and what its handler prints is in the log (R27)."""
    _, run = timed_out(script=TALKATIVE, **own)
    assert "asked to end by SIGTERM" in run.lines
    assert run.result["status"] == "timeout", "a script that ends well when it is ended has not done its work"


def test_deadline_of_the_pod_is_no_success(own: dict[str, Any]) -> None:
    """A pod that its own activeDeadlineSeconds ended has failed, even if its script ended well at the signal (R5)."""
    run = run_task(script=TALKATIVE, pod_overrides={"spec": {"activeDeadlineSeconds": 4}}, backoff_limit=0, **own)
    assert isinstance(run.error, exceptions.ScriptFailedError)
    assert run.result["status"] == "failed"


SECRET: dict[str, Any] = {"secretKeyRef": {"name": "missing", "key": "a"}}
BEFORE_THE_SCRIPT: dict[str, dict[str, Any]] = {
    "waits": {"containers": [{"name": "script", "env": [{"name": "A", "valueFrom": SECRET}]}]},
    "initializes": {"initContainers": [{"name": "wait", "image": "python:3.11-slim", "command": ["sleep", "3600"]}]},
}


@pytest.mark.parametrize("stage", BEFORE_THE_SCRIPT)
def test_a_wait_for_a_node_counts_after_a_pod_that_never_began(
    own: dict[str, Any], kubectl: Kubectl, stage: str
) -> None:
    """The pod was deleted before its script started, and a quota refuses another one (R5, R10)."""

    def delete() -> None:
        def is_there() -> bool:
            statuses = [pod["status"] for pod in kubectl.items("pods", own["namespace"])]
            return 'secret "missing"' in str(statuses) or "'running'" in str(statuses)

        wait_for(is_there, "the first pod")
        kubectl("create", "quota", "none", "--hard=pods=0", "-n", own["namespace"])
        kubectl("delete", "pod", "--all", "-n", own["namespace"], "--wait=false")

    helper = meanwhile(delete)
    settings: dict[str, Any] = {"pod_overrides": {"spec": BEFORE_THE_SCRIPT[stage]}, "termination_grace_period": 1}
    run = run_task(script="print(1)", schedule_timeout=IN_TIME, **settings, **own)
    helper.join()
    assert f"got no node within schedule_timeout of {IN_TIME} s" in run.headline
    assert len(run.result["attempts"]) == 1


def test_script_without_a_handler_dies_at_once(own: dict[str, Any], kubectl: Kubectl) -> None:
    """SIGTERM ends a script that does not handle it, long before the grace period is over (R27)."""
    _, run = timed_out(**SLEEP | {"termination_grace_period": LONG}, **own)
    assert run.result["exit_code"] == 143


def test_shell_scripts_trap_the_signal(own: dict[str, Any]) -> None:
    """A shell's trap runs in the grace period (R27)."""
    script = "#!/bin/sh\ntrap 'echo trapped; exit 0' TERM\necho working\nwhile :; do sleep 0.2; done"
    _, run = timed_out(script=script, **own)
    assert "trapped" in run.lines


def test_execution_timeout_deletes_the_job(own: dict[str, Any], kubectl: Kubectl) -> None:
    """Airflow's own timeout, raised wherever Python happens to be, ends in a deleted Job (R5)."""
    operator = KubernetesScriptOperator(task_id="task", **SLEEP, **own)
    with airflow_timeout(6):  # type: ignore[no-untyped-call]  # not annotated in the SDK
        run = run_operator(operator)
    assert isinstance(run.error, AirflowTaskTimeout)
    wait_for(lambda: not kubectl.names("jobs,pods", own["namespace"]), "the end of Job and pods")


def test_no_try_begins_in_the_grace_period_after_execution_timeout(own: dict[str, Any], kubectl: Kubectl) -> None:
    """Airflow may try again at once: by then the script has ended (R5, R10)."""
    script = "#!/bin/sh\ntrap 'sleep 4; exit 0' TERM\necho working\nwhile :; do sleep 0.2; done"
    operator = KubernetesScriptOperator(task_id="task", script=script, termination_grace_period=20, **own)
    with airflow_timeout(6):  # type: ignore[no-untyped-call]  # not annotated in the SDK
        run = run_operator(operator)
    assert isinstance(run.error, AirflowTaskTimeout)
    assert "working" in run.lines
    states = [pod["status"]["containerStatuses"][0]["state"] for pod in kubectl.items("pods", own["namespace"])]
    assert not any("running" in state for state in states)


def test_execution_timeout_in_a_busy_log_deletes_the_job(own: dict[str, Any], kubectl: Kubectl) -> None:
    """The same while lines pour in, when Python is most likely inside the log's code (R5)."""
    script = "while True: print('x' * 70)"
    operator = KubernetesScriptOperator(task_id="task", script=script, termination_grace_period=1, **own)
    with airflow_timeout(5):  # type: ignore[no-untyped-call]  # not annotated in the SDK
        run = run_operator(operator)
    assert isinstance(run.error, AirflowTaskTimeout)
    wait_for(lambda: not kubectl.names("jobs,pods", own["namespace"]), "the end of Job and pods")


def test_execution_timeout_ends_the_scripts_on_nodes(own: dict[str, Any], kubectl: Kubectl) -> None:
    """Their ends are waited for, and what is known of them is the result, as it is while deferred (R5, R29)."""
    with airflow_timeout(15):  # type: ignore[no-untyped-call]  # not annotated in the SDK
        run = run_nodes(**SLEEPS, **own)
    if not isinstance(run.error, AirflowTaskTimeout):  # which came before the launch, or took too long
        assert isinstance(run.error, exceptions.NodesFailedError)
        assert set(run.result["nodes"]) == set(BOTH["nodes"])
    states = [pod["status"]["containerStatuses"][0]["state"] for pod in kubectl.items("pods", own["namespace"])]
    assert not any("running" in state for state in states)
    wait_for(lambda: not kubectl.names("jobs,pods", own["namespace"]), "the end of Jobs and pods")


@pytest.mark.parametrize("max_tries", [0, 2], ids=["last try", "tries left"])
def test_a_success_with_a_sidecar_outlasts_execution_timeout(
    own: dict[str, Any], kubectl: Kubectl, max_tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes when the worker has just deleted the Job: the outcome is known, nothing runs again (R1, R2, R5, R12)."""
    abandon, times = launching.abandon, iter([AirflowTaskTimeout()])

    async def too_late(*arguments: Any) -> bool:
        deleted = await abandon(*arguments)
        for timeout in times:
            raise timeout
        return deleted

    monkeypatch.setattr(launching, "abandon", too_late)
    sidecar = {"name": "proxy", "image": "python:3.11-slim", "command": ["sleep", str(LONG)]}
    settings: dict[str, Any] = {"pod_overrides": {"spec": {"containers": [sidecar]}}, "termination_grace_period": 1}
    ti = FakeTaskInstance(max_tries=max_tries)
    run = run_task(script="print('{\"rows\": 3}')", ti=ti, **settings, **own).succeeded()
    assert run.xcoms["value"] == {"rows": 3}
    wait_for(lambda: not kubectl.names("jobs,pods", own["namespace"]), "the end of Job and pods")


def test_a_success_on_nodes_outlasts_execution_timeout(
    own: dict[str, Any], kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes when all runs have ended and their logs are still being read: nothing runs again (R1, R2, R5)."""
    followed, times = NodeRuns.follow, iter([AirflowTaskTimeout()])

    async def too_late(runs: NodeRuns) -> None:
        await followed(runs)
        for timeout in times:
            raise timeout

    monkeypatch.setattr(NodeRuns, "follow", too_late)
    run = run_nodes(script=SAYS_WHERE, **own).succeeded()
    assert run.xcoms["value"] == {name: {"node": name, "run": 0} for name in BOTH["nodes"]}
    wait_for(lambda: not kubectl.names("jobs,pods", own["namespace"]), "the end of Jobs and pods")


def test_on_kill_deletes_the_job(own: dict[str, Any], kubectl: Kubectl) -> None:
    """on_kill, called from a signal handler, ends in a deleted Job and a failed task (R1)."""
    operator = KubernetesScriptOperator(task_id="task", **SLEEP, **own)
    run = run_and_kill(operator, lambda: kubectl.running_pods(own["namespace"]))
    assert isinstance(run.error, exceptions.RunKilledError)
    wait_for(lambda: not kubectl.names("jobs,pods", own["namespace"]), "the end of Job and pods")


def test_on_kill_leaves_no_secret(own: dict[str, Any], kubectl: Kubectl) -> None:
    """With its Job go the script's ConfigMap and the Secret with its environment (R3)."""
    operator = KubernetesScriptOperator(task_id="task", env={"API_KEY": "x"}, **SLEEP, **own)
    run = run_and_kill(operator, lambda: kubectl.running_pods(own["namespace"]))
    assert isinstance(run.error, exceptions.RunKilledError)
    ours = ("-l", "app.kubernetes.io/managed-by=airflow-script-provider")
    wait_for(lambda: not kubectl.names("secrets,configmaps", own["namespace"], *ours), "the end of what the Job owned")


def test_on_kill_before_the_launch_creates_nothing(own: dict[str, Any], kubectl: Kubectl) -> None:
    """A kill recorded before the create makes the launch raise (R1)."""
    operator = KubernetesScriptOperator(task_id="task", script="print(1)", **own)
    operator.on_kill()
    assert isinstance(run_operator(operator).error, exceptions.RunKilledError)
    assert kubectl.names("jobs", own["namespace"]) == []


@pytest.mark.parametrize("reason", ["suspended", "quota", "node"])
def test_a_wait_for_a_node_has_an_end(
    own: dict[str, Any], kubectl: Kubectl, waiting: dict[str, Any], reason: str
) -> None:
    """A queue that never admits, a full quota, no room: each ends at ``schedule_timeout``, by its name (R5, R11)."""
    arguments: dict[str, Any] = {"node_selector": {"no": "such-node"}} if reason == "node" else {}
    if reason == "quota":
        kubectl("create", "quota", "none", "--hard=pods=0", "-n", own["namespace"])

    def run(seconds: float) -> TaskRun:
        helper = meanwhile(partial(_suspend_the_first, kubectl, own["namespace"])) if reason == "suspended" else None
        limits: dict[str, Any] = {"schedule_timeout": seconds, "startup_timeout": 1, "timeout": LONG}
        done = run_task(**SLEEP, **limits, **arguments, **own, **waiting)
        if helper:
            helper.join()
        return done

    said = {"suspended": "the Job is suspended", "quota": "exceeded quota", "node": "Unschedulable"}[reason]
    seconds, done = with_time_to_begin(run, lambda done: said in done.headline, 10)
    assert f"got no node within schedule_timeout of {seconds:g} s: " in done.headline
    assert kubectl.names("jobs", own["namespace"]) == []


@pytest.mark.parametrize("ends", [False, True], ids=["preempted", "between attempts"])
def test_a_wait_for_another_node_has_an_end(
    own: dict[str, Any], kubectl: Kubectl, waiting: dict[str, Any], ends: bool
) -> None:
    """A queue takes a script's node away, or suspends it between two attempts, for good (R5, R11, R12, R22)."""

    def suspend_later() -> None:
        wait_until_logged("working")
        if ends:
            wait_for(lambda: kubectl.items("jobs", own["namespace"])[0]["status"].get("failed"), "the first failure")
        _suspend_the_first(kubectl, own["namespace"])

    helper = meanwhile(suspend_later)
    script = "print('working')\nraise SystemExit(1)" if ends else SLEEP["script"]
    run = run_task(**SLEEP | {"script": script}, schedule_timeout=8, timeout=LONG, **own, **waiting)
    helper.join()
    assert "got no node within schedule_timeout of 8 s: the Job is suspended" in run.headline
    assert (run.result["category"], "working" in run.lines) == ("ScheduleTimeout", True)


def test_a_policy_that_denies_another_attempt_is_the_cause(
    own: dict[str, Any], kubectl: Kubectl, waiting: dict[str, Any]
) -> None:
    """The failure before it is not why the task is over (R12, R21)."""

    def deny_later() -> None:
        wait_for(
            lambda: any(job["status"].get("failed") for job in kubectl.items("jobs", own["namespace"])), "a failure"
        )
        kubectl("label", "namespace", own["namespace"], "pod-security.kubernetes.io/enforce=restricted")

    helper = meanwhile(deny_later)
    run = run_task(script="raise SystemExit(1)", **own, **waiting)
    helper.join()
    assert (run.result["category"], "its pod is refused" in run.headline) == ("PodSecurity", True)


def _suspend_the_first(kubectl: Kubectl, namespace: str) -> None:
    (job,) = wait_for(lambda: kubectl.names("jobs", namespace), "the Job")
    _suspend(kubectl, job, namespace, suspended=True)


def test_suspended_job_waits_without_a_clock(own: dict[str, Any], kubectl: Kubectl) -> None:
    """While a Job is suspended neither startup_timeout nor timeout runs; then it goes on (R11)."""

    def suspend_for_longer_than(seconds: float) -> None:
        job = wait_for(lambda: kubectl.names("jobs", own["namespace"], "-l", f"test=s{seconds:g}"), "the Job")[0]
        _suspend(kubectl, job, own["namespace"], suspended=True)
        time.sleep(seconds + 3)
        _suspend(kubectl, job, own["namespace"], suspended=False)

    def run(seconds: float) -> TaskRun:
        helper = meanwhile(partial(suspend_for_longer_than, seconds))
        limits: dict[str, Any] = {"startup_timeout": seconds, "timeout": 10 * seconds}
        limits |= {"labels": {"test": f"s{seconds:g}"}}
        done = run_task(script=f"import time\ntime.sleep({seconds / 3})\nprint('ran')", **limits, **own)
        helper.join()
        return done

    def was_in_time(done: TaskRun) -> bool:
        return "ran" in done.lines and "is suspended" in str(done.lines)

    _, done = with_time_to_begin(run, was_in_time, 10)
    assert done.succeeded().result["output"].endswith("ran\n")


def test_time_in_suspension_that_counts_is_said(own: dict[str, Any], kubectl: Kubectl) -> None:
    """Kubernetes before 1.36 looks at the deadline of a resumed Job before it starts the clock anew (R5, R11)."""

    def suspend_beyond(seconds: float) -> None:
        job = wait_for(lambda: kubectl.names("jobs", own["namespace"]), "the Job")[0]
        wait_for(lambda: kubectl.running_pods(own["namespace"]), "its pod")
        kubectl("patch", "job", job, "-n", own["namespace"], "-p", '{"spec": {"activeDeadlineSeconds": 15}}')
        _suspend(kubectl, job, own["namespace"], suspended=True)
        time.sleep(seconds)
        _suspend(kubectl, job, own["namespace"], suspended=False)

    helper = meanwhile(partial(suspend_beyond, 16))
    run = run_task(**SLEEP, timeout=LONG, **own)
    helper.join()
    assert "activeDeadlineSeconds of 15 s" in run.headline
    assert ("ended when it was resumed" in run.headline) is (kubectl.minor < 36)  # the version


def _suspend(kubectl: Kubectl, job: str, namespace: str, *, suspended: bool) -> None:
    value = "true" if suspended else "false"
    kubectl("patch", "job", job, "-n", namespace, "-p", f'{{"spec": {{"suspend": {value}}}}}')
