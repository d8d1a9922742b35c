"""Do the same as ``example_job_operator_before.py``, with this provider."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_script_provider.operators.script import KubernetesScriptOperator

with DAG("example_job_operator_after", schedule=None, tags=["script-provider"]):
    KubernetesScriptOperator(
        task_id="greet",
        kubernetes_conn_id="cluster",
        namespace="default",
        image="python:3.11-slim",
        script="import sys\nprint('hello,', sys.argv[1])",
        arguments=["Bern"],
        backoff_limit=2,
        ttl_seconds_after_finished=300,
    )
