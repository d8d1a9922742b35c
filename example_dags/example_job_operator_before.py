"""Run a script with the KubernetesJobOperator.

``example_job_operator_after.py`` does the same with this provider.
"""

from __future__ import annotations

from airflow.providers.cncf.kubernetes.operators.job import KubernetesJobOperator
from airflow.sdk import DAG

with DAG("example_job_operator_before", schedule=None, tags=["script-provider"]):
    KubernetesJobOperator(
        task_id="greet",
        kubernetes_conn_id="cluster",
        namespace="default",
        image="python:3.11-slim",
        cmds=["python3", "-u", "-c", "import sys\nprint('hello,', sys.argv[1])"],
        arguments=["Bern"],
        backoff_limit=2,
        ttl_seconds_after_finished=300,
        wait_until_job_complete=True,
        job_poll_interval=1,
    )
