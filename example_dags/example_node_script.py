"""Collect the disk use and kernel version of every node in one table."""

from __future__ import annotations

from airflow.sdk import DAG, task

from airflow_script_provider.operators.node import KubernetesNodeScriptOperator

SCRIPT = """
import json, os, platform, shutil

disk = shutil.disk_usage("/host")
print(json.dumps({"kernel": platform.release(), "used": round(100 * disk.used / disk.total)}))
"""

with DAG("example_node_script", schedule=None, tags=["script-provider"]):
    nodes = KubernetesNodeScriptOperator(
        task_id="nodes",
        script=SCRIPT,
        node_selector="kubernetes.io/os=linux",
        mode="host",  # mounts the node's file system at /host
        max_parallel=20,
    )

    @task(trigger_rule="all_done")  # the result exists even if a node failed
    def table(values: dict) -> str:
        rows = [f"| {name} | {said['kernel']} | {said['used']} % |" for name, said in sorted(values.items()) if said]
        print("\n".join(["| node | kernel | disk used |", "| --- | --- | --- |", *rows]))
        return f"a table of {len(rows)} nodes"

    table(nodes.output["value"])
