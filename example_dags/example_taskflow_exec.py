"""Return a script from a function, and run it in a pod of the application in ``exec_app/``."""

from __future__ import annotations

from airflow.sdk import dag, task

WHERE = """
import json, os

print(json.dumps(os.environ["DATABASE"]))
"""


@dag(schedule=None, tags=["script-provider"])
def example_taskflow_exec():
    @task.kubernetes_exec_script(namespace="exec-app", deployment="api")
    def database() -> str:
        return WHERE

    @task
    def report(path: str) -> str:
        return f"the application's database is {path}"

    report(database()["value"])


example_taskflow_exec()
