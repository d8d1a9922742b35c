"""A deadline that meets the end of a script in a running pod."""

from __future__ import annotations

from dataclasses import dataclass, field

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
from tests.exec_pod import NONCE, SUCCESS, serving_pod
from tests.stand_in_api import api_of


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
            if not self.nonce and self.sent.endswith(b"}") and (found := NONCE.search(self.sent)):
                self.nonce = found[1]
                await socket.send_bytes(frame(Channel.STDOUT, self.nonce + b" started 12 345\n"))
                if self.ends_at == "its last line":
                    await self._report(is_over=False)

    async def _report(self, *, is_over: bool) -> None:
        assert self.script is not None
        await self.script.send_bytes(frame(Channel.STDOUT, b"\x1e%s ended %d\n" % (self.nonce, self.code)))
        if is_over:
            await self.script.send_bytes(SUCCESS)


async def outcome_of(node: Node) -> Outcome:
    """The outcome of a script with a deadline of one second."""
    options = ExecOptions(pod="api-x1", skip_on_exit_code=99, termination_grace_period=0)
    request = ExecRequest(
        Workload("pod", "api-x1", "shop"), options, ScriptInputs(script=""), a_script(), {}, Deadline(1)
    )
    async with serving_pod(node.exec) as server, api_of(server) as api:
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
