"""Rows, events and annotations that an earlier version wrote are restored and resumed.

``recorded_rows.json`` was recorded on a cluster with commit 804e9a2. It stays as it is: databases hold such rows, and
clusters such Jobs, while a new version is installed.
"""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from airflow_script_provider.operators.node import KubernetesNodeScriptOperator
from airflow_script_provider.operators.script import KubernetesScriptOperator
from tests.builders import a_kubeconfig
from tests.servers import WebServer
from tests.stand_in_api import stand_in

RECORDED: dict[str, Any] = json.loads(Path(__file__).with_name("recorded_rows.json").read_text())
JOBS, PODS = "/apis/batch/v1/namespaces/etl/jobs", "/api/v1/namespaces/etl/pods"
OF_THE_MOMENT = ("execution_time", "duration_ms")
ADDED: dict[str, Any] = {"category": None, "disruptions": []}
SINCE: dict[str, dict[str, Any]] = {
    "script": ADDED,
    "failure": ADDED | {"category": "Error"},
    "deadline": ADDED
    | {"category": "DeadlineExceeded", "error": "Job ran longer than its timeout of 8 s (DeadlineExceeded)"}
    | {"value": None},
}
"""What newer versions say of the same runs besides, or in other words. The log of a script that its deadline ends is
gone before its end was read: what it printed last is no value."""


LIMITS_ADDED = {"schedule_timeout": 3600, "timeout": None}


@pytest.fixture(autouse=True)
def at_the_time_of_the_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of day a few seconds after the first launch: nothing that was recorded is overdue."""
    now = time.time
    passed = now() - RECORDED["script"]["row"][1]["job"]["launched_at"] - 5
    monkeypatch.setattr(time, "time", lambda: now() - passed)


@pytest.fixture
def server() -> Iterator[WebServer]:
    """The API server that the recorded Jobs are on."""
    with stand_in() as server:
        yield server


@pytest.fixture
def config_file(server: WebServer, tmp_path: Path) -> str:
    """A kubeconfig of that server."""
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(a_kubeconfig(server.url, namespace="etl", token="t")))
    return str(path)


def a_list(*items: Mapping[str, Any]) -> bytes:
    """What the API server answers to a list."""
    return json.dumps({"metadata": {"resourceVersion": "1"}, "items": items}).encode()


def given_to(server: WebServer, name: str) -> Any:
    """What was recorded under this name, of which the server has Jobs, pods and logs."""
    recorded = RECORDED[name]
    ref = recorded["row"][1]["job"]["ref"]
    jobs = recorded.get("jobs", [{"metadata": {"name": ref["name"], "uid": ref["uid"]}}])
    server.answers(JOBS, a_list(*jobs))
    for job in jobs:
        server.answers(f"{JOBS}/{job['metadata']['name']}", json.dumps(job).encode())
    server.answers(PODS, a_list(*recorded.get("pods", [])))
    for pod, log in recorded.get("logs", {}).items():
        server.answers(f"{PODS}/{pod}/log", log.encode())
    return recorded


def a_running(pod: Mapping[str, Any]) -> dict[str, Any]:
    """The pod before its script has ended."""
    status = {"containerStatuses": [{"name": "script", "state": {"running": {}}}]}
    return {**pod, "status": status}


def since_the_end(pod: Mapping[str, Any], log: str) -> bytes:
    """The lines of the second that the script ended in."""
    second = pod["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"].removesuffix("Z")
    return "".join(line for line in log.splitlines(keepends=True) if line >= second).encode()


def restored(row: tuple[str, dict[str, Any]], **changes: Any) -> Any:
    """The trigger that a triggerer makes of a row."""
    path, arguments = row
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)(**arguments | changes)


async def event_of(trigger: Any) -> dict[str, Any]:
    """The payload of its event, as the worker gets it."""
    (event,) = [event async for event in trigger.run()]
    payload: dict[str, Any] = json.loads(json.dumps(event.payload))
    return payload


def completed(operator: Any, event: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """The result that a resumed task pushes, without what depends on the moment; and the first line of its error."""
    pushed: dict[str, Any] = {}

    def push(key: str, value: Any) -> None:
        pushed[key] = value

    task = {"dag_id": "etl", "task_id": "load", "run_id": "r1", "map_index": -1, "try_number": 1}
    error = None
    try:
        operator.execute_complete({"ti": SimpleNamespace(**task, xcom_push=push)}, dict(event))
    except Exception as failure:  # noqa: BLE001  # of whatever kind, its first line is what counts
        error = str(failure).splitlines()[0]
    return settled(json.loads(json.dumps(pushed["return_value"]))), error


def with_new_limits(job: Mapping[str, Any]) -> dict[str, Any]:
    """A recorded Job as newer versions hand it on."""
    return {**job, "keep_failed": None, "limits": job["limits"] | LIMITS_ADDED}


def settled(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result without what depends on the moment."""
    return {name: value for name, value in result.items() if name not in OF_THE_MOMENT}


