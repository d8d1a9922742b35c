"""Send a script through stdin to a program that waits for it in a container."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace

from airflow_script_provider.exceptions import TargetError
from airflow_script_provider.kube.exec import program as stdin_program
from airflow_script_provider.kube.exec.ends import (
    SIGTERM_CHECKS,
    Exited,
    NotStarted,
    ShellKilled,
    Termination,
    end_of,
    termination_of,
)
from airflow_script_provider.kube.exec.own_lines import OwnLines, RemoteProcess
from airflow_script_provider.kube.exec.program import Invocation
from airflow_script_provider.kube.exec.protocol import Channel, ExecStatus
from airflow_script_provider.kube.request import interpreters
from airflow_script_provider.runners.recording import ProcessEnd, ended_with_container
from airflow_script_provider.runners.script_run import ScriptRun
from airflow_script_provider.script import Script

Ask = Callable[[list[str]], Awaitable[str | None]]
"""Runs a program in the container, and returns the word that it prints, None without an answer.

The word is empty if the program takes longer than it may.
"""

STATES = {True: "It is still running", False: "It is no longer running", None: "It may still be running"}
"""Whether the process still runs, as a sentence."""

_ANNOUNCEMENT_TIMEOUT = 10.0
_CHECK_PAUSE = 1.0
_MAX_EARLY_OUTPUT = 4096

Piece = tuple[Channel, bytes]
"""Output, with the stream that it belongs to."""


def invocation_of(script: Script, image: str, script_run: ScriptRun) -> Invocation:
    """What runs in a container of this image; the image may decide the interpreter."""
    interpreter = interpreters.choose(script, image, script_run.interpreter)
    return Invocation.of_script(
        script,
        interpreter,
        script_run.payload(interpreter.program),
        files=script_run.file_contents,
        working_dir=script_run.working_dir,
        keeps_stdin=script_run.interactive or script_run.terminal,
    )


class StdinFeed:
    """Sends an invocation through stdin, and filters our own lines out of the output.

    ``container`` names the container in messages. ``send`` writes to the program's stdin.
    """

    def __init__(
        self, invocation: Invocation, container: str, send: Callable[[bytes], Awaitable[None]], *, terminal: bool
    ) -> None:
        self.invocation = invocation
        self._container = container
        self._send = send
        self._terminal = terminal
        self._own_lines = OwnLines(invocation.nonce)
        self._announced = asyncio.Event()
        self._early_output = b""
        self._held: list[Piece] = []
        self._is_ending = False

    async def begin(self) -> None:
        """Send the invocation, unless a terminal must get ready before."""
        if not self._terminal:
            await self._send(stdin_program.encode(self.invocation))

    async def filter(self, channel: Channel, data: bytes) -> list[Piece]:
        """Take output, and return what of it, and of earlier output, is the script's."""
        if channel is Channel.STDERR:
            return self._without_runtime_error(channel, data)
        was_ready = self._own_lines.is_ready
        script_output = self._own_lines.feed(data)
        if self._own_lines.is_ready and not was_ready:
            await self._send(stdin_program.encode(self.invocation))
        if self._own_lines.has_begun:
            self._announced.set()
        return self._without_runtime_error(channel, script_output)

    def finish(self) -> list[Piece]:
        """End the output, and return what was held back of it."""
        self._announced.set()
        return self._without_runtime_error(Channel.STDOUT, self._own_lines.rest())

    async def wait_until_started(self) -> None:
        """Wait until the script is the reader of stdin."""
        await self._announced.wait()

    async def process(self) -> RemoteProcess | None:
        """The process that runs, None if it has not announced itself within some seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ANNOUNCEMENT_TIMEOUT):
                await self._announced.wait()
        return self._own_lines.process

    async def end_process(self, ask: Ask, grace: float, enter: str) -> Termination:
        """End the process by a program beside it.

        ``enter`` is the command with which a user runs another one in the container.
        """
        self._is_ending = True
        process, had_ended = await self.process(), self.reported_end is not None
        if self._own_lines.failure is not None:
            return Termination("it had not begun", may_still_run=False, was_signalled=False)
        if process is None:
            why = f"it could not be ended, because {self._container} has not reported its process"
            return Termination(why, may_still_run=True, was_signalled=False)
        reply = await ask(stdin_program.end_argv(process, self.invocation, grace))
        return termination_of(reply, process.group, grace, enter, had_ended=had_ended)

    async def is_running(self, ask: Ask) -> bool | None:
        """Whether the process still runs, None where a program beside it cannot tell."""
        process = await self.process()
        reply = await ask(stdin_program.check_argv(process)) if process is not None else None
        return {"running": True, "gone": False}.get(reply or "")

    @property
    def reported_end(self) -> ProcessEnd | None:
        """The end by the exit code that the container's shell has reported, None without one."""
        code = self._own_lines.exit_code
        return None if code is None else ProcessEnd(code, got_sigterm=self._own_lines.got_sigterm)

    def process_end(self, status: ExecStatus) -> ProcessEnd:
        """How the script ended; ``TargetError`` if the container has no shell to read it."""
        if missing := status.missing_program or self._missing_program:
            raise TargetError(
                f"{self._container} has no {missing!r} (executable file not found), which must read the script"
            )
        broken = status.message or "the connection broke while the script ran"
        match end_of(self._own_lines, status, broken, seconds=0):
            case Exited(code, got_sigterm):
                return ProcessEnd(code, got_sigterm=got_sigterm)
            case NotStarted(step, message):
                why = _FAILURES[step].format(message)
                return ProcessEnd(status.exit_code, cause=f"script was not started: {why}")
            case ShellKilled() as end:
                return ProcessEnd(None, cause=f"outcome unknown: script {end.cause}", is_unknown=True)
            case _:
                return ProcessEnd(None, cause=f"outcome unknown: {broken}", is_unknown=True)

    async def end_after_sigterm(self, end: ProcessEnd, why_gone: Callable[[], Awaitable[str | None]]) -> ProcessEnd:
        """The end of a script that may have stopped half-way, with its pod or container.

        ``why_gone`` says why pod or container ends, None as long as it goes on. If the script is
        being ended, the signal is our own, and there is nothing to look for.
        """
        for check in range(SIGTERM_CHECKS):
            await asyncio.sleep(_CHECK_PAUSE if check else 0)
            if self._is_ending:
                return end
            if why := await why_gone():
                return ended_with_container(end, why)
        return replace(end, got_sigterm=False)

    def _without_runtime_error(self, channel: Channel, data: bytes) -> list[Piece]:
        """The output, unless it may be the container runtime's message of a failed start.

        Such a piece is held until the shell announces the script: stderr may be faster than
        stdout.
        """
        pieces = [*self._held, *([(channel, data)] if data else [])]
        if not self._has_started:
            self._early_output = (self._early_output + data)[:_MAX_EARLY_OUTPUT]
        is_held = self._missing_program is not None and sum(len(held) for _, held in pieces) <= _MAX_EARLY_OUTPUT
        self._held = pieces if is_held else []
        return [] if is_held else pieces

    @property
    def _has_started(self) -> bool:
        """Whether the container has a shell, which has read the code."""
        return self._own_lines.is_announced or self._own_lines.exit_code is not None

    @property
    def _missing_program(self) -> str | None:
        """The program that the image lacks, if the container runtime has reported one."""
        if self._has_started:
            return None
        return ExecStatus(None, message=self._early_output.decode(errors="replace")).missing_program


_FAILURES = {
    "connection": "its node cannot be reached ({})",
    "refused": "its node refused the exec ({})",
    "container": "{}",
    "program": "{}",
    "permission": "{}",
    "code": "the container's shell could not read it ({})",
    "killed": "the container's shell was killed before ({})",
    "working_dir": "the working directory cannot be entered",
    "folder": "the container has no writable folder",
    "write": "the script cannot be written in the container",
}
