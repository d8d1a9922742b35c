"""Mount a Secret of the cluster as files.

Create the Secret first: kubectl apply -f manifests/partner.yaml
"""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_script_provider.operators.script import KubernetesScriptOperator

SCRIPT = """
from pathlib import Path

token = Path("/var/run/partner/API_TOKEN").read_text()
print("read a token of", len(token), "characters")
"""

with DAG("example_secret_file", schedule=None, tags=["script-provider"]):
    KubernetesScriptOperator(
        task_id="read",
        script=SCRIPT,
        volumes=[{"name": "partner", "secret": {"secretName": "partner-token"}}],
        volume_mounts=[{"name": "partner", "mountPath": "/var/run/partner", "readOnly": True}],
    )
