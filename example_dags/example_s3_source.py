"""Run a script from an S3 bucket.

The connection ``script_bucket`` has keys or a role, and the region.
"""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_script_provider.operators.script import KubernetesScriptOperator

with DAG("example_s3_source", schedule=None, tags=["script-provider"]):
    KubernetesScriptOperator(
        task_id="report",
        script="s3://example-scripts/report.py",
        script_conn_id="script_bucket",
        args={"region": "south", "orders": [7]},
    )
