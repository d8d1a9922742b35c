"""A program in a container, until it has announced itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.execs import program as program_module
from airflow_script_provider.execs.program import OutputRecorder, Program
from airflow_script_provider.execs.session import ExecTarget
from airflow_script_provider.kube.exec.ends import ConnectionBroken, ExecEnd, NotStarted
from airflow_script_provider.kube.exec.outcome import ExecOutput
from airflow_script_provider.kube.exec.protocol import Channel, ExecStatus
from airflow_script_provider.run_log import LoggerRunLog
from tests.builders import an_exec_request

START = 'failed to exec in container: failed to start exec "ab12": OCI runtime exec failed: exec failed: '


class Broken(Program):
    """A program whose connection breaks while its code is sent."""

    async def _run(self, argv: Sequence[str], data: bytes, protocols: Sequence[str] = ()) -> tuple[None, str]:
        return None, "reset"


async def nothing() -> None:
    """What follows the opening of the exec."""


def a_program(on_open: Any = nothing, kind: type[Program] = Program) -> Program:
    """A program of a script, in the container ``api``."""
    recorder = OutputRecorder(LoggerRunLog(logging.getLogger(__name__), None), ExecOutput.of(100))
    target = ExecTarget("shop", "api-x1", "api")
    return kind(cast(KubernetesApi, None), target, an_exec_request().invocation("api:1"), recorder, on_open)


class Session:
    """An exec that is open; ``happened`` gets what is sent to it."""

    status = ExecStatus(0)

    def __init__(self, happened: list[str]) -> None:
        self._happened = happened

    async def send(self, data: bytes) -> None:
        """Take bytes of the code."""
        self._happened.append("sent")

    async def __aiter__(self) -> AsyncIterator[tuple[Channel, bytes]]:
        await asyncio.sleep(0.01)
        yield Channel.STDERR, b"hi"


async def test_nothing_is_sent_before_the_open_exec_was_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pod that is read then is that of the code, or its exec has ended without any (R2, R36)."""
    happened: list[str] = []

    @asynccontextmanager
    async def opened(*_: Any, **__: Any) -> AsyncIterator[Session]:
        yield Session(happened)

    async def look() -> None:
        await asyncio.sleep(0)
        happened.append("looked")

    monkeypatch.setattr(program_module, "open_exec", opened)
    await a_program(look).run()
    assert happened == ["looked", "sent", "sent"]


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (f'{START}exec: "sh": executable file not found in $PATH: unknown', NotStarted),
        (f'{START}exec: "sh": permission denied: unknown', NotStarted),
        (f"{START}fork/exec /proc/self/fd/6: resource temporarily unavailable: unknown", ConnectionBroken),
        (f"{START}cannot exec in a stopped container: unknown", ConnectionBroken),
    ],
)
async def test_only_a_shell_that_can_never_start_has_not_started(
    monkeypatch: pytest.MonkeyPatch, message: str, kind: type[ExecEnd]
) -> None:
    """A second exec that cannot begin now says nothing of the first, which may run beside it (R2, R36)."""

    async def ask(*_: Any) -> tuple[None, ExecStatus]:
        return None, ExecStatus(None, "InternalError", message)

    monkeypatch.setattr(program_module, "ask_helper", ask)
    assert isinstance(await a_program(kind=Broken).run(), kind)
