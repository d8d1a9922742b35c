"""A real Airflow, driven and looked at through its REST API."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.patience import PATIENCE, wait_for

FINAL = {"success", "failed", "skipped", "up_for_retry", "upstream_failed"}


@dataclass(frozen=True)
class AirflowServer:
    """Its REST API, and the processes of its tasks."""

    url: str
    home: Path
    token: str
    namespace: str = "default"

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One call of the REST API."""
        data = json.dumps(body).encode() if body is not None else None
        headers = {
            "Authorization": f"Bearer {self.token}",
            "Content-Type": "application/json",
            "Accept": "application/json",
        }
        request = urllib.request.Request(f"{self.url}/api/v2/{path}", data=data, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.loads(answer.read() or b"null")

    def trigger(self, dag_id: str, run_id: str | None = None) -> str:
        """Start a run of a DAG as soon as the DAG is known; its run id, which is Airflow's unless given."""
        body = {"logical_date": None} | ({"dag_run_id": run_id} if run_id is not None else {})

        def start() -> str | None:
            try:
                return str(self.call("POST", f"dags/{dag_id}/dagRuns", body)["dag_run_id"])
            except urllib.error.HTTPError as error:
                if error.code != 404:
                    raise
                return None

        return str(wait_for(start, f"DAG {dag_id}"))

    def state(self, dag_id: str, run_id: str, task_id: str) -> str:
        """The state of a task instance."""
        return str(self.call("GET", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}")["state"])

    def final_state(self, dag_id: str, run_id: str, task_id: str) -> str:
        """Its state once it has ended or is up for retry."""

        def look() -> str | None:
            state = self.state(dag_id, run_id, task_id)
            return state if state in FINAL else None

        return str(wait_for(look, f"the end of {dag_id}.{task_id}"))

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1) -> list[dict[str, Any]]:
        """The log of a try, as the interface shows it: entries with ``event`` and ``level``."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}?full_content=true"
        content: list[dict[str, Any]] = self.call("GET", path)["content"]
        return [entry if isinstance(entry, dict) else {"event": entry} for entry in content]

    def rendered_fields(self, dag_id: str, run_id: str, task_id: str) -> dict[str, Any]:
        """What the page Rendered Templates shows."""
        answer = self.call("GET", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}")
        fields: dict[str, Any] = answer["rendered_fields"]
        return fields

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", index: int = -1) -> Any:
        """An XCom's value."""
        entry = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        path = f"{entry}?deserialize=true&map_index={index}"
        return self.call("GET", path)["value"]

    def has_noted(self, dag_id: str, run_id: str, task_id: str, number: int = 1, index: int = -1) -> bool:
        """Whether the scheduler has noted that a worker of this try ended, as that of a deferral does.

        It deals with what it received before it queues the task again. It says no more where a triggerer or the API
        has locked the row at that moment: then it skips the row.
        """
        key = f"dag_id={dag_id!r}, task_id={task_id!r}, run_id={run_id!r}, try_number={number}, map_index={index}"
        received = f"for task instance TaskInstanceKey({key})"
        return received in (self.home / "scheduler.log").read_text("utf-8", "replace")

    def task_process(self, dag_id: str, run_id: str, task_id: str) -> int:
        """The pid of the process that runs the operator, the child of its supervisor."""
        instance = self.call("GET", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}")["id"]
        return int(wait_for(lambda: _process_titled(f"airflow worker -- {instance}"), f"the process of {instance}"))


def _process_titled(title: str) -> int | None:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        if words == title:
            return int(folder.name)
    return None
