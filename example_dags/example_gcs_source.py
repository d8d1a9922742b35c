"""Run a script from Google Cloud Storage, with a data file beside it.

The connection ``google_scripts`` is a Google connection.
"""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_script_provider.operators.script import KubernetesScriptOperator
from airflow_script_provider.sources import GCSScript

with DAG("example_gcs_source", schedule=None, tags=["script-provider"]):
    KubernetesScriptOperator(
        task_id="report",
        script="gs://example-scripts/{{ params.script }}.py",
        script_conn_id="google_scripts",
        files={"orders.csv": GCSScript("gs://example-scripts/orders.csv", conn_id="google_scripts")},
        args={"region": "west", "orders": [1, 2, 3]},
        params={"script": "report"},
    )
