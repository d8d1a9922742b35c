"""Run a script from a web server.

The connection ``script_server`` has the host, a login and the CA of the server's certificate.
"""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_script_provider.operators.script import KubernetesScriptOperator
from airflow_script_provider.sources import HttpScript

with DAG("example_http_source", schedule=None, tags=["script-provider"]):
    KubernetesScriptOperator(
        task_id="report",
        script=HttpScript("/scripts/report.py", conn_id="script_server", headers={"Accept": "text/x-python"}),
        sha256="f3870a43791960f2e6f7e6c0cc8c5f63b1393b7fd3730b52c3eba074e4963cf4",  # any other script fails
        args={"region": "north", "orders": [12, 30]},
    )
