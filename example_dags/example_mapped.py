"""Run one script with several arguments in parallel, and add up the results."""

from __future__ import annotations

from airflow.sdk import DAG, task

from airflow_script_provider.operators.script import KubernetesScriptOperator

SCRIPT = """
import json, sys

n = json.loads(sys.argv[1])["n"]
print(json.dumps({"n": n, "square": n * n}))
"""

with DAG("example_mapped", schedule=None, tags=["script-provider"]):
    squares = KubernetesScriptOperator.partial(task_id="square", script=SCRIPT).expand(
        args=[{"n": 2}, {"n": 3}, {"n": 4}]
    )

    @task
    def total(results: list[dict]) -> str:
        return f"the squares sum up to {sum(result['value']['square'] for result in results)}"

    total(squares.output)
