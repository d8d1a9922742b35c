"""A process that is seen through: output taken, stdin and terminal passed on, ended by timeout and by Ctrl+C."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from airflow_script_provider.kube.exec.protocol import Channel
from airflow_script_provider.runners import terminal
from airflow_script_provider.runners.recording import End
from airflow_script_provider.runners.script_run import GRACE, ScriptRun
from airflow_script_provider.runners.terminal import Size

Take = Callable[[Channel, bytes], None]

_LAST_OUTPUT = 5.0


class Process(Protocol):
    """A script's process, wherever it is."""

    async def follow(self, take: Take) -> End:
        """Hand over its output until it has ended."""

    async def send(self, data: bytes) -> None:
        """Write to its stdin."""

    async def end_input(self) -> None:
        """End its stdin."""

    async def resize(self, size: Size) -> None:
        """Tell its terminal the size."""

    async def end(self, grace: float) -> None:
        """End it with its group: TERM, and KILL after so many seconds. Nothing is left when this returns."""


async def see_through(process: Process, task: ScriptRun, take: Take, grace: float = GRACE) -> End:
    """Follow to the end. When this is cancelled the process is ended first, and what it says meanwhile still shown."""
    following: asyncio.Future[End] | None = None
    try:
        async with _attached(process, task):  # it must have its terminal's size before it can ask
            following = asyncio.ensure_future(process.follow(take))
            done, _ = await asyncio.wait({following}, timeout=task.timeout)
    except BaseException:
        if following is not None:
            await _ended(process, following, grace)
        raise
    if done:
        return following.result()
    await _ended(process, following, grace)
    return End(None, timed_out=True)


async def _ended(process: Process, following: asyncio.Future[End], grace: float) -> None:
    """End the process and take its last words."""
    try:
        await process.end(grace)
        await asyncio.wait({following}, timeout=_LAST_OUTPUT)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


@contextlib.asynccontextmanager
async def _attached(process: Process, task: ScriptRun) -> AsyncIterator[None]:
    """Our stdin and terminal are the process' meanwhile."""

    async def tell_size() -> None:
        await process.resize(terminal.size())

    with terminal.raw(task.terminal), terminal.size_changes(task.terminal, tell_size):
        if task.terminal:
            await tell_size()
        feeding = asyncio.ensure_future(_feed(process)) if task.interactive or task.terminal else None
        try:
            yield
        finally:
            if feeding is not None:
                feeding.cancel()
                await asyncio.gather(feeding, return_exceptions=True)


async def _feed(process: Process) -> None:
    """Pass stdin on until it ends, or until nobody reads it any more."""
    pieces = terminal.stdin_pieces()
    # A process that reads no further is no error: it may have ended.
    with contextlib.suppress(OSError):
        while piece := await pieces.get():
            await process.send(piece)
        await process.end_input()
