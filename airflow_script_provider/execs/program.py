"""Run one program in a container, from its start to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from typing import NamedTuple

from airflow_script_provider import exceptions
from airflow_script_provider.api.client import CALL_PATIENCE, KubernetesApi
from airflow_script_provider.execs.session import ExecSession, ExecTarget, open_exec
from airflow_script_provider.kube.exec import program
from airflow_script_provider.kube.exec.outcome import ConnectionBroken, ExecEnd, ExecOutput, Exited, NotStarted
from airflow_script_provider.kube.exec.program import Invocation, Preamble
from airflow_script_provider.kube.exec.protocol import Channel, ExecStatus
from airflow_script_provider.kube.logs.stream_lines import Lines, text_of
from airflow_script_provider.kube.wording import signal_name
from airflow_script_provider.run_log import StreamsLog

REPLY_TIMEOUT = 15.0
"""Seconds for one of our small helper programs to reply."""
ANNOUNCEMENT_TIMEOUT = 1.5
"""Seconds that ending a program waits for the announcement of its process."""


_ENDED_STATES = ("gone", "ended", "killed")


class Termination(NamedTuple):
    """The result of ending a process, in words.

    ``may_still_run`` is False if the process is gone.
    """

    description: str
    may_still_run: bool


class OutputRecorder:
    """Writes whole lines of both streams to log and result, in the order of arrival."""

    def __init__(self, log: StreamsLog, output: ExecOutput) -> None:
        self.log = log
        self.output = output
        self._lines = {Channel.STDOUT: Lines(), Channel.STDERR: Lines()}

    def add(self, channel: Channel, data: bytes) -> None:
        """Take bytes of a stream."""
        self._record(channel, self._lines[channel].feed(data))

    def finish(self) -> None:
        """Write the last lines, which have no line end."""
        for channel, lines in self._lines.items():
            self._record(channel, lines.finish())

    def _record(self, channel: Channel, lines: Sequence[bytes]) -> None:
        if not lines:
            return
        is_stdout = channel is Channel.STDOUT
        self.output.both.add(lines)
        (self.output.stdout if is_stdout else self.output.stderr).add(lines)
        self.log.output([text_of(line) for line in lines], logging.INFO if is_stdout else logging.WARNING)


class Program:
    """An invocation in a container.

    ``run`` starts it and reads its output, ``end`` terminates it.
    """

    def __init__(
        self, api: KubernetesApi, target: ExecTarget, invocation: Invocation, recorder: OutputRecorder
    ) -> None:
        self.api = api
        self.target = target
        self.invocation = invocation
        self.preamble = Preamble(invocation)
        self._recorder = recorder
        self._announced = asyncio.Event()
        self._is_sent = False  # also True while the last byte is being sent
        self._is_given_up = False

    async def run(self) -> ExecEnd:
        """Run through the container's shell; everything is sent on stdin."""
        began = time.monotonic()
        status, why = await self._run(program.argv(), program.encode(self.invocation))
        if status is None and self.preamble.is_silent:
            status = await self._start_failure()
        self._recorder.add(Channel.STDOUT, self.preamble.rest())
        return self._end_of(status, why, time.monotonic() - began, through_shell=True)

    async def run_without_shell(self) -> ExecEnd:
        """Run a bare command in a container that has no shell."""
        began = time.monotonic()
        self.preamble.rest()
        self._is_sent = True  # with the request
        status, why = await self._run(list(self.invocation.argv), b"")
        return self._end_of(status, why, time.monotonic() - began, through_shell=False)

    async def is_running(self) -> bool | None:
        """Whether the process still runs, None where that is unknown."""
        if not self._is_sent:
            return False  # the shell runs nothing of incomplete code
        if self.preamble.process is None:
            return None
        reply = await self._run_helper(program.check_argv(self.preamble.process), REPLY_TIMEOUT)
        return {"running": True, "gone": False}.get(reply or "")

    async def end(self, grace: float, within: float) -> Termination:
        """End the process and its group; return after at most ``within`` seconds.

        A program that has not begun will not begin. A helper in the pod sends SIGKILL after
        ``grace`` seconds, even if this call has returned.
        """
        if not self._is_sent:
            self._is_given_up = True
            return Termination("it had not begun", may_still_run=False)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(within, ANNOUNCEMENT_TIMEOUT)):
                await self._announced.wait()
        process = self.preamble.process
        if process is None:
            why = "it could not be ended, because the pod has not reported its process"
            return Termination(why, may_still_run=True)
        reply = await self._run_helper(program.end_argv(process, self.invocation, grace), within)
        descriptions = {
            "gone": "it had already ended",
            "ended": "it was ended",
            "killed": f"it was killed, {grace:g} s after SIGTERM",
            "left": f"process {process.group} cannot be killed",
            "": f"process {process.group} received SIGTERM; SIGKILL follows after {grace:g} s",
        }
        failed = f"process {process.group} could not be ended. Run: {self._kill_command(process.group)}"
        description = failed if reply is None else descriptions.get(reply, failed)
        return Termination(description, may_still_run=reply not in _ENDED_STATES)

    def _kill_command(self, group: int) -> str:
        where = f"-n {self.target.namespace} {self.target.pod} -c {self.target.container}"
        return f"kubectl exec {where} -- sh -c 'kill -- -{group}'"

    async def _run(self, argv: Sequence[str], data: bytes) -> tuple[ExecStatus | None, str]:
        """The status, or None and the reason why there is no status."""
        try:
            # A program that waits for its stdin has done nothing if the connection fails.
            patience = CALL_PATIENCE if data else 0
            async with open_exec(self.api, self.target, argv, stdin=bool(data), patience=patience) as session:
                return await self._read(session, data)
        finally:
            self._recorder.finish()

    async def _read(self, session: ExecSession, data: bytes) -> tuple[ExecStatus | None, str]:
        feeding = asyncio.ensure_future(self._feed(session, data))
        try:
            async for channel, received in session:
                is_stdout = channel is Channel.STDOUT
                self._recorder.add(channel, self.preamble.feed(received) if is_stdout else received)
                if self.preamble.is_over:
                    self._announced.set()
        except exceptions.ApiUnreachableError as error:
            return None, str(error)
        finally:
            feeding.cancel()
            await asyncio.wait({feeding})
        return session.status, ""

    async def _feed(self, session: ExecSession, data: bytes) -> None:
        """Send all data. A connection that breaks is reported by ``_read``.

        The program begins with the last byte. Until then it can be given up.
        """
        with contextlib.suppress(exceptions.ApiUnreachableError):
            await session.send(data[:-1])
            if not self._is_given_up:
                self._is_sent = True
                await session.send(data[-1:])

    async def _start_failure(self) -> ExecStatus | None:
        """Why the container cannot start a shell, None if it can or if that is unknown.

        A server that closes a connection on which bytes arrive loses its last words, the status.
        So an exec to which nothing is sent asks again.
        """
        _, status = await self._ask_helper(["sh", "-c", ":"], REPLY_TIMEOUT)
        return status if status and status.is_start_failure else None

    def _end_of(self, status: ExecStatus | None, why: str, seconds: float, *, through_shell: bool) -> ExecEnd:
        if status is None:
            return ConnectionBroken(why, seconds)
        if self.preamble.failure is not None:
            return NotStarted(self.preamble.failure)
        if status.is_start_failure:
            return _not_started(status, through_shell=through_shell)
        if status.exit_code is None:
            return ConnectionBroken(f"{status.reason}: {status.message}", seconds)
        if through_shell and self.preamble.is_silent and not signal_name(status.exit_code):
            return NotStarted("code", f"exit code {status.exit_code}")
        return Exited(status.exit_code)

    async def _run_helper(self, argv: Sequence[str], within: float) -> str | None:
        """Run a small program of ours, and return the word that it prints.

        The reply is empty if the program takes longer, None if it could not be started.
        """
        reply, _ = await self._ask_helper(argv, within)
        return reply

    async def _ask_helper(self, argv: Sequence[str], within: float) -> tuple[str | None, ExecStatus | None]:
        """The reply of a program to which nothing is sent, and how it ended, None if unknown."""
        reply: str | None = None
        status: ExecStatus | None = None
        with contextlib.suppress(TimeoutError, exceptions.KubernetesApiError):
            connection = open_exec(self.api, self.target, argv, stdin=False, patience=within)
            async with asyncio.timeout(within), connection as session:
                reply = ""
                async for channel, data in session:
                    reply += data.decode("utf-8", "replace") if channel is Channel.STDOUT else ""
            reply, status = reply.strip(), session.status
        return reply, status


def _not_started(status: ExecStatus, *, through_shell: bool) -> NotStarted:
    missing = status.missing_program
    if through_shell and missing == "sh":
        return NotStarted("sh")
    message = f'"{missing}": executable file not found in the image' if missing else status.message
    return NotStarted("program", message)
