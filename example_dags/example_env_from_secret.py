"""Set environment variables from a Secret, a ConfigMap and an Airflow Variable.

Create the Secret and the ConfigMap first: kubectl apply -f manifests/partner.yaml
"""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_script_provider.operators.script import KubernetesScriptOperator

SCRIPT = """
import os

token, host, region = (os.environ[name] for name in ("API_TOKEN", "API_HOST", "REGION"))
print(f"calling {host} in {region} with a token of {len(token)} characters")
"""

with DAG("example_env_from_secret", schedule=None, tags=["script-provider"]):
    KubernetesScriptOperator(
        task_id="call",
        script=SCRIPT,
        env_from=[{"secretRef": {"name": "partner-token"}}, {"configMapRef": {"name": "partner-settings"}}],
        env={"REGION": "{{ var.value.partner_region }}"},
    )
