"""End a script that hangs with a timeout."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, task

from airflow_script_provider.operators.script import KubernetesScriptOperator

with DAG("example_timeouts", schedule=None, tags=["script-provider"]):
    hang = KubernetesScriptOperator(
        task_id="hang",
        script="import time\nprint('waiting for an answer')\ntime.sleep(3600)",
        timeout=30,  # the work: all attempts of the script, but no wait before it
        schedule_timeout=timedelta(hours=1),  # until the pod has a node
        startup_timeout=timedelta(minutes=2),  # from then on until the script runs
        execution_timeout=timedelta(minutes=10),  # Airflow's limit for the try
    )

    @task(trigger_rule="all_done")
    def report(result: dict) -> str:
        return f"{result['status']}: {result['error']}"

    report(hang.output)
