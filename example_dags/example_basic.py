"""Run a script with arguments, and read its result in a second task."""

from __future__ import annotations

from airflow.sdk import dag, task

from airflow_script_provider.operators.script import KubernetesScriptOperator

SCRIPT = """
import json, sys

args = json.loads(sys.argv[1])
for city in args["cities"]:
    print("reading", city)
print(json.dumps({"cities": len(args["cities"]), "run": args["run"]}))
"""


@dag(schedule=None, tags=["script-provider"])
def example_basic():
    count = KubernetesScriptOperator(
        task_id="count",
        script=SCRIPT,
        args={"cities": ["Bern", "Oslo", "Quito"], "run": "{{ run_id }}"},
    )

    @task
    def report(value: dict) -> str:
        return f"{value['cities']} cities in run {value['run']}"

    report(count.output["value"])


example_basic()
