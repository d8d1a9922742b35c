"""Tasks that use what Airflow offers to every task: pools, callbacks, retries."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Context

from airflow_script_provider.operators.script import KubernetesScriptOperator

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


LONG_ENOUGH = 8
"""Seconds of a deferral that a scheduler hears of before it ends; Airflow fails a task that it hears of too late."""
CALLBACKS = {f"on_{name}_callback": told(name) for name in ("execute", "success", "failure", "retry", "skipped")}

with DAG("pooled", schedule=None):
    for number, deferrable in enumerate((False, True, True)):
        KubernetesScriptOperator(
            task_id=f"load_{number}",
            namespace=NAMESPACE,
            script=f"import time\ntime.sleep({LONG_ENOUGH if deferrable else 2})",
            pool="one_at_a_time",
            deferrable=deferrable,
            defer_after=0,
        )

with DAG("tells", schedule=None):
    for task, script, deferrable in (
        ("succeeds", "echo", False),
        ("succeeds_deferred", f"sleep {LONG_ENOUGH}", True),
        ("fails", "echo no such table >&2; exit 3", False),
        ("fails_deferred", f"sleep {LONG_ENOUGH}; exit 3", True),
        ("skips", "exit 99", False),
    ):
        KubernetesScriptOperator(
            task_id=task,
            namespace=NAMESPACE,
            script=script,
            interpreter=["sh"],
            backoff_limit=0,
            skip_on_exit_code=99,
            deferrable=deferrable,
            defer_after=0,
            retries=1,
            retry_delay=timedelta(0),
            **CALLBACKS,
        )

with DAG("torn_down", schedule=None):
    create, load, drop, rescue, report = (
        KubernetesScriptOperator(
            task_id=task,
            namespace=NAMESPACE,
            script=f"echo {task}; exit {3 if task == 'load' else 0}",
            interpreter=["sh"],
            backoff_limit=0,
            trigger_rule="one_failed" if task == "rescue" else "all_success",
        )
        for task in ("create", "load", "drop", "rescue", "report")
    )
    create >> load >> [rescue, report]
    load >> drop.as_teardown(setups=create)

with DAG("tried", schedule=None):
    for deferrable in (False, True):
        KubernetesScriptOperator(
            task_id="deferred" if deferrable else "in_a_worker",
            namespace=NAMESPACE,
            script="import time\ntime.sleep(1)\nprint('hello')",
            deferrable=deferrable,
            defer_after=0,
        )
