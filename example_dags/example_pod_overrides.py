"""Set fields without an argument of their own: a host alias, the pod's IP, a working directory."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_script_provider.operators.script import KubernetesScriptOperator

SCRIPT = """
import os, socket

print(os.environ["POD_IP"], "would call", socket.gethostbyname("warehouse"), "from", os.getcwd())
"""

with DAG("example_pod_overrides", schedule=None, tags=["script-provider"]):
    KubernetesScriptOperator(
        task_id="call",
        script=SCRIPT,
        pod_overrides={
            "spec": {
                "hostAliases": [{"ip": "10.20.0.7", "hostnames": ["warehouse"]}],
                "containers": [
                    {
                        "name": "script",  # the script's container; the other one is "install"
                        "workingDir": "/tmp",
                        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                    }
                ],
            }
        },
    )
