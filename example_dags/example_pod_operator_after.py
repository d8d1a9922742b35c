"""Do the same as ``example_pod_operator_before.py``, with this provider."""

from __future__ import annotations

from airflow.sdk import DAG, task
from kubernetes.client import models as k8s

from airflow_script_provider.operators.script import KubernetesScriptOperator

SCRIPT = """
import json, os, sys

orders = json.loads(sys.argv[1])["orders"]
print("adding", len(orders), "orders with a key of", len(os.environ["API_KEY"]), "characters")
print(json.dumps({"sum": sum(orders)}))
"""

with DAG("example_pod_operator_after", schedule=None, tags=["script-provider"]):
    add = KubernetesScriptOperator(
        task_id="add",
        kubernetes_conn_id="cluster",
        namespace="default",
        image="python:3.11-slim",
        script=SCRIPT,
        args={"orders": [12, 30]},
        env={"API_KEY": "{{ conn.partner_api.password }}"},
        container_resources=k8s.V1ResourceRequirements(
            requests={"memory": "64Mi", "cpu": "100m"}, limits={"memory": "256Mi"}
        ),
        startup_timeout=300,
        timeout=600,
    )

    @task
    def report(value: dict) -> str:
        return f"the sum is {value['sum']}"

    report(add.output["value"])
