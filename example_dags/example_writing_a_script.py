"""Run a script that reads arguments, logs, returns a result and handles SIGTERM."""

from __future__ import annotations

from airflow.sdk import DAG, task

from airflow_script_provider.operators.script import KubernetesScriptOperator

with DAG("example_writing_a_script", schedule=None, tags=["script-provider"]):
    load = KubernetesScriptOperator(
        task_id="load",
        script="file://scripts/import_orders.py",
        args={"day": "2026-01-31", "orders": [12, 30, -1]},
        env={"CURRENCY": "CHF"},
        fail_on_exit_code=2,
        termination_grace_period=10,
    )

    @task
    def report(value: dict) -> str:
        return f"{value['sum']} {value['currency']}, {value['refused']} refused"

    report(load.output["value"])
