"""Install a system package in the script's container before the script starts."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_script_provider.operators.script import KubernetesScriptOperator

SCRIPT = """#!/bin/sh
echo "jq adds up $(echo "$1" | jq '.orders | add') orders"
"""

with DAG("example_system_packages", schedule=None, tags=["script-provider"]):
    KubernetesScriptOperator(
        task_id="sum",
        script=SCRIPT,
        args={"orders": [12, 30]},
        install_packages=["jq"],
    )