def as_recorded(node: Mapping[str, Any]) -> dict[str, Any]:
    """A node of a result as it was: with its message as the reason, and without categories."""
    runs = [{name: value for name, value in run.items() if name != "category"} for run in node["runs"]]
    return {"status": node["status"], "reason": node["message"], "runs": runs}


@pytest.mark.parametrize("name", RECORDED)
def test_a_row_is_restored(name: str) -> None:
    """The trigger is the same one, argument by argument (R4)."""
    path, arguments = RECORDED[name]["row"]
    assert restored((path, arguments)).serialize() == (path, arguments)


async def test_a_row_is_resumed(server: WebServer, config_file: str) -> None:
    """The next triggerer goes on after the line that is saved with the Job, and its event is the same (R4, R19)."""
    recorded = given_to(server, "script")
    (job,), (pod,), ((name, log_text),) = recorded["jobs"], recorded["pods"], recorded["logs"].items()
    server.answers(JOBS, a_list(job | {"status": {"active": 1}}))
    server.answers(PODS, a_list(a_running(pod)), json.dumps({"type": "MODIFIED", "object": pod}).encode() + b"\n")
    server.answers(f"{PODS}/{name}/log", log_text.encode(), since_the_end(pod, log_text))
    with capture_logs() as log:
        event = await event_of(restored(recorded["row"], config_file=config_file))
    lines = [entry["event"] for entry in log if entry["event"].startswith("n ")]
    assert lines == [f"n {number}" for number in range(recorded["lines_logged_before"], 12)]
    before, now = recorded["event"], event
    assert (now.keys(), now["job"]) == (before.keys(), with_new_limits(before["job"]))
    assert now["ended"].keys() == before["ended"].keys() | {"disruptions", "own_ends", "pods_known", "stopped"}
    for part in ("logs", "said", "deferral"):
        assert now["ended"]["handover"][part] == before["ended"]["handover"][part]


@pytest.mark.parametrize(
    ("name", "event"),
    [("script", "event"), ("script", "handed_back"), ("deadline", "event"), ("failure", "event")],
)
def test_an_event_is_resumed(name: str, event: str, server: WebServer, config_file: str) -> None:
    """The worker makes the same result and error of it, whether the pod and its log are there or gone (R4, R21)."""
    recorded = given_to(server, name)
    operator = KubernetesScriptOperator(task_id="load", script="echo", kubernetes_conn_id=None, config_file=config_file)
    error = recorded["error"] and recorded["error"].replace("8 s.", "8 s (DeadlineExceeded).")
    assert completed(operator, recorded[event]) == (settled(recorded["result"]) | SINCE[name], error)


async def test_a_row_of_nodes_is_resumed(server: WebServer, config_file: str) -> None:
    """What became of each node stands in the annotations of the Jobs; the event names the Job alone (R4)."""
    recorded = given_to(server, "nodes")
    event = await event_of(restored(recorded["row"], config_file=config_file))
    assert event == recorded["event"] | {"job": with_new_limits(recorded["event"]["job"])}


def test_an_event_of_nodes_is_resumed(server: WebServer, config_file: str) -> None:
    """The worker reads plan and outcomes from the Jobs (R4, R21)."""
    recorded = given_to(server, "nodes")
    connection: dict[str, Any] = {"kubernetes_conn_id": None, "config_file": config_file}
    operator = KubernetesNodeScriptOperator(task_id="load", script="echo", nodes=["node-1"], **connection)
    result, error = completed(operator, recorded["event"])
    assert error == recorded["error"]
    assert [as_recorded(node) for node in result["nodes"].values()] == list(recorded["result"]["nodes"].values())
    assert result | {"nodes": {}} == settled(recorded["result"]) | {"nodes": {}}
