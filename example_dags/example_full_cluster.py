"""Wait for room in a full cluster: one script as long as it takes, another one for five seconds."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, task

from airflow_script_provider.operators.script import KubernetesScriptOperator

with DAG("example_full_cluster", schedule=None, tags=["script-provider"]):
    nightly = KubernetesScriptOperator(
        task_id="nightly",
        script="print('the report is written')",
        schedule_timeout=timedelta(hours=8),
        timeout=timedelta(minutes=10),
        deferrable=True,
    )
    urgent = KubernetesScriptOperator(
        task_id="urgent",
        script="print('1000 cores at work')",
        container_resources={"requests": {"cpu": "1000"}},
        schedule_timeout=timedelta(seconds=5),
    )

    @task(trigger_rule="all_done")
    def report(nightly: dict, urgent: dict) -> str:
        return f"{nightly['status']}; {urgent['category']}"

    report(nightly.output, urgent.output)
