"""Retry a script whose first attempt fails. Kubernetes retries first, Airflow after that."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, task

from airflow_script_provider.operators.script import KubernetesScriptOperator

SCRIPT = """
import json, sys, time

since = float(json.loads(sys.argv[1])["since"])
if time.time() < since + 10:
    raise SystemExit("the partner's server is not up yet")
print("the partner's server is up")
"""

with DAG("example_retries", schedule=None, tags=["script-provider"]):
    call = KubernetesScriptOperator(
        task_id="call",
        script=SCRIPT,
        args={"since": "{{ macros.time.time() }}"},
        backoff_limit=2,  # Kubernetes: two more attempts in the same Job, after 10 s and 20 s
        retries=2,  # Airflow: two more tries, each with a new Job
        retry_delay=timedelta(minutes=1),
    )

    @task
    def report(result: dict) -> str:
        return f"done, with exit codes {[attempt['exit_code'] for attempt in result['attempts']]}"

    report(call.output)
