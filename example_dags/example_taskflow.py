"""Use a function that returns a script between two Python tasks."""

from __future__ import annotations

from airflow.sdk import dag, task

COUNT = """
import json, sys

args = json.loads(sys.argv[1])
print(json.dumps(sum(city.{test}({letters!r}) for city in args["cities"])))
"""


@dag(schedule=None, tags=["script-provider"])
def example_taskflow():
    @task
    def cities() -> list[str]:
        return ["Bern", "Oslo", "Quito"]

    @task.kubernetes_script(args={"cities": cities()}, container_resources={"limits": {"memory": "128Mi"}})
    def count(test: str, letters: str) -> str:
        """Return the script. Its data is in ``args``; these arguments shape its text."""
        return COUNT.format(test=test, letters=letters)

    @task
    def report(ends_in_o: int) -> str:
        return f"{ends_in_o} cities end in o"

    report(count("endswith", "o")["value"])


example_taskflow()
