"""Connections to running pods that break: never a success, and what is known of the process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_script_provider import exceptions
from airflow_script_provider._airflow import AirflowFailException
from airflow_script_provider.execs import session
from tests.cluster.apps import a_deployment, nothing_runs, processes_in, rolled_out
from tests.cluster.execs import SLEEPS, first_pod, run_exec, wait_until_up
from tests.cluster.kubectl import Kubectl
from tests.cluster.tasks import meanwhile
from tests.faulty_api import FIRST, Fault, faulty_api
from tests.patience import LONG


@pytest.fixture(scope="module")
def app(kubectl: Kubectl, kubeconfig: str, shared_namespace: str) -> dict[str, Any]:
    """Operator arguments for the Deployment ``api``."""
    rolled_out(kubectl, a_deployment("api", shared_namespace, replicas=2))
    return {"config_file": kubeconfig, "namespace": shared_namespace}


@pytest.mark.parametrize("how", ["cut", "frozen"])
def test_broken_connection_is_no_success_and_not_tried_again(
    how: str, app: dict[str, Any], kubectl: Kubectl, kubeconfig: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the process runs, the outcome is unknown and not retried (R1, R36)."""
    monkeypatch.setattr(session, "HEARTBEAT", 6.0)
    with faulty_api(kubeconfig, tmp_path) as api:

        def cut() -> None:
            wait_until_up(kubectl, app)
            api.outage(1) if how == "cut" else api.freeze()

        cutting = meanwhile(cut)
        run = run_exec(script=SLEEPS, **(app | {"config_file": api.kubeconfig}))
        cutting.join()
    assert isinstance(run.error, AirflowFailException)
    assert "Outcome unknown: the connection to pod " in run.headline
    assert "It is still running, so Airflow does not retry. To end it: kubectl exec" in str(run.error)
    assert (run.result["status"], run.result["category"]) == ("failed", "ConnectionBroken")
    command = str(run.error).split("To end it: kubectl ")[1].splitlines()[0]
    group = command.split("kill -- -")[1].rstrip("'")
    pod = first_pod(kubectl, app)
    kubectl("exec", "-n", app["namespace"], pod, "--", "sh", "-c", f"kill -- -{group}")
    nothing_runs(kubectl, app["namespace"], pod)


PRINTS_AND_SLEEPS = f"import os; os.write(1, b'{{\"rows\": 1}}\\n'); os.execvp('sleep', ['sleep', '{LONG}'])"


@pytest.mark.parametrize("how", ["script", "folder", "command"])
def test_a_success_of_the_api_server_itself_is_none(
    how: str, app: dict[str, Any], kubectl: Kubectl, kubeconfig: str, tmp_path: Path
) -> None:
    """If the node's side of the connection breaks, the outcome is unknown, not a success (R1, R36)."""
    runs: dict[str, dict[str, Any]] = {
        "script": {"script": PRINTS_AND_SLEEPS},
        "folder": {"script": PRINTS_AND_SLEEPS, "files": {"x": "folder\n"}},
        "command": {"command": ["python3", "-c", PRINTS_AND_SLEEPS]},
    }
    with faulty_api(kubeconfig, tmp_path) as api:
        api.on("GET .*/exec", Fault(node_lost=b"rows"), numbers=FIRST)
        run = run_exec(**runs[how], **(app | {"config_file": api.kubeconfig}))
    assert isinstance(run.error, AirflowFailException)
    assert "Outcome unknown: the connection to pod " in run.headline
    assert "It is still running, so Airflow does not retry." in str(run.error)
    pod = first_pod(kubectl, app)
    ids = [line.split()[0] for line in processes_in(kubectl, app["namespace"], pod)]
    kubectl("exec", "-n", app["namespace"], pod, "--", "sh", "-c", f"kill -9 {' '.join(ids)}; true")
    nothing_runs(kubectl, app["namespace"], pod)


def test_a_bare_commands_success_is_the_nodes_word(
    app: dict[str, Any], kubectl: Kubectl, kubeconfig: str, tmp_path: Path
) -> None:
    """In an image without a shell the API server cannot report a success of its own (R1)."""
    sleeps = ["/bin/sleep", "infinity"]
    rolled_out(kubectl, a_deployment("pathless", app["namespace"], env=[("PATH", "/none")], command=sleeps))
    with faulty_api(kubeconfig, tmp_path) as api:
        api.on("GET .*/exec.*command=.*sleep", Fault(node_lost=b""))
        where = app | {"config_file": api.kubeconfig, "deployment": "pathless", "timeout": 120}
        printed = run_exec(command=["/bin/echo", "hi"], **where)
        failed = run_exec(command=["/bin/false"], **where)
        lost = run_exec(command=["/bin/sleep", "1"], **where)
    assert (printed.succeeded().result["output"], failed.result["exit_code"]) == ("hi\n", 1)
    assert "Outcome unknown: the connection to pod " in lost.headline


def test_broken_connection_to_a_process_that_has_ended(
    app: dict[str, Any], kubectl: Kubectl, kubeconfig: str, tmp_path: Path
) -> None:
    """If the process is gone, the outcome is unknown but retried (R1, R36)."""
    with faulty_api(kubeconfig, tmp_path) as api:

        def end_unseen() -> None:
            pod = wait_until_up(kubectl, app)
            with api.down():
                ids = [line.split()[0] for line in processes_in(kubectl, app["namespace"], pod)]
                kubectl("exec", "-n", app["namespace"], pod, "--", "sh", "-c", f"kill -9 {' '.join(ids)}; true")

        ending = meanwhile(end_unseen)
        run = run_exec(script=SLEEPS, **(app | {"config_file": api.kubeconfig}))
        ending.join()
    assert isinstance(run.error, exceptions.OutcomeUnknownError)
    assert "It is no longer running" in str(run.error)


KILLS_ITS_SHELL = "import os, time\nprint('half', flush=True)\nos.kill(os.getppid(), 9)\n"
GOES_ON = (
    f"{KILLS_ITS_SHELL}os.dup2(os.open('/dev/null', 1), 1)\nos.dup2(1, 2)\nos.execvp('sleep', ['sleep', '{LONG}'])"
)


def test_a_killed_shell_says_nothing_of_its_script(app: dict[str, Any], kubectl: Kubectl) -> None:
    """If the kernel kills the shell for memory, the script may go on, and end with any code (R1, R2, R36)."""
    ended = run_exec(script=KILLS_ITS_SHELL + "time.sleep(1)\nprint('all rows loaded')", **app)
    assert isinstance(ended.error, exceptions.OutcomeUnknownError)
    assert "lost the shell that reports its end (exit code 137, SIGKILL). It is no longer running" in ended.headline
    goes_on = run_exec(script=GOES_ON, **app)
    assert isinstance(goes_on.error, AirflowFailException)
    assert "It is still running, so Airflow does not retry. To end it: kubectl exec" in str(goes_on.error)
    assert (goes_on.result["category"], goes_on.result["exit_code"]) == ("ShellKilled", None)
    pod = first_pod(kubectl, app)
    command = str(goes_on.error).split("To end it: kubectl ")[1].splitlines()[0]
    kubectl("exec", "-n", app["namespace"], pod, "--", "sh", "-c", command.split("sh -c ")[1].strip("'"))
    nothing_runs(kubectl, app["namespace"], pod)
