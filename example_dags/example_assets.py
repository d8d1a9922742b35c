"""A script that updates an asset. DAGs scheduled on the asset start when the script succeeds."""

from __future__ import annotations

from airflow.sdk import DAG, Asset, task

from airflow_script_provider.operators.script import KubernetesScriptOperator

ORDERS = Asset("orders", uri="s3://warehouse/orders.csv")

with DAG("example_assets", schedule=None, tags=["script-provider"]):
    export = KubernetesScriptOperator(
        task_id="export",
        script="import json\nprint(json.dumps({'rows': 2}))",
        outlets=[ORDERS],
    )

    # This task could also be in another DAG with schedule=[ORDERS].
    @task(inlets=[ORDERS])
    def report(*, inlet_events) -> str:
        newest = inlet_events[ORDERS][-1]
        return f"{newest.asset.name} came from {newest.source_task_instance.task_id}"

    export >> report()
