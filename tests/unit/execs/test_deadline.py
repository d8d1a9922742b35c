"""A deadline that meets the end of a script in a running pod."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from aiohttp import web

from airflow_script_provider.execs.run import ExecRun
from airflow_script_provider.kube.durations import Deadline
from airflow_script_provider.kube.exec.protocol import PROTOCOLS, Channel, frame
from airflow_script_provider.kube.exec.request import ExecOptions, ExecRequest
from airflow_script_provider.kube.exec.workloads import Workload
from airflow_script_provider.kube.job.outcomes import Outcome
from airflow_script_provider.kube.request.inputs import ScriptInputs
from airflow_script_provider.result import Status
from airflow_script_provider.run_log import LoggerRunLog
from tests.builders import a_script
from tests.stand_in_api import api_of

POD = {
    "metadata": {"name": "api-x1", "namespace": "shop", "uid": "uid-x1"},
    "spec": {"containers": [{"name": "api", "image": "api:1"}]},
    "status": {"phase": "Running", "containerStatuses": [{"name": "api", "state": {"running": {}}}]},
}
SUCCESS = frame(Channel.STATUS, b'{"status": "Success"}')
_NONCE = re.compile(rb"airflow_nonce='(\w+)'")


@dataclass
class Node:
    """The API server of one pod, in which a script ends with ``code`` when ``ends_at`` is reached.

    ``reply`` is what the second exec finds, which is to end the script.
    """

    ends_at: str
    code: int
    reply: str
    script: web.WebSocketResponse | None = None
    nonce: bytes = b""
    sent: bytes = field(default=b"", repr=False)

    async def exec(self, request: web.Request) -> web.WebSocketResponse:
        """Run the script in the first exec, and end it in the second."""
        socket = web.WebSocketResponse(protocols=PROTOCOLS)
        await socket.prepare(request)
        if self.script is None:
            self.script = socket
            await self._run(socket)
        else:
            if self.ends_at == "the deadline":
                await self._report(is_over=True)
            await socket.send_bytes(frame(Channel.STDOUT, self.reply.encode()))
            await socket.send_bytes(SUCCESS)
            if self.ends_at == "its last line":
                await self.script.send_bytes(SUCCESS)
        return socket

    async def _run(self, socket: web.WebSocketResponse) -> None:
        async for message in socket:
            self.sent += message.data[1:]
            if not self.nonce and self.sent.endswith(b"}") and (found := _NONCE.search(self.sent)):
                self.nonce = found[1]
                await socket.send_bytes(frame(Channel.STDOUT, self.nonce + b" started 12 345\n"))
                if self.ends_at == "its last line":
                    await self._report(is_over=False)

    async def _report(self, *, is_over: bool) -> None:
        assert self.script is not None
        await self.script.send_bytes(frame(Channel.STDOUT, b"\x1e%s ended %d\n" % (self.nonce, self.code)))
        if is_over:
            await self.script.send_bytes(SUCCESS)


@asynccontextmanager
async def _served(node: Node) -> AsyncIterator[Any]:
    async def pod(request: web.Request) -> web.Response:
        return web.json_response(POD)

    app = web.Application()
    app.router.add_get("/api/v1/namespaces/shop/pods/api-x1", pod)
    app.router.add_get("/api/v1/namespaces/shop/pods/api-x1/exec", node.exec)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield SimpleNamespace(url=f"http://127.0.0.1:{runner.addresses[0][1]}")
    finally:
        await runner.cleanup()


async def outcome_of(node: Node) -> Outcome:
    """The outcome of a script with a deadline of one second."""
    options = ExecOptions(pod="api-x1", skip_on_exit_code=99, termination_grace_period=0)
    request = ExecRequest(
        Workload("pod", "api-x1", "shop"), options, ScriptInputs(script=""), a_script(), {}, Deadline(1)
    )
    async with _served(node) as server, api_of(server) as api:
        return await ExecRun(api, request, LoggerRunLog(structlog.get_logger("script"), None), 1024).outcome()


@pytest.mark.parametrize(
    ("node", "status", "skipped"),
    [
        (Node("the deadline", 0, "gone"), Status.COMPLETED, False),
        (Node("the deadline", 99, "gone"), Status.FAILED, True),
        (Node("the deadline", 0, "ended"), Status.TIMEOUT, False),
        (Node("the deadline", 99, "killed"), Status.TIMEOUT, False),
        (Node("its last line", 0, "ended"), Status.COMPLETED, False),
    ],
)
async def test_the_exit_code_of_a_script_that_ended_by_itself_counts(node: Node, status: Status, skipped: bool) -> None:
    """Only an exit code that came before our signal is the script's own (R1, R5)."""
    outcome = await outcome_of(node)
    assert (outcome.result.status, outcome.skipped) == (status, skipped)
