"""DAGs of the tests of deferred tasks."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Asset

from airflow_script_provider.operators.script import KubernetesScriptOperator
from tests.cluster.told_to_end import UNTIL_TOLD
from tests.patience import LONG

NAMESPACE = os.environ.get("TEST_NAMESPACE", "default")
NOWHERE = {"no-node-has": "this"}
SOON = 60
"""Seconds of a timeout that a test sees the end of; before that a scheduler has noted the deferral."""

COUNT_UNTIL_TOLD_TO_END = """
import itertools, json, os, sys, time
(code,) = json.loads(sys.argv[1])
for number in itertools.count():
    print("line", number, time.time())
    if os.path.exists("/tmp/told"):
        break
    time.sleep(0.3)
sys.exit(code)
"""
SLEEP = f"import time\ntime.sleep({LONG})"
SAY_WHICH_TRY = """
import json, sys
print("this is try", json.loads(sys.argv[1])["try"])
"""


def script(task_id: str, **arguments: Any) -> None:
    """A deferred script that is tried once, and dies as soon as it is asked to."""
    defaults: dict[str, Any] = {"deferrable": True, "defer_after": 0, "backoff_limit": 0, "termination_grace_period": 2}
    defaults |= {"schedule_timeout": LONG, "startup_timeout": LONG, "timeout": LONG}
    KubernetesScriptOperator(task_id=task_id, namespace=NAMESPACE, **defaults | arguments)


with DAG("deferred_counts", schedule=None):
    script("count", script=COUNT_UNTIL_TOLD_TO_END, args=[1])

with DAG("deferred_succeeds", schedule=None):
    script(
        "succeed",
        script=f"print('begun')\n{UNTIL_TOLD}print('{{\"rows\": 3}}')",
        outlets=[Asset("what-a-deferred-script-made")],
    )
    script("be_quick", script="print('done')", defer_after=LONG)

with DAG("deferred_times_out", schedule=None):
    script("time_out", script=SLEEP, timeout=SOON)
    script("not_start", script=SLEEP, schedule_timeout=SOON, node_selector=NOWHERE)
    script("not_be_executed", script=SLEEP, execution_timeout=timedelta(seconds=SOON))

with DAG("deferred_sleeps", schedule=None):
    connections = {"marked_failed": "slow_to_delete", "marked_success": "inline_cluster", "cleared": "inline_cluster"}
    for task, connection in connections.items():
        script(
            task,
            script=SAY_WHICH_TRY + UNTIL_TOLD,
            kubernetes_conn_id=connection,
            args={"try": "{{ ti.try_number }}", "password": "argument-secret"},
            env={"API_KEY": "environment-secret", "PARTNER": "{{ conn.partner_api.password }}"},
        )

with DAG("deferred_deleted", schedule=None):
    script("sleep", script=SLEEP, env={"API_KEY": "environment-secret"})

with DAG("deferred_outlives", schedule=None):
    for task in ("young", "old"):
        script(task, script=COUNT_UNTIL_TOLD_TO_END, args=[0])

with DAG("deferred_never_starts", schedule=None):
    script("never", script=SLEEP, node_selector=NOWHERE, kubernetes_conn_id="late_clock", timeout=2 * LONG)
