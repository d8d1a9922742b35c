"""Run a script from a file beside the DAG, with another file mounted beside it."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_script_provider.operators.script import KubernetesScriptOperator
from airflow_script_provider.sources import FileScript

with DAG("example_script_in_file", schedule=None, tags=["script-provider"]):
    KubernetesScriptOperator(
        task_id="word_count",
        script="file://scripts/word_count.py",
        files={"stop_words.txt": FileScript("scripts/stop_words.txt")},
        args={"text": "the cat and the dog and the cat"},
        container_resources={"requests": {"memory": "64Mi", "cpu": "100m"}, "limits": {"memory": "256Mi"}},
        run_as_uid=1000,
    )
