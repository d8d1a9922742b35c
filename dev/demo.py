"""Run a DAG as ``airflow dags test`` does, then print what its first task left in XCom."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def main(dag_id: str) -> int:
    """Run the DAG; the exit code is Airflow's."""
    logical_date = datetime.now(UTC)
    code = subprocess.run(["airflow", "dags", "test", dag_id, logical_date.isoformat()], check=False).returncode
    result = result_of_run(dag_id, logical_date)
    if result is None:
        print(f"No result of {dag_id} in XCom: its log above says why", file=sys.stderr)
        return code or 1
    print("\nXCom return_value:")
    print(json.dumps(result, indent=2, ensure_ascii=False))
    print("\nXCom value, which task.output['value'] reads:")
    print(json.dumps(result["value"], ensure_ascii=False))
    print(f"\nLook at the Job: {kubectl()} -n {result['namespace']} describe job {result['job_name']}")
    return code


def kubectl() -> str:
    """How kubectl is called for the cluster of this demo, from the folder that it was started in."""
    kubeconfig = os.environ["KUBECONFIG"]
    if Path(kubeconfig) == Path.cwd() / ".cluster" / "kubeconfig":
        return ".cluster/kubectl --kubeconfig .cluster/kubeconfig"
    return f"KUBECONFIG={shlex.quote(kubeconfig)} kubectl"


def result_of_run(dag_id: str, logical_date: datetime) -> dict[str, Any] | None:
    """The newest result dict of a task in the run of this date."""
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
