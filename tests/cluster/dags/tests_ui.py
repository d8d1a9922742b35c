"""DAGs of the tests that look at the web interface, named as in the documentation, whose pictures show them."""

from __future__ import annotations

import os
from typing import Any

from airflow.sdk import DAG

from airflow_script_provider.operators.node import KubernetesNodeScriptOperator
from airflow_script_provider.operators.script import KubernetesScriptOperator
from tests.cluster.told_to_end import UNTIL_TOLD
from tests.patience import LONG

NAMESPACE = os.environ.get("TEST_NAMESPACE", "default")

REPORT = """
import json, os, sys

from tabulate import tabulate

args = json.loads(sys.argv[1])
rows = [(shop, 10 * (number + 1)) for number, shop in enumerate(args["shops"])]
print(tabulate(rows, headers=["shop", os.environ["CURRENCY"]]))
print(json.dumps({"shops": len(rows), "total": sum(amount for _, amount in rows)}))
"""
IMPORT = """
orders = [{"id": 1, "amount": "12.50"}, {"id": 2, "amount": None}]
for order in orders:
    print("importing order", order["id"])
    amount = float(order["amount"])
"""
FORECAST = f"""
import json, time

for week in range(1, 7):
    print("week", week, "of 6", flush=True)
    time.sleep(1)
{UNTIL_TOLD}
print(json.dumps({{"weeks": 6}}))
"""
DISKS = """
import json, os, shutil

disk = shutil.disk_usage("/")
print("looking at the disk of", os.environ["NODE_NAME"])
print(json.dumps({"free_gb": disk.free // 2**30}))
"""

CHECK = """
print("no such table ::endgroup::")
print("::group::all is well")
print("nothing to see")
raise SystemExit(4)
"""

with DAG("sales_report", schedule=None, tags=["sales"]):
    KubernetesScriptOperator(
        task_id="report",
        namespace=NAMESPACE,
        script=REPORT,
        args={"shops": ["Bern", "Oslo", "Quito"], "day": "{{ run_id }}"},
        env={"CURRENCY": "CHF", "API_KEY": "environment-secret"},
        install_dependencies=["tabulate==0.9.0"],
        container_resources={"requests": {"memory": "64Mi", "cpu": "50m"}, "limits": {"memory": "256Mi"}},
    )

with DAG("sales_import", schedule=None, tags=["sales"]):
    KubernetesScriptOperator(task_id="load", namespace=NAMESPACE, script=IMPORT, backoff_limit=0)
    KubernetesScriptOperator(task_id="clean", namespace=NAMESPACE, script="file://scripts/clean.py")

with DAG("sales_forecast", schedule=None, tags=["sales"]):
    KubernetesScriptOperator(
        task_id="forecast", namespace=NAMESPACE, script=FORECAST, deferrable=True, defer_after=0, timeout=LONG
    )

with DAG("node_disks", schedule=None, tags=["nodes"]):
    KubernetesNodeScriptOperator(
        task_id="disks", namespace=NAMESPACE, script=DISKS, node_selector="kubernetes.io/os=linux"
    )

with DAG("sales_check", schedule=None, tags=["sales"]):
    check: dict[str, Any] = {"namespace": NAMESPACE, "timeout": LONG}
    deferred: dict[str, Any] = {"deferrable": True, "defer_after": 0, "script": UNTIL_TOLD + CHECK}
    KubernetesScriptOperator(task_id="in_a_worker", backoff_limit=0, script=CHECK, **check)
    KubernetesScriptOperator(task_id="deferred", backoff_limit=0, **deferred, **check)
    KubernetesNodeScriptOperator(task_id="on_nodes", node_selector="kubernetes.io/os=linux", script=CHECK, **check)
