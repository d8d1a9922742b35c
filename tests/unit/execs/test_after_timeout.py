"""What follows ``execution_timeout``, or a kill, of a script in a running pod."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog
from aiohttp import web

from airflow_script_provider.execs import run as run_module
from airflow_script_provider.execs.run import ExecRun
from airflow_script_provider.kube.durations import Deadline
from airflow_script_provider.kube.exec.protocol import PROTOCOLS, Channel, frame
from airflow_script_provider.kube.exec.request import ExecOptions, ExecRequest
from airflow_script_provider.kube.exec.workloads import Workload
from airflow_script_provider.kube.job import outcomes
from airflow_script_provider.kube.job.outcomes import Outcome
from airflow_script_provider.kube.request.inputs import ScriptInputs
from airflow_script_provider.run_log import LoggerRunLog
from tests.builders import a_script
from tests.exec_pod import NONCE, SUCCESS, serving_pod
from tests.stand_in_api import api_of

SILENCE = "silence"
NOT_ENDED = "process 12 could not be ended. Run: kubectl exec -n shop api-x1 -c api -- sh -c 'kill -- -12'"
UNREPORTED = "it could not be ended, because the pod has not reported its process"


@dataclass
class Node:
    """The API server of one pod, whose script goes on until it is interrupted.

    ``ends`` are what the helpers reply that are to end it, one after the other, and ``looks`` those
    that look at it; the last one is repeated. ``code`` is the exit code that its shell has reported,
    ``late_code`` the one that it reports when the first helper comes. If it ``breaks``, the script's
    connection is lost as soon as the script has begun.
    """

    ends: list[str]
    looks: list[str] = field(default_factory=lambda: ["running"])
    code: int | None = None
    late_code: int | None = None
    announces: bool = True
    breaks: bool = False
    nonce: bytes = b""
    script: web.WebSocketResponse | None = None
    has_begun: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[str] = field(default_factory=list)

    async def exec(self, request: web.Request) -> web.WebSocketResponse:
        """Run the script, or a helper beside it."""
        socket = web.WebSocketResponse(protocols=PROTOCOLS)
        await socket.prepare(request)
        helper = next((word for word in ("end", "look") if word in request.query.getall("command")), None)
        if helper is None:
            await self._run(socket)
            return socket
        self.asked.append(helper)
        self.has_begun.set()
        if self.late_code is not None and len(self.asked) == 1:
            await self._report(self.late_code)
            await asyncio.sleep(0.05)
        replies = self.ends if helper == "end" else self.looks
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        if reply == SILENCE:
            await socket.receive()
        elif reply:
            await socket.send_bytes(frame(Channel.STDOUT, reply.encode()))
        await socket.send_bytes(SUCCESS)
        return socket

    async def _run(self, socket: web.WebSocketResponse) -> None:
        self.script, sent = socket, b""
        async for message in socket:
            sent += message.data[1:]
            if not self.nonce and sent.endswith(b"}") and (found := NONCE.search(sent)):
                self.nonce = found[1]
                place = b" 12 345" if self.announces else b""
                await socket.send_bytes(frame(Channel.STDOUT, self.nonce + b" started" + place + b"\n"))
                if self.code is not None:
                    await self._report(self.code)
                if self.breaks:
                    await socket.close()
                else:
                    self.has_begun.set()

    async def _report(self, code: int) -> None:
        assert self.script is not None
        await self.script.send_bytes(frame(Channel.STDOUT, b"\x1e%s ended %d\n" % (self.nonce, code)))


def a_run(api: Any) -> ExecRun:
    """A run of a script in the pod, without a grace period."""
    options = ExecOptions(pod="api-x1", termination_grace_period=0)
    request = ExecRequest(
        Workload("pod", "api-x1", "shop"), options, ScriptInputs(script=""), a_script(), {}, Deadline(600)
    )
    return ExecRun(api, request, LoggerRunLog(structlog.get_logger("script"), None), 1024)


async def interrupted(node: Node, server: Any) -> ExecRun:
    """A run that was interrupted as Airflow interrupts it."""
    async with api_of(server) as api:
        run = a_run(api)
        running = asyncio.ensure_future(run.outcome())
        await node.has_begun.wait()
        await asyncio.sleep(0.05)
        running.cancel()
        await asyncio.wait({running})
        assert running.cancelled()
    return run


async def outcome_after(node: Node) -> Outcome | None:
    """The outcome of a run that was interrupted by a timeout, and was then waited for."""
    async with serving_pod(node.exec) as server:
        run = await interrupted(node, server)
        async with api_of(server) as api:
            if run.may_still_run:
                await run.outlast_timeout(api)
        return run.outcome_of_timeout(Deadline(3, "execution_timeout"))


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short times, so that a test of a process that does not end is short."""
    monkeypatch.setattr(run_module, "ABANDON_TIMEOUT", 0.2)
    monkeypatch.setattr(run_module, "TERMINATION_MARGIN", 0.5)
    monkeypatch.setattr(run_module, "POLL", 0.02)


