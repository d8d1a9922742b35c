"""Every timeout stops the work, and the script hears of it."""

from __future__ import annotations

import threading
import time
from typing import Any

from airflow.sdk.execution_time.timeout import timeout as airflow_timeout

from airflow_script_provider import exceptions
from airflow_script_provider._airflow import AirflowTaskTimeout
from airflow_script_provider.operators.script import KubernetesScriptOperator
from tests.cluster.kubectl import Kubectl
from tests.cluster.tasks import run_and_kill, run_operator, run_task
from tests.patience import wait_for

TALKATIVE = """
import signal, sys, time
def bye(number, frame):
    print("asked to end by", signal.Signals(number).name)
    sys.exit(0)
signal.signal(signal.SIGTERM, bye)
print("working")
time.sleep(120)
"""
SLEEP: dict[str, Any] = {"script": "import time\ntime.sleep(120)", "termination_grace_period": 1}


def test_timeout_ends_the_job_and_says_so(own: dict[str, Any], kubectl: Kubectl) -> None:
    """The Job's deadline ends it: status timeout, with the message that says after how long (R5)."""
    run = run_task(script="import time\nprint('start')\ntime.sleep(120)", timeout=5, termination_grace_period=2, **own)
    assert isinstance(run.error, exceptions.JobTimeoutError)
    assert "ran longer than its timeout of 5 s" in run.headline
    assert run.result["status"] == "timeout"
    wait_for(lambda: not kubectl.names("pods", own["namespace"]), "the end of the pods")


def test_output_of_the_grace_period_is_logged(own: dict[str, Any]) -> None:
    """The interpreter gets SIGTERM and what its handler prints is in the log (R27)."""
    run = run_task(script=TALKATIVE, timeout=6, **own)
    assert "asked to end by SIGTERM" in run.lines
    assert run.result["status"] == "timeout", "a script that ends well when it is ended has not done its work"


def test_deadline_of_the_pod_is_no_success(own: dict[str, Any]) -> None:
    """A pod that its own activeDeadlineSeconds ended has failed, even if its script ended well at the signal (R5)."""
    run = run_task(script=TALKATIVE, pod_overrides={"spec": {"activeDeadlineSeconds": 4}}, backoff_limit=0, **own)
    assert isinstance(run.error, exceptions.ScriptFailedError)
    assert run.result["status"] == "failed"


def test_script_without_a_handler_dies_at_once(own: dict[str, Any], kubectl: Kubectl) -> None:
    """SIGTERM ends a script that does not handle it, long before the grace period is over (R27)."""
    run = run_task(script="import time\ntime.sleep(120)", timeout=4, termination_grace_period=60, **own)
    assert run.result["exit_code"] == 143
    assert run.result["execution_time"] < 40


def test_shell_scripts_trap_the_signal(own: dict[str, Any]) -> None:
    """A shell's trap runs in the grace period (R27)."""
    script = "#!/bin/sh\ntrap 'echo trapped; exit 0' TERM\necho ready\nwhile :; do sleep 0.2; done"
    run = run_task(script=script, timeout=6, **own)
    assert "trapped" in run.lines


def test_execution_timeout_deletes_the_job(own: dict[str, Any], kubectl: Kubectl) -> None:
    """Airflow's own timeout, raised wherever Python happens to be, ends in a deleted Job (R5)."""
    arguments: dict[str, Any] = {"script": "import time\nprint('x')\ntime.sleep(120)", "termination_grace_period": 1}
    operator = KubernetesScriptOperator(task_id="task", **arguments, **own)
    with airflow_timeout(6):  # type: ignore[no-untyped-call]  # not annotated in the SDK
        run = run_operator(operator)
    assert isinstance(run.error, AirflowTaskTimeout)
    wait_for(lambda: not kubectl.names("jobs,pods", own["namespace"]), "the end of Job and pods")


def test_execution_timeout_in_a_busy_log_deletes_the_job(own: dict[str, Any], kubectl: Kubectl) -> None:
    """The same while lines pour in, when Python is most likely inside the log's code (R5)."""
    script = "while True: print('x' * 70)"
    operator = KubernetesScriptOperator(task_id="task", script=script, termination_grace_period=1, **own)
    with airflow_timeout(5):  # type: ignore[no-untyped-call]  # not annotated in the SDK
        run = run_operator(operator)
    assert isinstance(run.error, AirflowTaskTimeout)
    wait_for(lambda: not kubectl.names("jobs,pods", own["namespace"]), "the end of Job and pods")


def test_on_kill_deletes_the_job(own: dict[str, Any], kubectl: Kubectl) -> None:
    """on_kill, called from a signal handler, ends in a deleted Job and a failed task (R1)."""
    operator = KubernetesScriptOperator(task_id="task", **SLEEP, **own)
    start = time.monotonic()
    run = run_and_kill(operator, lambda: _running(kubectl, own["namespace"]))
    assert isinstance(run.error, exceptions.RunKilledError)
    assert time.monotonic() - start < 60
    wait_for(lambda: not kubectl.names("jobs,pods", own["namespace"]), "the end of Job and pods")


def test_on_kill_leaves_no_secret(own: dict[str, Any], kubectl: Kubectl) -> None:
    """With its Job go the script's ConfigMap and the Secret with its environment (R3)."""
    operator = KubernetesScriptOperator(task_id="task", env={"API_KEY": "x"}, **SLEEP, **own)
    run = run_and_kill(operator, lambda: _running(kubectl, own["namespace"]))
    assert isinstance(run.error, exceptions.RunKilledError)
    ours = ("-l", "app.kubernetes.io/managed-by=airflow-script-provider")
    wait_for(lambda: not kubectl.names("secrets,configmaps", own["namespace"], *ours), "the end of what the Job owned")


def test_on_kill_before_the_launch_creates_nothing(own: dict[str, Any], kubectl: Kubectl) -> None:
    """A kill recorded before the create makes the launch raise (R1)."""
    operator = KubernetesScriptOperator(task_id="task", script="print(1)", **own)
    operator.on_kill()
    assert isinstance(run_operator(operator).error, exceptions.RunKilledError)
    assert kubectl.names("jobs", own["namespace"]) == []


def test_suspended_job_waits_without_a_clock(own: dict[str, Any], kubectl: Kubectl) -> None:
    """While a Job is suspended neither startup_timeout nor timeout runs; then it goes on (R11)."""

    def suspend_for_a_while() -> None:
        job = wait_for(lambda: kubectl.names("jobs", own["namespace"]), "the Job")[0]
        _suspend(kubectl, job, own["namespace"], suspended=True)
        time.sleep(8)
        _suspend(kubectl, job, own["namespace"], suspended=False)

    helper = threading.Thread(target=suspend_for_a_while)
    helper.start()
    run = run_task(script="import time\ntime.sleep(3)\nprint('ran')", startup_timeout=5, timeout=30, **own).succeeded()
    helper.join()
    assert any("is suspended" in line for line in run.lines)
    assert run.result["output"].endswith("ran\n")


def _running(kubectl: Kubectl, namespace: str) -> None:
    wait_for(lambda: kubectl.names("pods", namespace, "--field-selector=status.phase=Running"), "a running pod")


def _suspend(kubectl: Kubectl, job: str, namespace: str, *, suspended: bool) -> None:
    value = "true" if suspended else "false"
    kubectl("patch", "job", job, "-n", namespace, "-p", f'{{"spec": {{"suspend": {value}}}}}')
