"""Pass a file from one script to the next through a volume.

Create the claim first: kubectl apply -f manifests/example-data.yaml
"""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_script_provider.operators.script import KubernetesScriptOperator

DATA = {
    "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "example-data"}}],
    "volume_mounts": [{"name": "data", "mountPath": "/data"}],
}
EXTRACT = """
from pathlib import Path

path = Path("/data/orders.csv")
path.write_text("Bern,12\\nOslo,30\\n")
print("wrote", path)
"""
LOAD = """
import csv

with open("/data/orders.csv") as file:
    print(sum(int(amount) for _, amount in csv.reader(file)), "orders in the file")
"""

with DAG("example_volumes", schedule=None, tags=["script-provider"]):
    extract = KubernetesScriptOperator(task_id="extract", script=EXTRACT, **DATA)
    load = KubernetesScriptOperator(task_id="load", script=LOAD, **DATA)
    extract >> load
