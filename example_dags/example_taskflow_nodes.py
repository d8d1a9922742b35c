"""Return a script from a function, and run it on every node."""

from __future__ import annotations

from airflow.sdk import dag, task


@dag(schedule=None, tags=["script-provider"])
def example_taskflow_nodes():
    @task.kubernetes_node_script(all_nodes=True)
    def kernel() -> str:
        return "import json, platform\nprint(json.dumps(platform.release()))"

    @task
    def report(kernels: dict[str, str]) -> str:
        return f"{len(set(kernels.values()))} kernel version"

    report(kernel()["value"])


example_taskflow_nodes()
