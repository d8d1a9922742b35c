"""Limit memory. One script stays within the limit; the error of the other names the limit."""

from __future__ import annotations

from airflow.sdk import DAG, task

from airflow_script_provider.operators.script import KubernetesScriptOperator

SORT = """
import json, sys

numbers = list(range(json.loads(sys.argv[1])["numbers"]))
print("sorted", len(sorted(numbers, reverse=True)), "numbers")
"""
SMALL = {"requests": {"cpu": "100m", "memory": "32Mi"}, "limits": {"memory": "32Mi"}}

with DAG("example_resources", schedule=None, tags=["script-provider"]):
    fits = KubernetesScriptOperator(task_id="fits", script=SORT, args={"numbers": 1000}, container_resources=SMALL)
    too_big = KubernetesScriptOperator(
        task_id="too_big", script=SORT, args={"numbers": 10_000_000}, container_resources=SMALL, backoff_limit=0
    )

    @task(trigger_rule="all_done")
    def report(fits: dict, too_big: dict) -> str:
        return f"{fits['status']}; {too_big['error']}"

    report(fits.output, too_big.output)
