"""Running the exec operator in Deployments of the tests."""

from __future__ import annotations

from typing import Any

from airflow_script_provider.operators.exec import KubernetesExecScriptOperator
from tests.cluster.apps import pods_of, processes_in
from tests.cluster.kubectl import Kubectl
from tests.cluster.tasks import TaskRun, run_operator
from tests.patience import LONG, wait_for

SLEEPS = f"import subprocess\nprint('up', flush=True)\nsubprocess.run(['sleep', '{LONG}'])"
HANDLES_TERM = """
import signal, sys, time
def bye(number, frame):
    print('bye', flush=True)
    sys.exit(9)
signal.signal(signal.SIGTERM, bye)
print('up', flush=True)
time.sleep(3600)
"""
STOPS_HALF_WAY = HANDLES_TERM.replace("exit(9)", "exit(0)")
PASSES_TERM_ON = """
import os, signal, sys, time
def end(number, frame):
    signal.signal(number, signal.SIG_IGN)
    os.kill(-1, number)
    time.sleep(1)
    sys.exit()
signal.signal(signal.SIGTERM, end)
while True:
    signal.pause()
"""
"""The first process of a container, which ends its other processes before itself."""
IGNORES_TERM = "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(3600)"


def an_exec(**arguments: Any) -> Any:
    """An operator that runs in the Deployment ``api``, if not said otherwise."""
    places = {"deployment", "statefulset", "pod", "label_selector"}
    where = {} if places & set(arguments) else {"deployment": "api"}
    return KubernetesExecScriptOperator(task_id="task", **(where | arguments))


def run_exec(**arguments: Any) -> TaskRun:
    """Execute such an operator."""
    return run_operator(an_exec(**arguments))


def first_pod(kubectl: Kubectl, app: dict[str, Any], name: str = "api") -> str:
    """The pod that a Deployment's runs are in."""
    return pods_of(kubectl, app["namespace"], name)[0]


def wait_until_up(kubectl: Kubectl, app: dict[str, Any], name: str = "api") -> str:
    """The pod of a script that sleeps, when it does."""
    pod = first_pod(kubectl, app, name)
    wait_for(lambda: f"sleep {LONG}" in str(processes_in(kubectl, app["namespace"], pod)), "the script")
    return pod
