"""A script on a web server. The connection ``script_server`` has its host, a login and the CA that it is trusted by."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_script_provider.operators.script import KubernetesScriptOperator
from airflow_script_provider.sources import HttpScript

with DAG("example_http_source", schedule=None, tags=["script-provider"]):
    KubernetesScriptOperator(
        task_id="report",
        script=HttpScript("/scripts/report.py", conn_id="script_server", headers={"Accept": "text/x-python"}),
        args={"region": "north", "orders": [12, 30]},
    )
