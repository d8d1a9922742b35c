"""One program in a container, from its start to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from typing import NamedTuple

from airflow_script_provider import exceptions
from airflow_script_provider.api.client import PATIENCE, KubernetesApi
from airflow_script_provider.execs.session import ExecSession, ExecTarget, open_exec
from airflow_script_provider.kube.exec import program
from airflow_script_provider.kube.exec.outcome import Broken, End, Exited, NotStarted, Printed
from airflow_script_provider.kube.exec.program import Invocation, Preamble
from airflow_script_provider.kube.exec.protocol import Channel, ExecStatus
from airflow_script_provider.kube.logs.lines import Lines, text_of
from airflow_script_provider.kube.wording import signal_name
from airflow_script_provider.run_log import StreamsLog

ANSWER_TIMEOUT = 15.0
"""Seconds for a small exec of ours to answer."""
ANNOUNCED_WITHIN = 1.5
"""Seconds that a run which is killed at once waits to hear what it has started."""


_OVER = ("gone", "ended", "killed")


class ProcessEnd(NamedTuple):
    """What came of ending a process, in words; ``may_run`` unless it is known to be gone."""

    words: str
    may_run: bool


class Streams:
    """Whole lines of both streams, in the order of arrival, into the log and into what the result keeps."""

    def __init__(self, log: StreamsLog, printed: Printed) -> None:
        self.log = log
        self.printed = printed
        self._lines = {Channel.STDOUT: Lines(), Channel.STDERR: Lines()}

    def add(self, channel: Channel, data: bytes) -> None:
        """Bytes of a stream."""
        self._deliver(channel, self._lines[channel].feed(data))

    def finish(self) -> None:
        """Last lines without a line end."""
        for channel, lines in self._lines.items():
            self._deliver(channel, lines.finish())

    def _deliver(self, channel: Channel, lines: Sequence[bytes]) -> None:
        if not lines:
            return
        is_stdout = channel is Channel.STDOUT
        self.printed.both.add(lines)
        (self.printed.stdout if is_stdout else self.printed.stderr).add(lines)
        self.log.output([text_of(line) for line in lines], logging.INFO if is_stdout else logging.WARNING)


class Program:
    """An invocation in a container. ``run`` starts it and reads it to its end, ``end`` ends it meanwhile."""

    def __init__(self, api: KubernetesApi, target: ExecTarget, invocation: Invocation, streams: Streams) -> None:
        self.api = api
        self.target = target
        self.invocation = invocation
        self.preamble = Preamble(invocation)
        self._streams = streams
        self._announced = asyncio.Event()
        self._is_sent = False  # or being sent
        self._is_given_up = False

    async def run(self) -> End:
        """Through the container's shell, which everything that it is given travels to on stdin."""
        began = time.monotonic()
        status, why = await self._run(program.argv(), program.encode(self.invocation))
        self._streams.add(Channel.STDOUT, self.preamble.rest())
        return self._end_of(status, why, time.monotonic() - began, through_shell=True)

    async def run_without_shell(self) -> End:
        """A bare command in a container that has no shell."""
        began = time.monotonic()
        self.preamble.rest()
        self._is_sent = True  # with the request
        status, why = await self._run(list(self.invocation.argv), b"")
        return self._end_of(status, why, time.monotonic() - began, through_shell=False)

    async def runs(self) -> bool | None:
        """Whether the process is there, None where that cannot be found out."""
        if not self._is_sent:
            return False  # of code that breaks off nothing runs
        if self.preamble.process is None:
            return None
        said = await self._ask(program.look_argv(self.preamble.process), ANSWER_TIMEOUT)
        return {"running": True, "gone": False}.get(said or "")

    async def end(self, grace: float, within: float) -> ProcessEnd:
        """End the process and its group; what came of it within so many seconds. What has not begun never will.

        What it started in the pod goes on by itself: KILL follows after ``grace`` seconds, whether we wait or not.
        """
        if not self._is_sent:
            self._is_given_up = True
            return ProcessEnd("it had not begun", may_run=False)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(within, ANNOUNCED_WITHIN)):
                await self._announced.wait()
        process = self.preamble.process
        if process is None:
            return ProcessEnd("it could not be ended, because the pod has not said which process it is", may_run=True)
        said = await self._ask(program.end_argv(process, self.invocation, grace), within)
        words = {
            "gone": "it had ended",
            "ended": "it was ended",
            "killed": f"it was killed, {grace:g} s after SIGTERM",
            "left": f"process {process.group} cannot be killed",
            "": f"process {process.group} has got SIGTERM, SIGKILL follows after {grace:g} s",
        }
        by_hand = f"process {process.group} could not be ended. Run: {self._kill_by_hand(process.group)}"
        return ProcessEnd(by_hand if said is None else words.get(said, by_hand), said not in _OVER)

    def _kill_by_hand(self, group: int) -> str:
        where = f"-n {self.target.namespace} {self.target.pod} -c {self.target.container}"
        return f"kubectl exec {where} -- sh -c 'kill -- -{group}'"

    async def _run(self, argv: Sequence[str], data: bytes) -> tuple[ExecStatus | None, str]:
        """How it ended, or None and why nobody knows."""
        try:
            # What waits for its stdin has done nothing, if the connection does not come about.
            patience = PATIENCE if data else 0
            async with open_exec(self.api, self.target, argv, stdin=bool(data), patience=patience) as session:
                return await self._read(session, data)
        finally:
            self._streams.finish()

    async def _read(self, session: ExecSession, data: bytes) -> tuple[ExecStatus | None, str]:
        feeding = asyncio.ensure_future(self._feed(session, data))
        try:
            async for channel, received in session:
                is_stdout = channel is Channel.STDOUT
                self._streams.add(channel, self.preamble.feed(received) if is_stdout else received)
                if self.preamble.is_over:
                    self._announced.set()
        except exceptions.ApiUnreachableError as error:
            return None, str(error)
        finally:
            feeding.cancel()
            await asyncio.wait({feeding})
        return session.status, ""

    async def _feed(self, session: ExecSession, data: bytes) -> None:
        """Send all; that the other end went away is told by the status, or by the stream's end.

        Nothing begins before the last byte, so until then it can be given up.
        """
        with contextlib.suppress(exceptions.ApiUnreachableError):
            await session.send(data[:-1])
            if not self._is_given_up:
                self._is_sent = True
                await session.send(data[-1:])

    def _end_of(self, status: ExecStatus | None, why: str, seconds: float, *, through_shell: bool) -> End:
        if status is None:
            return Broken(why, seconds)
        if self.preamble.failure is not None:
            return NotStarted(self.preamble.failure)
        if status.is_start_failure:
            return _not_started(status, through_shell=through_shell)
        if status.exit_code is None:
            return Broken(f"{status.reason}: {status.message}", seconds)
        if through_shell and self.preamble.is_silent and not signal_name(status.exit_code):
            return NotStarted("code", f"exit code {status.exit_code}")
        return Exited(status.exit_code)

    async def _ask(self, argv: Sequence[str], within: float) -> str | None:
        """The word that a small program of ours prints; empty if it takes longer, None if it was not even started."""
        said: str | None = None
        try:
            asking = open_exec(self.api, self.target, argv, stdin=False, patience=within)
            async with asyncio.timeout(within), asking as session:
                said = ""
                async for channel, data in session:
                    said += data.decode("utf-8", "replace") if channel is Channel.STDOUT else ""
        except TimeoutError:
            return said
        except exceptions.KubernetesApiError:
            return said
        return said.strip()


def _not_started(status: ExecStatus, *, through_shell: bool) -> NotStarted:
    missing = status.missing_program
    if through_shell and missing == "sh":
        return NotStarted("sh")
    return NotStarted("program", f'the image has no "{missing}"' if missing else status.message)
