"""Run a DAG with ``airflow dags test``, then print the result that its task left in XCom."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

CLUSTER_MODULES = Path(__file__).with_name("cluster")


def main(dag_id: str) -> int:
    """Prepare Airflow's database and run the DAG; the exit code is Airflow's."""
    if not prepare_database(dag_id):
        return 1
    logical_date = datetime.now(UTC)
    code = subprocess.run(["airflow", "dags", "test", dag_id, logical_date.isoformat()], check=False).returncode
    result = result_of_run(dag_id, logical_date)
    if result is None:
        print(f"DAG {dag_id} left no result in XCom; the log above shows the reason", file=sys.stderr)
        return code or 1
    print("\nXCom return_value:")
    print(json.dumps(result, indent=2, ensure_ascii=False))
    print("\nXCom value, as task.output['value'] reads it:")
    print(json.dumps(result["value"], ensure_ascii=False))
    print(f"\nLook at the Job: {kubectl()} -n {result['namespace']} describe job {result['job_name']}")
    return code


def prepare_database(dag_id: str) -> bool:
    """Create or upgrade Airflow's database, with the progress line of a cluster's start."""
    sys.path.append(str(CLUSTER_MODULES))
    from commands import run
    from errors import ClusterError
    from progress import Step
    from steps import Steps, say

    database = Step("prepare Airflow's database (SQLite, .airflow/)")
    dag = Step(f"run DAG {dag_id} on {os.environ.get('CLUSTER', 'the cluster of KUBECONFIG')}")
    try:
        with Steps([database, dag]).doing(database):
            run(["airflow", "db", "migrate"])
    except ClusterError as error:
        print(f"dev/demo: {error}", file=sys.stderr)
        return False
    say(f"[2/2] {dag.title}; its log:")
    return True


def kubectl() -> str:
    """The kubectl command for the demo's cluster, to be pasted in the current folder."""
    kubeconfig = os.environ["KUBECONFIG"]
    if Path(kubeconfig) == Path.cwd() / ".cluster" / "kubeconfig":
        return ".cluster/kubectl --kubeconfig .cluster/kubeconfig"
    return f"KUBECONFIG={shlex.quote(kubeconfig)} kubectl"


def result_of_run(dag_id: str, logical_date: datetime) -> dict[str, Any] | None:
    """The newest result of a task in the run of this date."""
    from airflow.models.dagrun import DagRun
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    this_run = select(DagRun.run_id).where(DagRun.dag_id == dag_id, DagRun.logical_date == logical_date)
    query = select(XComModel.value).where(
        XComModel.dag_id == dag_id, XComModel.run_id.in_(this_run), XComModel.key == "return_value"
    )
    with create_session() as session:
        values = list(session.scalars(query.order_by(XComModel.timestamp.desc())))
    return next((value for value in values if isinstance(value, dict) and "job_name" in value), None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
