"""Choose the node by required labels, tolerated taints and a preference."""

from __future__ import annotations

from airflow.sdk import DAG, task

from airflow_script_provider.operators.script import KubernetesScriptOperator

PREFERS_SSD = {
    "nodeAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 1, "preference": {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}}
        ]
    }
}

with DAG("example_placement", schedule=None, tags=["script-provider"]):
    where = KubernetesScriptOperator(
        task_id="where",
        script="import platform\nprint(platform.machine())",
        node_selector={"kubernetes.io/os": "linux"},
        tolerations=[{"key": "dedicated", "operator": "Equal", "value": "batch", "effect": "NoSchedule"}],
        affinity=PREFERS_SSD,
    )

    @task
    def report(result: dict) -> str:
        return f"it ran on {result['attempts'][-1]['node_name']}"

    report(where.output)
