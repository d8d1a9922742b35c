"""Run one program in a container, from its start to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from airflow_script_provider import exceptions
from airflow_script_provider.api.client import CALL_PATIENCE, KubernetesApi
from airflow_script_provider.execs.session import ExecSession, ExecTarget, ask_helper, open_exec, reply_of
from airflow_script_provider.kube.exec import program, protocol
from airflow_script_provider.kube.exec.ends import ExecEnd, Exited, Termination, end_of, end_of_bare, termination_of
from airflow_script_provider.kube.exec.outcome import ExecOutput
from airflow_script_provider.kube.exec.own_lines import OwnLines
from airflow_script_provider.kube.exec.program import Invocation
from airflow_script_provider.kube.exec.protocol import Channel, ExecStatus
from airflow_script_provider.kube.logs.groups import Groups
from airflow_script_provider.kube.logs.stream_lines import Lines
from airflow_script_provider.run_log import StreamsLog

REPLY_TIMEOUT = 15.0
"""Seconds for one of our small helper programs to reply."""
ANNOUNCEMENT_TIMEOUT = 1.5
"""Seconds that ending a program waits for the announcement of its process."""


class OutputRecorder:
    """Writes whole lines of both streams to log and result, in the order of arrival."""

    def __init__(self, log: StreamsLog, output: ExecOutput) -> None:
        self.log = log
        self.output = output
        self._lines = {Channel.STDOUT: Lines(), Channel.STDERR: Lines()}
        self._groups = Groups()

    def add(self, channel: Channel, data: bytes) -> None:
        """Take bytes of a stream."""
        self._record(channel, self._lines[channel].feed(data))

    def finish(self) -> None:
        """Write the last lines, which have no line end, and end the groups of the script."""
        for channel, lines in self._lines.items():
            self._record(channel, lines.finish())
        self.log.output(self._groups.close())

    def _record(self, channel: Channel, lines: Sequence[bytes]) -> None:
        if not lines:
            return
        is_stdout = channel is Channel.STDOUT
        self.output.both.add(lines)
        (self.output.stdout if is_stdout else self.output.stderr).add(lines)
        self.log.output(self._groups.shown(lines, channel), logging.INFO if is_stdout else logging.WARNING)


class Program:
    """An invocation in a container.

    ``run`` starts it and reads its output, ``end`` terminates it. ``on_open`` is awaited once the
    exec is open, before it gets the code.
    """

    def __init__(
        self,
        api: KubernetesApi,
        target: ExecTarget,
        invocation: Invocation,
        recorder: OutputRecorder,
        on_open: Callable[[], Awaitable[None]],
    ) -> None:
        self.api = api
        self.target = target
        self.invocation = invocation
        self.own_lines = OwnLines(invocation.nonce)
        self._recorder = recorder
        self._on_open = on_open
        self._announced = asyncio.Event()
        self._is_sent = False  # also True while the last byte is being sent
        self._is_given_up = False
        self._may_be_signalled = False

    async def run(self) -> ExecEnd:
        """Run through the container's shell; everything is sent on stdin."""
        began = time.monotonic()
        status, why = await self._run(program.argv(), program.encode(self.invocation))
        if status is None and self.own_lines.is_silent:
            status = await self._start_failure()
        return end_of(self.own_lines, status, why, time.monotonic() - began)

    async def run_without_shell(self) -> ExecEnd:
        """Run a bare command in a container that has no shell to report its exit code."""
        began = time.monotonic()
        self.own_lines.skip_first()
        self._is_sent = True  # with the request
        status, why = await self._run(list(self.invocation.argv), b"", protocol.WORDS_OF_THE_NODE)
        return end_of_bare(self.own_lines, status, why, time.monotonic() - began)

    @property
    def reported_end(self) -> Exited | None:
        """The end by the exit code that the shell has reported, None without one.

        A process that the program has left behind may still hold its output open.
        """
        code = self.own_lines.exit_code
        return None if code is None else Exited(code, self.own_lines.got_sigterm)

    async def is_running(self) -> bool | None:
        """Whether the process still runs, None where that is unknown."""
        if not self._is_sent:
            return False  # the shell runs nothing of incomplete code
        if self.own_lines.process is None:
            return None
        reply = await reply_of(self.api, self.target, program.check_argv(self.own_lines.process), REPLY_TIMEOUT)
        return {"running": True, "gone": False}.get(reply or "")

    async def end(self, grace: float, within: float) -> Termination:
        """End the process and its session; return after at most ``within`` seconds.

        A program that has not begun will not begin. A helper in the pod sends SIGKILL after
        ``grace`` seconds, even if this call has returned.
        """
        if not self._is_sent:
            self._is_given_up = True
            return Termination("it had not begun", may_still_run=False, was_signalled=False)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(within, ANNOUNCEMENT_TIMEOUT)):
                await self._announced.wait()
        process = self.own_lines.process
        if process is None:
            return self.not_ended
        had_ended = self.own_lines.exit_code is not None  # what it has left in its session may remain
        was_signalled = self._may_be_signalled  # then the exit code is not the program's own
        self._may_be_signalled = was_signalled or not had_ended
        reply = await reply_of(self.api, self.target, program.end_argv(process, self.invocation, grace), within)
        termination = termination_of(reply, process.group, grace, self._enter, had_ended=had_ended)
        return termination._replace(was_signalled=termination.was_signalled or was_signalled)

    @property
    def not_ended(self) -> Termination:
        """What is to be said of a program that is not seen to end."""
        process = self.own_lines.process
        if process is None:
            why = "it could not be ended, because the pod has not reported its process"
            return Termination(why, may_still_run=True, was_signalled=False)
        return termination_of(None, process.group, 0, self._enter, had_ended=False)

    @property
    def _enter(self) -> str:
        """The command that runs another one in the container."""
        return f"kubectl exec -n {self.target.namespace} {self.target.pod} -c {self.target.container} --"

    async def _run(
        self, argv: Sequence[str], data: bytes, protocols: Sequence[str] = protocol.PROTOCOLS
    ) -> tuple[ExecStatus | None, str]:
        """The status, or None and the reason why there is no status."""
        try:
            # A program that waits for its stdin has done nothing if the connection fails.
            patience = CALL_PATIENCE if data else 0
            async with open_exec(
                self.api, self.target, argv, stdin=bool(data), patience=patience, protocols=protocols
            ) as session:
                await self._on_open()
                return await self._read(session, data)
        finally:
            self._recorder.add(Channel.STDOUT, self.own_lines.rest())
            self._recorder.finish()

    async def _read(self, session: ExecSession, data: bytes) -> tuple[ExecStatus | None, str]:
        feeding = asyncio.ensure_future(self._feed(session, data))
        try:
            async for channel, received in session:
                is_stdout = channel is Channel.STDOUT
                self._recorder.add(channel, self.own_lines.feed(received) if is_stdout else received)
                if self.own_lines.has_begun:
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
        """Why the container can never start a shell, None if it can or if that is unknown.

        A server that closes a connection on which bytes arrive loses its last words, the status.
        So an exec to which nothing is sent asks again. Any other failure of its start is its own:
        beside a script that runs, the container may have no room for another process.
        """
        _, status = await ask_helper(self.api, self.target, ["sh", "-c", ":"], REPLY_TIMEOUT)
        return status if status and (status.missing_program or status.program_fault) else None
