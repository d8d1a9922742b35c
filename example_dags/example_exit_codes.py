"""Give exit codes a meaning: 2 fails the task without a retry, 99 skips it."""

from __future__ import annotations

from airflow.sdk import DAG, task

from airflow_script_provider.operators.script import KubernetesScriptOperator

SCRIPT = """
import json, sys

orders = json.loads(sys.argv[1])["orders"]
if any(order < 0 for order in orders):
    print("a negative order", file=sys.stderr)
    raise SystemExit(2)
if not orders:
    raise SystemExit(99)
"""
RULES = {"fail_on_exit_code": [2], "skip_on_exit_code": [99], "backoff_limit": 3, "retries": 3}

with DAG("example_exit_codes", schedule=None, tags=["script-provider"]):
    bad = KubernetesScriptOperator(task_id="bad", script=SCRIPT, args={"orders": [12, -1]}, **RULES)
    empty = KubernetesScriptOperator(task_id="empty", script=SCRIPT, args={"orders": []}, **RULES)

    @task(trigger_rule="all_done")
    def report(bad: dict, empty: dict) -> str:
        return f"bad: {len(bad['attempts'])} attempt, {bad['error']}; empty: exit code {empty['exit_code']}"

    report(bad.output, empty.output)
