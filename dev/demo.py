"""Run a DAG as ``airflow dags test`` does, then print what its first task left in XCom."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any


def main(dag_id: str) -> int:
    """Run the DAG; the exit code is Airflow's."""
    logical_date = datetime.now(UTC).isoformat()
    code = subprocess.run(["airflow", "dags", "test", dag_id, logical_date], check=False).returncode
    result = last_result(dag_id)
    if result is None:
        print(f"No result of {dag_id} in XCom: its log above says why", file=sys.stderr)
        return code or 1
    print("\nXCom return_value:")
    print(json.dumps(result, indent=2, ensure_ascii=False))
    print("\nXCom value, which task.output['value'] reads:")
    print(json.dumps(result["value"], ensure_ascii=False))
    print(f"\nLook at the Job: kubectl -n {result['namespace']} describe job {result['job_name']}")
    return code


def last_result(dag_id: str) -> dict[str, Any] | None:
    """The newest result dict of a task of this DAG."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    query = select(XComModel.value).where(XComModel.dag_id == dag_id, XComModel.key == "return_value")
    with create_session() as session:
        values = list(session.scalars(query.order_by(XComModel.timestamp.desc())))
    return next((value for value in values if isinstance(value, dict) and "job_name" in value), None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
