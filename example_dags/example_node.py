"""Run a Node.js script. The image selects the interpreter."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_script_provider.operators.script import KubernetesScriptOperator

SCRIPT = """
const {numbers} = JSON.parse(process.argv[2]);
console.log(JSON.stringify({sum: numbers.reduce((a, b) => a + b, 0)}));
"""

with DAG("example_node", schedule=None, tags=["script-provider"]):
    KubernetesScriptOperator(task_id="sum", script=SCRIPT, image="node:20-slim", args={"numbers": [3, 4, 5]})