@pytest.mark.parametrize(
    ("node", "asked"),
    [
        (Node(["ended"]), ["end"]),
        (Node([SILENCE], ["gone"]), ["end", "look"]),
        (Node([SILENCE], ["running", "running", "gone"]), ["end", "look", "look", "look"]),
        (Node(["", "killed"]), ["end", "end"]),
    ],
)
async def test_a_process_that_has_ended_may_be_tried_again(node: Node, asked: list[str]) -> None:
    """Its end is waited for; a helper that has not answered is asked once more to end it (R2, R5)."""
    assert await outcome_after(node) is None
    assert node.asked == asked


@pytest.mark.parametrize(
    ("node", "why"),
    [
        (Node([SILENCE]), NOT_ENDED),
        (Node(["left"]), NOT_ENDED),
        (Node(["", SILENCE]), NOT_ENDED),
        (Node([SILENCE], announces=False), UNREPORTED),
    ],
)
async def test_a_process_that_may_still_run_is_not_tried_again(node: Node, why: str) -> None:
    """As after ``timeout``; the error names the process and the task's own limit (R2, R5)."""
    outcome = await outcome_after(node)
    assert outcome is not None
    error = outcomes.failure(outcome)
    limit = "execution_timeout of 3 s (DeadlineExceeded)"
    assert error is not None
    assert " ".join(str(error).split()) == (
        f"Pod shop/api-x1: the script ran longer than its {limit}; {why}. "
        "It may still be running, so Airflow does not retry."
    )
    assert not error.retryable


async def test_an_interruption_during_a_look_ends_the_process() -> None:
    """The connection is broken, and the process may still run (R3, R5)."""
    node = Node(["ended"], [SILENCE], breaks=True)
    assert await outcome_after(node) is None
    assert node.asked == ["look", "end"]


async def test_a_script_that_had_ended_by_itself_keeps_its_exit_code() -> None:
    """A process that it left behind held its output open until the timeout (R1, R5)."""
    outcome = await outcome_after(Node(["ended"], code=0))
    assert outcome is not None
    assert (outcomes.failure(outcome), outcome.result.exit_code) == (None, 0)


@pytest.mark.parametrize("ends", [["ended"], ["", "gone"]])
async def test_a_script_that_ends_well_after_the_signal_has_timed_out(ends: list[str]) -> None:
    """Whatever a later helper finds, which may be the first one that answers (R1, R5)."""
    assert await outcome_after(Node(ends, late_code=0)) is None


async def test_a_known_outcome_counts_after_the_tasks_time() -> None:
    """Airflow's timeout may come while the outcome is handed over; the process need not be asked (R1, R2, R5)."""
    node = Node([SILENCE], code=0, breaks=True)
    async with serving_pod(node.exec) as server, api_of(server) as api:
        run = a_run(api)
        outcome = await run.outcome()
    assert not run.may_still_run
    assert run.outcome_of_timeout(Deadline(3, "execution_timeout")) is outcome
    assert (outcomes.failure(outcome), outcome.result.exit_code) == (None, 0)


async def test_a_run_without_a_pod_may_be_tried_again() -> None:
    """Airflow's timeout may come before anything has begun (R5)."""
    async with serving_pod(Node([]).exec) as server, api_of(server) as api:
        run = a_run(api)
    assert not run.may_still_run
    assert run.outcome_of_timeout(Deadline(3, "execution_timeout")) is None


@pytest.mark.parametrize(
    ("node", "code"),
    [
        (Node(["ended"], code=0), 0),
        (Node(["gone"], code=3), 3),
        (Node(["ended"], late_code=0), None),
        (Node(["ended"]), None),
        (Node([SILENCE]), None),
    ],
    ids=["success", "failure", "after the signal", "no end", "no answer"],
)
async def test_a_kill_does_not_undo_the_scripts_own_end(node: Node, code: int | None) -> None:
    """As after a timeout: another try would run the script a second time (R1, R2)."""
    async with serving_pod(node.exec) as server:
        outcome = (await interrupted(node, server)).own_outcome("the run was killed")
    assert (outcome and outcome.result.exit_code) == code
    assert (outcome is None) == (code is None)
