"""Tasks that use what Airflow offers to every task: pools, callbacks, retries, teardown."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Context

from airflow_script_provider.operators.exec import KubernetesExecScriptOperator
from airflow_script_provider.operators.node import KubernetesNodeScriptOperator
from airflow_script_provider.operators.script import KubernetesScriptOperator
from tests.cluster.told_to_end import UNTIL_TOLD, UNTIL_TOLD_IN_SHELL
from tests.patience import LONG

NAMESPACE = os.environ.get("TEST_NAMESPACE", "default")
TOLD = Path(os.environ.get("AIRFLOW_HOME", "/none")) / "told"


def told(name: str) -> Any:
    """A callback that notes that it was called, and with which error."""

    def note(context: Context) -> None:
        ti, error = context["ti"], context.get("exception")
        with TOLD.open("a") as notes:
            note = {"task": ti.task_id, "callback": name, "try": ti.try_number, "error": str(error or "")}
            notes.write(json.dumps(note) + "\n")

    return note


CALLBACKS = {f"on_{name}_callback": told(name) for name in ("execute", "success", "failure", "retry", "skipped")}

SAYS_WHEN = """
import time
begun = time.time()
%s
print([begun, time.time()])
"""
TAKES_TIME = SAYS_WHEN % "time.sleep(3)"
TAKES_UNTIL_TOLD = SAYS_WHEN % UNTIL_TOLD
ON_A_NODE: dict[str, Any] = {"namespace": NAMESPACE, "nodes": ["node-1"]}
IN_A_POD: dict[str, Any] = {"namespace": NAMESPACE, "deployment": "api"}


with DAG("pooled", schedule=None):
    pooled: dict[str, Any] = {"script": TAKES_TIME, "pool": "one_at_a_time"}
    deferred: dict[str, Any] = {
        "script": TAKES_UNTIL_TOLD,
        "pool": "one_at_a_time",
        "deferrable": True,
        "timeout": LONG,
    }
    KubernetesScriptOperator(task_id="load", namespace=NAMESPACE, **pooled)
    KubernetesScriptOperator(task_id="load_deferred", namespace=NAMESPACE, defer_after=0, **deferred)
    KubernetesExecScriptOperator(task_id="in_a_pod", **IN_A_POD, **pooled)
    KubernetesNodeScriptOperator(task_id="on_nodes", **ON_A_NODE, **deferred)

try:
    from airflow.sdk import RetryDecision, RetryPolicy
except ImportError:  # Airflow 3.1 and 3.2
    pass
else:

    class ByCategory(RetryPolicy):
        """As in the reference of failures."""

        hopeless = ("ModuleNotFound", "SyntaxError", "ImageNotFound", "OOMKilled", "AuthenticationFailed")

        def evaluate(
            self, exception: BaseException, try_number: int, max_tries: int, context: Any = None
        ) -> RetryDecision:
            """Fail at once where another try cannot help."""
            category = getattr(exception, "category", None)
            return RetryDecision.fail(category) if category in self.hopeless else RetryDecision.default()

    with DAG("by_category", schedule=None):
        retried: dict[str, Any] = {
            "namespace": NAMESPACE,
            "retries": 1,
            "retry_delay": timedelta(0),
            "backoff_limit": 0,
        }
        for task, script in (("hopeless", "import no_such_module"), ("hopeful", "raise ConnectionRefusedError")):
            KubernetesScriptOperator(task_id=task, script=script, retry_policy=ByCategory(), **retried)

with DAG("tells", schedule=None):
    noted: dict[str, Any] = {
        "timeout": LONG,
        "retries": 1,
        "retry_delay": timedelta(0),
        "interpreter": ["sh"],
        **CALLBACKS,
    }
    for task, script, deferrable in (
        ("succeeds", "echo", False),
        ("succeeds_deferred", UNTIL_TOLD_IN_SHELL, True),
        ("fails", "echo no such table >&2; exit 3", False),
        ("fails_deferred", f"{UNTIL_TOLD_IN_SHELL}; exit 3", True),
        ("skips", "exit 99", False),
    ):
        KubernetesScriptOperator(
            task_id=task,
            namespace=NAMESPACE,
            script=script,
            backoff_limit=0,
            skip_on_exit_code=99,
            deferrable=deferrable,
            defer_after=0,
            **noted,
        )
    for task, script in (("fails_in_a_pod", "exit 3"), ("skips_in_a_pod", "exit 99")):
        KubernetesExecScriptOperator(task_id=task, script=script, skip_on_exit_code=99, **IN_A_POD, **noted)
    KubernetesNodeScriptOperator(
        task_id="fails_on_nodes",
        script=f"{UNTIL_TOLD_IN_SHELL}; exit 3",
        deferrable=True,
        **ON_A_NODE,
        **noted,
    )

with DAG("torn_down", schedule=None):
    load, rescue, report = (
        KubernetesScriptOperator(
            task_id=task,
            namespace=NAMESPACE,
            script=f"echo {task}; exit {3 if task == 'load' else 0}",
            interpreter=["sh"],
            backoff_limit=0,
            trigger_rule="one_failed" if task == "rescue" else "all_success",
        )
        for task in ("load", "rescue", "report")
    )
    create = KubernetesExecScriptOperator(task_id="create", script="print('created')", **IN_A_POD)
    drop = KubernetesNodeScriptOperator(task_id="drop", script="print('dropped')", **ON_A_NODE)
    create >> load >> [rescue, report]
    load >> drop.as_teardown(setups=create)

with DAG("tried", schedule=None):
    greets = "import time\ntime.sleep(5)\nprint('hello')"  # a triggerer has seen its trigger by then
    for task, deferrable in (("in_a_worker", False), ("deferred", True)):
        KubernetesScriptOperator(task_id=task, namespace=NAMESPACE, script=greets, deferrable=deferrable, defer_after=0)
    for task, deferrable in (("on_nodes", False), ("on_nodes_deferred", True)):
        KubernetesNodeScriptOperator(task_id=task, script=greets, deferrable=deferrable, **ON_A_NODE)
    KubernetesExecScriptOperator(task_id="in_a_pod", script=greets, **IN_A_POD)

with DAG("on_nodes", schedule=None):
    KubernetesNodeScriptOperator(
        task_id="sleep",
        namespace=NAMESPACE,
        script=f"import time\ntime.sleep({LONG})",
        timeout=LONG,
        all_nodes=True,
        deferrable=True,
        termination_grace_period=2,
    )
