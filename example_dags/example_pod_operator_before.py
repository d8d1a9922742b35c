"""Run a script with the KubernetesPodOperator.

``example_pod_operator_after.py`` does the same with this provider.
"""

from __future__ import annotations

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import DAG, task
from kubernetes.client import models as k8s

SCRIPT = """
import json, os, sys

orders = json.loads(sys.argv[1])["orders"]
print("adding", len(orders), "orders with a key of", len(os.environ["API_KEY"]), "characters")
os.makedirs("/airflow/xcom", exist_ok=True)
with open("/airflow/xcom/return.json", "w") as file:
    json.dump({"sum": sum(orders)}, file)
"""

with DAG("example_pod_operator_before", schedule=None, tags=["script-provider"]):
    add = KubernetesPodOperator(
        task_id="add",
        kubernetes_conn_id="cluster",
        namespace="default",
        image="python:3.11-slim",
        cmds=["python3", "-u", "-c", SCRIPT],
        arguments=['{"orders": [12, 30]}'],
        env_vars={"API_KEY": "{{ conn.partner_api.password }}"},
        container_resources=k8s.V1ResourceRequirements(
            requests={"memory": "64Mi", "cpu": "100m"}, limits={"memory": "256Mi"}
        ),
        startup_timeout_seconds=300,
        active_deadline_seconds=600,
        on_finish_action="delete_pod",
        do_xcom_push=True,
    )

    @task
    def report(value: dict) -> str:
        return f"the sum is {value['sum']}"

    report(add.output)
