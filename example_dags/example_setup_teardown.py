"""Create a schema before the work, and drop it afterwards even if the work failed."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_script_provider.operators.script import KubernetesScriptOperator

with DAG("example_setup_teardown", schedule=None, tags=["script-provider"]):
    create = KubernetesScriptOperator(task_id="create", script="print('created schema staging_7')")
    load = KubernetesScriptOperator(task_id="load", script="print('loaded 3 rows into staging_7')")
    drop = KubernetesScriptOperator(task_id="drop", script="print('dropped schema staging_7')")

    create >> load >> drop.as_teardown(setups=create)
