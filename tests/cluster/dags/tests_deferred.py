"""DAGs of the tests of deferred tasks."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Asset

from airflow_script_provider.operators.script import KubernetesScriptOperator

NAMESPACE = os.environ.get("TEST_NAMESPACE", "default")
NOWHERE = {"no-node-has": "this"}

COUNT = """
import json, sys, time
many, pause, code = json.loads(sys.argv[1])
for number in range(many):
    print("line", number, time.time())
    time.sleep(pause)
sys.exit(code)
"""
COUNT_UNTIL_TOLD_TO_END = """
import itertools, os, time
for number in itertools.count():
    print("line", number, time.time())
    if os.path.exists("/tmp/end"):
        break
    time.sleep(0.3)
"""
SLEEP = "import time\ntime.sleep(300)"
ONLY_THE_FIRST_TRY_SLEEPS = """
import json, sys, time
number = int(json.loads(sys.argv[1])["try"])
print("this is try", number)
time.sleep(300 if number == 1 else 15)  # a scheduler hears of the deferral first
"""


def script(task_id: str, **arguments: Any) -> None:
    """A deferred script that is tried once and dies as soon as it is told to."""
    defaults: dict[str, Any] = {"deferrable": True, "defer_after": 0, "backoff_limit": 0, "termination_grace_period": 2}
    KubernetesScriptOperator(task_id=task_id, namespace=NAMESPACE, **defaults | arguments)


with DAG("deferred_counts", schedule=None):
    script("count", script=COUNT, args=[40, 1, 1])

with DAG("deferred_succeeds", schedule=None):
    script(
        "succeed",
        script='import time\nprint("begun")\ntime.sleep(15)\nprint(\'{"rows": 3}\')',
        outlets=[Asset("what-a-deferred-script-made")],
    )
    script("be_quick", script="print('done')", defer_after=60)

with DAG("deferred_times_out", schedule=None):
    script("time_out", script=SLEEP, timeout=12)
    script("not_start", script=SLEEP, startup_timeout=12, node_selector=NOWHERE)
    script("not_be_executed", script=SLEEP, execution_timeout=timedelta(seconds=15))

with DAG("deferred_sleeps", schedule=None):
    connections = {"marked_failed": "slow_to_delete", "marked_success": "inline_cluster", "cleared": "inline_cluster"}
    for task, connection in connections.items():
        script(
            task,
            script=ONLY_THE_FIRST_TRY_SLEEPS,
            kubernetes_conn_id=connection,
            args={"try": "{{ ti.try_number }}", "password": "argument-secret"},
            env={"API_KEY": "environment-secret", "PARTNER": "{{ conn.partner_api.password }}"},
        )

with DAG("deferred_deleted", schedule=None):
    script("sleep", script=SLEEP, env={"API_KEY": "environment-secret"})

with DAG("deferred_outlives", schedule=None):
    script("young", script=COUNT_UNTIL_TOLD_TO_END, startup_timeout=300)
    script("old", script=COUNT_UNTIL_TOLD_TO_END, startup_timeout=5)
    script("never", script=SLEEP, startup_timeout=40, node_selector=NOWHERE)
