"""Run a migration in a pod of the deployed application, with its environment and its volume.

Create the application first: kubectl apply -f namespace.yaml -f api.yaml -f web.yaml
"""

from __future__ import annotations

from airflow.sdk import dag, task

from airflow_script_provider.operators.exec import KubernetesExecScriptOperator
from airflow_script_provider.sources import FileScript


@dag(schedule=None, catchup=False, tags=["script-provider"])
def exec_app() -> None:
    """Migrate the database in the API's pod, then read the release in the web pod."""
    migrate = KubernetesExecScriptOperator(
        task_id="migrate",
        namespace="exec-app",
        deployment="api",
        script=FileScript("migrate.py"),
        files={"migrations/steps.py": FileScript("steps.py")},
        args={"target": 2},
    )
    release = KubernetesExecScriptOperator(
        task_id="release",
        namespace="exec-app",
        deployment="web",
        container="web",
        command=["sh", "-c", 'echo "\\"$RELEASE\\""'],
    )

    @task
    def report(migrated: dict[str, int], release: str) -> None:
        """Print the release and the version of the database."""
        print(f"release {release} has its database at version {migrated['to']}")

    migrate >> release
    report(migrate.output["value"], release.output["value"])


exec_app()
