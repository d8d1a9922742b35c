"""Branch on the result of a script: load after a success, report after a failure."""

from __future__ import annotations

from airflow.sdk import DAG, task

from airflow_script_provider.operators.script import KubernetesScriptOperator

with DAG("example_branch_on_result", schedule=None, tags=["script-provider"]):
    check = KubernetesScriptOperator(
        task_id="check",
        script="import json\nprint(json.dumps({'rows': 0}))\nraise SystemExit(3)",
        backoff_limit=0,
        skip_on_exit_code=3,
    )

    @task.branch(trigger_rule="all_done")
    def choose(result: dict) -> str:
        return "load" if result["status"] == "completed" else "report"

    @task
    def load() -> str:
        return "loaded"

    @task
    def report() -> str:
        return "nothing to load"

    choose(check.output) >> [load(), report()]
