"""Supervise a process: take output, pass on stdin, end it at a timeout and at Ctrl+C."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from airflow_script_provider.kube.exec.ends import Termination
from airflow_script_provider.kube.exec.protocol import Channel
from airflow_script_provider.runners import terminal
from airflow_script_provider.runners.recording import ProcessEnd, end_at_deadline
from airflow_script_provider.runners.script_run import GRACE, ScriptRun
from airflow_script_provider.runners.terminal import Size

OnOutput = Callable[[Channel, bytes], None]
"""Is called with each piece of output."""

_DRAIN_TIMEOUT = 5.0


class Process(Protocol):
    """A script's process in any place."""

    async def follow(self, on_output: OnOutput) -> ProcessEnd:
        """Pass on its output until it has ended."""

    async def send(self, data: bytes) -> None:
        """Write to its stdin."""

    async def end_input(self) -> None:
        """End its stdin."""

    async def resize(self, size: Size) -> None:
        """Set the size of its terminal."""

    @property
    def reported_end(self) -> ProcessEnd | None:
        """The end by the exit code that is known, None without one.

        What the script has left behind may still hold its output open.
        """

    async def end(self, grace: float) -> Termination:
        """End the process and its session: SIGTERM, and SIGKILL after ``grace`` seconds."""


async def supervise(process: Process, script_run: ScriptRun, on_output: OnOutput, grace: float = GRACE) -> ProcessEnd:
    """Follow a process to its end.

    A cancellation ends the process first; the output that it prints until then is still shown. At
    the timeout, the exit code of a script that has just ended by itself counts.
    """
    following: asyncio.Future[ProcessEnd] | None = None
    try:
        # The terminal gets its size before the process can ask for it.
        async with _terminal_attached(process, script_run):
            following = asyncio.ensure_future(process.follow(on_output))
            done, _ = await asyncio.wait({following}, timeout=script_run.timeout)
    except BaseException:
        if following is not None:
            await _end_and_drain(process, following, grace)
        raise
    if done:
        return following.result()
    termination = await _end_and_drain(process, following, grace)
    is_followed = not following.cancelled() and following.exception() is None
    found = following.result() if is_followed else process.reported_end
    return end_at_deadline(found, termination)


async def _end_and_drain(process: Process, following: asyncio.Future[ProcessEnd], grace: float) -> Termination:
    """End the process and take its last output."""
    try:
        termination = await process.end(grace)
        await asyncio.wait({following}, timeout=_DRAIN_TIMEOUT)
        return termination
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


@contextlib.asynccontextmanager
async def _terminal_attached(process: Process, script_run: ScriptRun) -> AsyncIterator[None]:
    """Pass our stdin and our terminal's size on to the process, as far as the run asks for it."""

    async def send_size() -> None:
        await process.resize(terminal.size())

    with terminal.raw(script_run.terminal), terminal.size_changes(script_run.terminal, send_size):
        if script_run.terminal:
            await send_size()
        has_input = script_run.interactive or script_run.terminal
        feeding = asyncio.ensure_future(_pass_stdin_on(process)) if has_input else None
        try:
            yield
        finally:
            if feeding is not None:
                feeding.cancel()
                await asyncio.gather(feeding, return_exceptions=True)


async def _pass_stdin_on(process: Process) -> None:
    """Pass stdin on until it ends, or until the process no longer reads it."""
    pieces = terminal.stdin_pieces()
    # A process that stops reading is not an error; it may have ended.
    with contextlib.suppress(OSError):
        while piece := await pieces.get():
            await process.send(piece)
        await process.end_input()
