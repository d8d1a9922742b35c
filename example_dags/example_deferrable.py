"""Wait for a long script in the triggerer, without holding a worker slot."""

from __future__ import annotations

from airflow.sdk import DAG, task

from airflow_script_provider.operators.script import KubernetesScriptOperator

COUNT_DOWN = """
import json, time
for left in range(8, 0, -1):
    print(left, "seconds to go", flush=True)
    time.sleep(1)
print(json.dumps({"waited": 8}))
"""

with DAG("example_deferrable", schedule=None, tags=["script-provider"]):
    count_down = KubernetesScriptOperator(
        task_id="count_down",
        script=COUNT_DOWN,
        deferrable=True,
        defer_after=1,  # a script that ends within these seconds is not deferred
    )

    @task
    def report(value: dict) -> str:
        return f"waited {value['waited']} seconds without a worker"

    report(count_down.output["value"])
