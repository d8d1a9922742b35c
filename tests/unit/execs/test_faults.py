"""What happens beside a script in a running pod: refusals, odd frames, errors, a kill."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog
from aiohttp import web

from airflow_script_provider.api import client as calls
from airflow_script_provider.execs import choose
from airflow_script_provider.execs import run as run_module
from airflow_script_provider.execs.run import ExecRun
from airflow_script_provider.kube.durations import Deadline
from airflow_script_provider.kube.exec.protocol import PROTOCOLS, Channel, frame
from airflow_script_provider.kube.exec.request import ExecOptions, ExecRequest
from airflow_script_provider.kube.exec.workloads import Workload
from airflow_script_provider.kube.job import outcomes
from airflow_script_provider.kube.job.outcomes import Outcome
from airflow_script_provider.kube.request.inputs import ScriptInputs
from airflow_script_provider.result import Status
from airflow_script_provider.run_log import LoggerRunLog
from tests.builders import a_script
from tests.exec_pod import NONCE, POD, SUCCESS, serving_pod
from tests.stand_in_api import api_of


@dataclass
class Node:
    """The API server of one pod, whose script prints ``printed`` and ends with ``code``, None for never.

    The first ``refusals`` helpers are refused with 403. With ``sigterm`` its shell has got SIGTERM;
    ``before_end`` is called before the end.
    """

    code: int | None = 0
    printed: bytes = b""
    first_frame: bytes | None = None
    refusals: int = 0
    sigterm: bool = False
    before_end: Callable[[], None] = lambda: None
    helpers: list[str] = field(default_factory=list)
    has_ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def exec(self, request: web.Request) -> Any:
        """Run the script, or a helper beside it."""
        helper = next((word for word in ("end", "look") if word in request.query.getall("command", [])), None)
        if (helper or not request.query) and self.refusals:
            self.refusals -= not request.query  # the client asks once more for the message
            status = {"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403}
            return web.Response(text=json.dumps(status), status=403, content_type="application/json")
        socket = web.WebSocketResponse(protocols=PROTOCOLS)
        await socket.prepare(request)
        if helper is None:
            await self._run(socket)
            return socket
        self.helpers.append(helper)
        await socket.send_bytes(frame(Channel.STDOUT, b"ended" if helper == "end" else b"gone"))
        await socket.send_bytes(SUCCESS)
        return socket

    async def _run(self, socket: web.WebSocketResponse) -> None:
        sent = b""
        if self.first_frame is not None:
            await socket.send_bytes(self.first_frame)
        async for message in socket:
            sent += message.data[1:]
            if not (sent.endswith(b"}") and (found := NONCE.search(sent))):
                continue
            await socket.send_bytes(frame(Channel.STDOUT, found[1] + b" started 12 345\n" + self.printed))
            if self.code is not None:
                self.before_end()
                words = b"%d TERM" % self.code if self.sigterm else b"%d" % self.code
                await socket.send_bytes(frame(Channel.STDOUT, b"\x1e%s ended %s\n" % (found[1], words)))
                await socket.send_bytes(SUCCESS)
                self.has_ended.set()


class FaultyLog(LoggerRunLog):
    """A log that fails at the first line of the script."""

    def output(self, lines: Sequence[Any], level: int = logging.INFO) -> None:
        """Fail where there is a line."""
        if lines:
            raise IndexError("no such line")


def a_run(api: Any, kind: type[LoggerRunLog] = LoggerRunLog, timeout: int = 600) -> ExecRun:
    """A run of a script in the pod, without a grace period."""
    options = ExecOptions(pod="api-x1", termination_grace_period=0)
    inputs, deadline = ScriptInputs(script=""), Deadline(timeout)
    request = ExecRequest(Workload("pod", "api-x1", "shop"), options, inputs, a_script(), {}, deadline)
    return ExecRun(api, request, kind(structlog.get_logger("script"), None), 1024)


async def outcome_of(node: Node, kind: type[LoggerRunLog] = LoggerRunLog, timeout: int = 600) -> Outcome:
    """The outcome of a run."""
    async with serving_pod(node.exec) as server, api_of(server) as api:
        return await a_run(api, kind, timeout).outcome()


async def test_an_empty_frame_is_skipped() -> None:
    """It names no channel, and says nothing (R36)."""
    assert (await outcome_of(Node(first_frame=b""))).result.status is Status.COMPLETED


async def test_a_helper_that_is_refused_is_started_again() -> None:
    """While it restarts, an API server may refuse what it has granted before (R2, R5)."""
    node = Node(code=None, refusals=1)
    outcome = await outcome_of(node, timeout=1)
    assert (outcome.result.status, outcome.retryable, node.helpers) == (Status.TIMEOUT, True, ["end"])


async def test_an_error_that_is_not_foreseen_ends_the_process_first() -> None:
    """Airflow would try again beside a process that still runs (R2, R36)."""
    node = Node(code=None, printed=b"hi\n")
    outcome = await outcome_of(node, FaultyLog)
    error = outcomes.failure(outcome)
    assert error is not None
    assert "It is no longer running (IndexError in the worker)." in str(error)
    assert (node.helpers, outcome.is_unknown, error.retryable) == (["end", "look"], True, True)


async def test_a_kill_while_the_pod_is_asked_says_that_the_script_had_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """It had ended by a signal, and did not start nothing (R3, R37)."""
    monkeypatch.setattr(run_module, "CHECK_PAUSE", 60)
    node = Node(code=137)
    async with serving_pod(node.exec) as server, api_of(server) as api:
        running = asyncio.ensure_future(a_run(api).outcome())
        await node.has_ended.wait()
        await asyncio.sleep(0.3)
        running.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await running
    assert caught.value.__notes__ == ["In pod shop/api-x1 it was ended."]


@pytest.mark.parametrize(("code", "category"), [(0, "PodEnded"), (3, "PodEnded")])
@pytest.mark.parametrize("change", ["deletion", "restart"])
async def test_a_script_that_stops_with_its_pod_has_not_succeeded(
    monkeypatch: pytest.MonkeyPatch, change: str, code: int, category: str
) -> None:
    """PID 1 may send SIGTERM to all processes; the script may stop half-way, and end with 0 (R1, R36)."""
    monkeypatch.setattr(run_module, "CHECK_PAUSE", 0.01)

    def end_pod() -> None:
        if change == "deletion":
            monkeypatch.setitem(POD["metadata"], "deletionTimestamp", "2026-01-01T00:00:00Z")
        else:
            monkeypatch.setitem(POD["status"]["containerStatuses"][0], "containerID", "containerd://2")

    outcome = await outcome_of(Node(code=code, sigterm=True, before_end=end_pod))
    assert (outcome.result.status, outcome.result.category, outcome.result.exit_code) == (Status.FAILED, category, code)
    assert (outcome.is_unknown, outcome.retryable) == (code == 0, True)


@pytest.mark.parametrize(("code", "is_unknown"), [(0, True), (3, False)])
async def test_a_script_whose_pod_cannot_be_read_after_a_sigterm(
    monkeypatch: pytest.MonkeyPatch, code: int, is_unknown: bool
) -> None:
    """It may have stopped half-way with its pod, so 0 is not a success (R1, R36)."""
    monkeypatch.setattr(calls, "CALL_PATIENCE", 0.0)
    monkeypatch.setattr(choose, "DOUBT", 0.0)
    outcome = await outcome_of(Node(code=code, sigterm=True, before_end=lambda: monkeypatch.delitem(POD, "metadata")))
    assert (outcome.result.status, outcome.result.exit_code) == (Status.FAILED, code)
    assert outcome.is_unknown == is_unknown


@pytest.mark.parametrize("sigterm", [True, False])
async def test_a_script_whose_pod_goes_on_has_its_own_end(monkeypatch: pytest.MonkeyPatch, sigterm: bool) -> None:
    """It may have signalled its own group (R1)."""
    monkeypatch.setattr(run_module, "CHECK_PAUSE", 0.01)
    assert (await outcome_of(Node(sigterm=sigterm))).result.status is Status.COMPLETED
