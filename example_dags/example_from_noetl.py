"""Run a step of NoETL's Script tool unchanged, then branch on its status in a task."""

from __future__ import annotations

from airflow.sdk import DAG, task

from airflow_script_provider.operators.script import KubernetesScriptOperator

PLAYBOOK = """
workload:
  day: "2026-01-01"

workflow:
  - step: daily_totals
    desc: Totals of a day by source
    tool:
      kind: script
      script:
        uri: scripts/daily_totals.py
        source:
          type: file
      args:
        day: "{{ workload.day }}"
        sources:
          - name: shop
            orders: [10, 20]
          - name: web
            orders: [12]
      job:
        image: python:3.11-slim
        backoffLimit: 1
        activeDeadlineSeconds: 300
        resources:
          requests: {memory: 64Mi, cpu: 100m}
          limits: {memory: 256Mi}
        env:
          CURRENCY: CHF
"""

with DAG("example_from_noetl", schedule=None, tags=["script-provider"]):
    totals = KubernetesScriptOperator.from_spec(spec=PLAYBOOK, namespace="default")

    @task.branch(trigger_rule="all_done")
    def verify(result: dict) -> str:
        return "publish" if result["status"] == "completed" else "alert"

    @task
    def publish(value: dict) -> str:
        return " and ".join(f"{name} {total} {value['currency']}" for name, total in value["totals"].items())

    @task
    def alert(result: dict) -> str:
        return f"no totals: {result['error']}"

    verify(totals.output) >> [publish(totals.output["value"]), alert(totals.output)]
