"""Pass a password from an Airflow connection in an environment variable.

The log masks it, and the cluster stores it only in a Secret.
"""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_script_provider.operators.script import KubernetesScriptOperator

SCRIPT = """
import os

print("calling", os.environ["API_HOST"], "with a key of", len(os.environ["API_KEY"]), "characters")
"""

with DAG("example_env_from_connection", schedule=None, tags=["script-provider"]):
    KubernetesScriptOperator(
        task_id="call",
        script=SCRIPT,
        env={
            "API_HOST": "{{ conn.partner_api.host }}",
            "API_KEY": "{{ conn.partner_api.password }}",
            "LOG_LEVEL": "DEBUG",
        },
    )
