"""The end of a process at its timeout."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from airflow_script_provider.kube.exec.ends import Termination
from airflow_script_provider.kube.exec.protocol import Channel
from airflow_script_provider.result import RunLocation, Status
from airflow_script_provider.runners.local import LocalProcess
from airflow_script_provider.runners.recording import ProcessEnd, Recording, end_at_deadline
from airflow_script_provider.runners.script_run import ScriptRun
from airflow_script_provider.runners.supervise import OnOutput, supervise
from airflow_script_provider.runners.terminal import Size
from airflow_script_provider.sources.inline import InlineScript

TIMED_OUT = ProcessEnd(None, timed_out=True)
GONE = Termination("it had already ended", may_still_run=False, was_signalled=False)
KILLED = Termination("it was killed", may_still_run=False)
LEFT = Termination("process 12 cannot be killed", may_still_run=True)
STOPPED = ProcessEnd(
    0,
    cause="outcome unknown: script ended with exit code 0 after a SIGTERM; "
    "its timeout was over before it was known whether its pod or container ended as well",
    is_unknown=True,
)
MAY_RUN = ProcessEnd(None, timed_out=True, cause=LEFT.description, is_unknown=True)


class StandInProcess:
    """A process whose output stays open until it is ended, or longer."""

    def __init__(
        self, end: ProcessEnd | Exception, termination: Termination = GONE, *, reported: ProcessEnd | None = None
    ) -> None:
        self._end, self._termination, self._ended = end, termination, asyncio.Event()
        self.reported_end = reported

    async def follow(self, on_output: OnOutput) -> ProcessEnd:
        """Wait for the end."""
        await self._ended.wait()
        on_output(Channel.STDOUT, b"last words\n")
        if isinstance(self._end, Exception):
            raise self._end
        return self._end

    async def send(self, data: bytes) -> None:
        """Take nothing."""

    async def end_input(self) -> None:
        """Take nothing."""

    async def resize(self, size: Size) -> None:
        """Have no terminal."""

    async def end(self, grace: float) -> Termination:
        """End it."""
        self._ended.set()
        return self._termination


class NoScreen:
    """Shows nothing."""

    def stdout(self, data: bytes) -> None:
        """Take it."""

    def stderr(self, data: bytes) -> None:
        """Take it."""

    def note(self, text: str, *, important: bool = False) -> None:
        """Take it."""


def a_run(timeout: float) -> ScriptRun:
    """A run with a timeout."""
    return ScriptRun(source=InlineScript("true"), timeout=timeout)


@pytest.mark.parametrize(
    ("process", "end"),
    [
        (lambda: StandInProcess(ProcessEnd(0)), ProcessEnd(0)),
        (lambda: StandInProcess(ProcessEnd(3)), ProcessEnd(3)),
        (lambda: StandInProcess(ProcessEnd(0), KILLED), TIMED_OUT),
        (lambda: StandInProcess(ProcessEnd(0), LEFT), TIMED_OUT),
        (lambda: StandInProcess(OSError("broke"), LEFT), MAY_RUN),
        (lambda: StandInProcess(ProcessEnd(None, cause="outcome unknown", is_unknown=True)), TIMED_OUT),
        (lambda: StandInProcess(OSError("broke"), reported=ProcessEnd(3)), ProcessEnd(3)),
        (lambda: StandInProcess(OSError("broke")), TIMED_OUT),
        (lambda: StandInProcess(OSError("broke"), reported=ProcessEnd(0, got_sigterm=True)), STOPPED),
        (lambda: StandInProcess(ProcessEnd(3, got_sigterm=True)), ProcessEnd(3, got_sigterm=True)),
        (lambda: StandInProcess(ProcessEnd(0, got_sigterm=True), KILLED), TIMED_OUT),
    ],
)
async def test_a_script_that_ended_by_itself_before_its_timeout(process: type, end: ProcessEnd) -> None:
    """Its exit code counts; one that was ended by the timeout is never a success (R1, R5)."""
    output: list[bytes] = []
    assert await supervise(process(), a_run(0.01), lambda _, data: output.append(data)) == end
    assert output == [b"last words\n"]


@pytest.mark.parametrize(
    ("termination", "error"),
    [
        (GONE, "script was ended after its timeout of 5 s"),
        (KILLED, "script was ended after its timeout of 5 s"),
        (LEFT, "script ran longer than its timeout of 5 s, and may still be running: process 12 cannot be killed"),
    ],
)
def test_an_end_that_is_never_known(termination: Termination, error: str) -> None:
    """The timeout is what is known, and whether the script was ended (R5)."""
    run, end = a_run(5), end_at_deadline(None, termination)
    assert Recording(run, NoScreen()).result(end, run.script, RunLocation()).error == error


def test_a_script_that_was_stopped_with_0_is_not_completed() -> None:
    """The result has its exit code, and that its outcome is unknown (R1, R36)."""
    run = a_run(5)
    result = Recording(run, NoScreen()).result(STOPPED, run.script, RunLocation())
    assert (result.status, result.exit_code, result.error) == (Status.FAILED, 0, STOPPED.cause)


@pytest.mark.parametrize(
    ("argv", "end"),
    [
        (["sh", "-c", "setsid sleep 2 & exit 4"], ProcessEnd(4)),
        (["sh", "-c", "trap 'exit 0' TERM; sleep 9 & wait"], TIMED_OUT),
        (["sh", "-c", "timeout 9 sleep 9 & exit 4"], ProcessEnd(4)),
    ],
)
async def test_a_child_at_its_timeout(argv: Sequence[str], end: ProcessEnd) -> None:
    """What a script has left behind keeps the output open, but is not the script (R1, R5)."""
    process = LocalProcess(argv, {"PATH": "/usr/bin:/bin"}, a_run(0.5))
    try:
        assert await supervise(process, a_run(0.5), lambda _, __: None) == end
    finally:
        process.close()
