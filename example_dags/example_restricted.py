"""Run a script in a namespace with the Pod Security level "restricted".

Create the namespace first: kubectl apply -f manifests/restricted.yaml
"""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_script_provider.operators.script import KubernetesScriptOperator

SCRIPT = """
import os, tempfile

with tempfile.TemporaryFile("w") as file:
    file.write("temporary files and HOME are writable, nothing else is")
print("user", os.getuid(), "at", os.environ["HOME"])
"""

with DAG("example_restricted", schedule=None, tags=["script-provider"]):
    KubernetesScriptOperator(
        task_id="who",
        script=SCRIPT,
        namespace="restricted-example",
        run_as_uid=1000,
        container_resources={"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
    )
