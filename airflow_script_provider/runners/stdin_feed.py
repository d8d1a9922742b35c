"""A script that is sent through stdin to a program that waits for it in a container."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from airflow_script_provider.exceptions import TargetError
from airflow_script_provider.kube.exec import program as stdin_program
from airflow_script_provider.kube.exec.program import Invocation, Preamble, RemoteProcess
from airflow_script_provider.kube.exec.protocol import Channel, ExecStatus
from airflow_script_provider.kube.request import interpreters
from airflow_script_provider.runners.recording import End
from airflow_script_provider.runners.script_run import ScriptRun
from airflow_script_provider.script import Script

_ANNOUNCEMENT = 10.0
_EARLY = 4096


def invocation_of(script: Script, image: str, task: ScriptRun) -> Invocation:
    """What runs in a container of this image, which may decide the interpreter."""
    program = interpreters.choose(script, image, task.interpreter).program
    return Invocation.of_script(
        script,
        image,
        task.payload(program),
        interpreter=task.interpreter,
        files=task.file_contents,
        working_dir=task.working_dir,
        keeps_stdin=task.interactive or task.terminal,
    )


class Sent:
    """Sends when the program is ready, takes our own lines off the output, and knows which process runs.

    ``where`` says the container in words; ``send`` writes to the program's stdin.
    """

    def __init__(
        self, invocation: Invocation, where: str, send: Callable[[bytes], Awaitable[None]], *, terminal: bool
    ) -> None:
        self.invocation = invocation
        self._where = where
        self._send = send
        self._terminal = terminal
        self._preamble = Preamble(invocation)
        self._announced = asyncio.Event()
        self._early = b""

    async def begin(self) -> None:
        """Send at once, unless a terminal must get ready first."""
        if not self._terminal:
            await self._send(stdin_program.encode(self.invocation))

    async def own(self, channel: Channel, data: bytes) -> bytes:
        """What of some output is the script's."""
        if channel is Channel.STDERR or self._preamble.is_over:
            return self._noted(data)
        was_ready = self._preamble.is_ready
        own = self._preamble.feed(data)
        if self._preamble.is_ready and not was_ready:
            await self._send(stdin_program.encode(self.invocation))
        if self._preamble.is_over:
            self._announced.set()
        return self._noted(own)

    def rest(self) -> bytes:
        """What is left when nothing more comes."""
        self._announced.set()
        return self._noted(self._preamble.rest())

    async def announced(self) -> None:
        """Until the script is what reads stdin."""
        await self._announced.wait()

    async def process(self) -> RemoteProcess | None:
        """The process that runs, None if it has not told within some seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ANNOUNCEMENT):
                await self._announced.wait()
        return self._preamble.process

    def end(self, status: ExecStatus) -> End:
        """How the script ended; ``TargetError`` where there is no shell that could have read it."""
        if self._preamble.failure:
            return End(status.exit_code, cause=f"script was not started: {_FAILURES[self._preamble.failure]}")
        if missing := status.missing_program or self._missing:
            raise TargetError(f"{self._where} has no {missing!r}, which is needed to read the script")
        if status.exit_code is None:
            return End(None, cause=f"outcome unknown: {status.message or 'the connection broke while the script ran'}")
        return End(status.exit_code)

    def _noted(self, data: bytes) -> bytes:
        """The data, but for a runtime's words, before anything is announced, on what it could not start."""
        if self._preamble.process is None and len(self._early) < _EARLY:
            self._early += data[:_EARLY]
            return b"" if self._missing else data
        return data

    @property
    def _missing(self) -> str | None:
        """The program that a runtime says the image has not."""
        if self._preamble.process is not None:
            return None
        return ExecStatus(None, message=self._early.decode(errors="replace")).missing_program


_FAILURES = {
    "working_dir": "the working directory cannot be entered",
    "folder": "the container has no folder that can be written to",
    "write": "the script cannot be written in the container",
}
