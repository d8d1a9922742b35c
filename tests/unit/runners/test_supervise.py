"""The end of a process at its timeout."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from airflow_script_provider.kube.exec.protocol import Channel
from airflow_script_provider.runners.local import LocalProcess
from airflow_script_provider.runners.recording import ProcessEnd, end_at_deadline
from airflow_script_provider.runners.script_run import ScriptRun
from airflow_script_provider.runners.supervise import OnOutput, supervise
from airflow_script_provider.runners.terminal import Size
from airflow_script_provider.sources.inline import InlineScript

TIMED_OUT = ProcessEnd(None, timed_out=True)


class StandInProcess:
    """A process whose output stays open until it is ended, or longer."""

    def __init__(
        self, end: ProcessEnd | Exception, *, was_signalled: bool = False, reported: ProcessEnd | None = None
    ) -> None:
        self._end, self._was_signalled, self._ended = end, was_signalled, asyncio.Event()
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

    async def end(self, grace: float) -> bool:
        """End it."""
        self._ended.set()
        return self._was_signalled


def a_run(timeout: float) -> ScriptRun:
    """A run with a timeout."""
    return ScriptRun(source=InlineScript("true"), timeout=timeout)


@pytest.mark.parametrize(
    ("process", "end"),
    [
        (lambda: StandInProcess(ProcessEnd(0)), ProcessEnd(0)),
        (lambda: StandInProcess(ProcessEnd(3)), ProcessEnd(3)),
        (lambda: StandInProcess(ProcessEnd(0), was_signalled=True), TIMED_OUT),
        (lambda: StandInProcess(ProcessEnd(None, cause="outcome unknown", is_unknown=True)), TIMED_OUT),
        (lambda: StandInProcess(OSError("broke"), reported=ProcessEnd(3)), ProcessEnd(3)),
        (lambda: StandInProcess(OSError("broke")), TIMED_OUT),
    ],
)
async def test_a_script_that_ended_by_itself_before_its_timeout(process: type, end: ProcessEnd) -> None:
    """Its exit code counts; one that was ended by the timeout is never a success (R1, R5)."""
    output: list[bytes] = []
    assert await supervise(process(), a_run(0.01), lambda _, data: output.append(data)) == end
    assert output == [b"last words\n"]


def test_an_end_that_is_never_known() -> None:
    """The timeout is what is known (R5)."""
    assert end_at_deadline(None, was_signalled=False) == TIMED_OUT


@pytest.mark.parametrize(
    ("argv", "end"),
    [
        (["sh", "-c", "setsid sleep 2 & exit 4"], ProcessEnd(4)),
        (["sh", "-c", "trap 'exit 0' TERM; sleep 9 & wait"], TIMED_OUT),
    ],
)
async def test_a_child_at_its_timeout(argv: Sequence[str], end: ProcessEnd) -> None:
    """What a script has left behind keeps the output open, but is not the script (R1, R5)."""
    process = LocalProcess(argv, {"PATH": "/usr/bin:/bin"}, a_run(0.5))
    try:
        assert await supervise(process, a_run(0.5), lambda _, __: None) == end
    finally:
        process.close()
