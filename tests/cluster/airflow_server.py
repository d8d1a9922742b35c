"""A real Airflow: scheduler, DAG processor, triggerer and API server, driven through its REST API."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.kubectl import wait_for

_ROOT = Path(__file__).parents[2]
_BIN = _ROOT / ".venv" / "bin"
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
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")

    def trigger(self, dag_id: str) -> str:
        """Start a run of a DAG as soon as the DAG is known; its run id."""

        def start() -> str | None:
            try:
                return str(self.call("POST", f"dags/{dag_id}/dagRuns", {"logical_date": None})["dag_run_id"])
            except urllib.error.HTTPError as error:
                if error.code != 404:
                    raise
                return None

        return str(wait_for(start, f"DAG {dag_id}", 90))

    def state(self, dag_id: str, run_id: str, task_id: str) -> str:
        """The state of a task instance."""
        return str(self.call("GET", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}")["state"])

    def final_state(self, dag_id: str, run_id: str, task_id: str, seconds: float = 120) -> str:
        """Its state once it has ended or is up for retry."""

        def look() -> str | None:
            state = self.state(dag_id, run_id, task_id)
            return state if state in FINAL else None

        return str(wait_for(look, f"the end of {dag_id}.{task_id}", seconds))

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

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """An XCom's value."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}?deserialize=true"
        return self.call("GET", path)["value"]

    def task_process(self, dag_id: str, run_id: str, task_id: str) -> int:
        """The pid of the process that runs the operator, the child of its supervisor."""
        instance = self.call("GET", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}")["id"]
        return int(wait_for(lambda: _process_titled(f"airflow worker -- {instance}"), f"the process of {instance}"))


@contextmanager
def airflow_server(home: Path, kubeconfig: str, dags: Path, connections: dict[str, str]) -> Iterator[AirflowServer]:
    """Airflow with these DAGs, until the end of the block; everything it started is ended with it."""
    port = _free_port()
    environment = _environment(home, port, kubeconfig, dags) | connections
    log = (home / "standalone.log").open("wb")
    command = ["unshare", "-p", "--fork", "--kill-child", "--mount-proc", str(_BIN / "airflow"), "standalone"]
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: _is_healthy(url), f"Airflow ({home / 'standalone.log'})", 180)
        yield AirflowServer(url, home, _token(url))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        log.close()


def _environment(home: Path, port: int, kubeconfig: str, dags: Path) -> dict[str, str]:
    return dict(os.environ) | {
        "PATH": f"{_BIN}:{os.environ['PATH']}",
        "KUBECONFIG": kubeconfig,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(16),
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
    }


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/api/v2/monitor/health", timeout=5) as answer:
            health = json.load(answer)
    except (OSError, ValueError):
        return False
    return all(health[part]["status"] == "healthy" for part in ("scheduler", "dag_processor", "metadatabase"))


def _token(url: str) -> str:
    with urllib.request.urlopen(f"{url}/auth/token", timeout=30) as answer:
        return str(json.load(answer)["access_token"])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _process_titled(title: str) -> int | None:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        if words == title:
            return int(folder.name)
    return None
