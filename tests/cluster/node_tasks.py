"""Running scripts on nodes as Airflow's task runner does."""

from __future__ import annotations

from typing import Any

from airflow_script_provider.operators.node import KubernetesNodeScriptOperator
from tests.cluster.kubectl import Kubectl
from tests.cluster.tasks import FakeTaskInstance, TaskRun, run_operator

BOTH = {"nodes": ["node-1", "node-2"]}
SAYS_WHERE = """
import json, os
print("on", os.environ["NODE_NAME"])
print(json.dumps({"node": os.environ["NODE_NAME"], "run": int(os.environ["RUN_INDEX"])}))
"""
FAILS_ON_NODE_2 = "import os, sys\nprint('tried')\nsys.exit(3 if os.environ['NODE_NAME'] == 'node-2' else 0)"
SLEEPS: dict[str, Any] = {"script": "print('begun', flush=True)\nimport time\ntime.sleep(3600)"}
SLEEPS |= {"termination_grace_period": 1}


def an_operator(task_id: str = "task", **arguments: Any) -> KubernetesNodeScriptOperator:
    """An operator for both real nodes, unless the arguments say others."""
    others = {"node_selector", "nodes", "all_nodes"} & arguments.keys()
    return KubernetesNodeScriptOperator(task_id=task_id, **({} if others else BOTH) | arguments)


def run_nodes(*, ti: FakeTaskInstance | None = None, **arguments: Any) -> TaskRun:
    """Run a script on nodes."""
    return run_operator(an_operator(**arguments), ti=ti)


def group_of(run: TaskRun, start: str) -> list[str]:
    """The lines of the group whose title starts so."""
    first = next(index for index, line in enumerate(run.lines) if line.startswith(f"::group::{start}"))
    return run.lines[first + 1 : run.lines.index("::endgroup::", first)]


def owners(kubectl: Kubectl, namespace: str) -> list[dict[str, Any]]:
    """The Jobs that own others."""
    return kubectl.items("jobs", namespace, "-l", "airflow-script-provider/nodes,!airflow-script-provider/run")
