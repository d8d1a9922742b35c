"""Install Python packages that the image lacks. The log shows it as a folded group."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_script_provider.operators.script import KubernetesScriptOperator

with DAG("example_dependencies", schedule=None, tags=["script-provider"]):
    KubernetesScriptOperator(
        task_id="slug",
        script="import sys, json, slugify\nprint(slugify.slugify(json.loads(sys.argv[1])['title']))",
        args={"title": "Grüezi, Zürich!"},
        install_dependencies=["python-slugify==8.0.4"],
    )
