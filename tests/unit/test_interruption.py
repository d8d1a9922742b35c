"""A run in a thread that Airflow interrupts."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Iterator

import pytest

from airflow_script_provider._airflow import AirflowTaskTimeout
from airflow_script_provider._interruption import InterruptibleRun, answer_of
from airflow_script_provider.exceptions import RunKilledError, ScriptSourceError
from tests.patience import PATIENCE


@pytest.fixture
def run() -> Iterator[InterruptibleRun]:
    """A run that SIGTERM kills, as Airflow's handler does."""
    run = InterruptibleRun()
    before = signal.signal(signal.SIGTERM, lambda *_: run.kill())
    yield run
    signal.signal(signal.SIGTERM, before)


async def for_ever() -> None:
    """Wait until cancelled."""
    await asyncio.Event().wait()


def test_a_run_returns_what_its_coroutine_returns(run: InterruptibleRun) -> None:
    """Undisturbed, a run is its coroutine."""

    async def main() -> str:
        await asyncio.sleep(0)
        return "done"

    assert run.run(main) == "done"


def test_an_error_is_passed_on(run: InterruptibleRun) -> None:
    """What the coroutine raises is raised."""

    async def main() -> None:
        raise ScriptSourceError("no")

    with pytest.raises(ScriptSourceError, match=r"^no$"):
        run.run(main)


def test_a_signal_ends_the_run(run: InterruptibleRun) -> None:
    """A SIGTERM in the middle of waiting is a kill, never success (R1)."""

    async def main() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await for_ever()

    with pytest.raises(RunKilledError, match="killed"):
        run.run(main)


def test_a_killed_run_clears_up_first(run: InterruptibleRun) -> None:
    """The coroutine deletes its Job by itself before the kill goes on (R3)."""
    deleted = []

    async def main() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await for_ever()
        finally:
            await asyncio.sleep(0)
            deleted.append("job")

    with pytest.raises(RunKilledError):
        run.run(main)
    assert deleted == ["job"]


def test_a_kill_before_the_run_keeps_it_from_beginning(run: InterruptibleRun) -> None:
    """Nothing is created once the kill is recorded (R1)."""
    begun = []

    async def main() -> None:
        begun.append("job")

    run.kill()
    with pytest.raises(RunKilledError):
        run.run(main)
    assert begun == []


def test_a_kill_reaches_tasks_in_a_group(run: InterruptibleRun) -> None:
    """Children of the coroutine end with it."""
    ended = []

    async def child() -> None:
        try:
            await for_ever()
        finally:
            ended.append("child")

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(child())
            await asyncio.sleep(0)
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(RunKilledError):
        run.run(main)
    assert ended == ["child"]


def test_a_kill_after_the_end_does_nothing(run: InterruptibleRun) -> None:
    """A signal that comes late finds nothing to end."""

    async def main() -> str:
        return "done"

    assert run.run(main) == "done"
    run.kill()


def test_an_interruption_in_a_callback_ends_the_run(run: InterruptibleRun) -> None:
    """Airflow raises its timeout wherever Python happens to be; the loop would swallow it there (R5)."""

    def interrupt() -> None:
        raise AirflowTaskTimeout("execution_timeout")

    async def main() -> None:
        asyncio.get_running_loop().call_soon(interrupt)
        await for_ever()

    with pytest.raises(AirflowTaskTimeout, match="execution_timeout"):
        run.run(main)


def test_an_interruption_in_a_group_is_the_one_raised(run: InterruptibleRun) -> None:
    """Of a group's errors the interruption is what Airflow must see (R5)."""

    async def child() -> None:
        raise AirflowTaskTimeout("execution_timeout")

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(child())

    with pytest.raises(AirflowTaskTimeout):
        run.run(main)


def test_an_ordinary_stray_error_does_not_end_the_run(run: InterruptibleRun, caplog: pytest.LogCaptureFixture) -> None:
    """An ``Exception`` in a callback is logged by the loop, and the work goes on."""

    def stray() -> None:
        raise ValueError("stray")

    async def main() -> str:
        asyncio.get_running_loop().call_soon(stray)
        await asyncio.sleep(0)
        return "done"

    with caplog.at_level(logging.ERROR, "asyncio"):
        assert run.run(main) == "done"


@pytest.mark.parametrize(("interrupt", "is_killed"), [("kill", True), ("timeout", False)])
def test_a_kill_is_told_from_a_timeout(run: InterruptibleRun, interrupt: str, is_killed: bool) -> None:
    """A timeout always ends the Job; what a kill means is asked (R5)."""
    seen = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(run.kill if interrupt == "kill" else time_out)
        try:
            await for_ever()
        finally:
            seen.append(run.is_killed)

    with pytest.raises((RunKilledError, AirflowTaskTimeout)):
        run.run(main)
    assert seen == [is_killed]


async def test_a_blocking_question_is_answered() -> None:
    """In a thread, while the loop goes on."""
    assert await answer_of(lambda: threading.current_thread() is not threading.main_thread(), PATIENCE) is True


async def test_no_answer_in_time_is_none() -> None:
    """Nobody waits for a thread that hangs, not even the end of the process."""
    over = threading.Event()
    assert await answer_of(over.wait, 0.05) is None
    over.set()


async def test_a_question_that_fails_has_no_answer() -> None:
    """Whatever keeps Airflow from answering."""

    def fail() -> str:
        raise EOFError

    assert await answer_of(fail, 2) is None


def time_out() -> None:
    """What Airflow's alarm raises wherever Python happens to be."""
    raise AirflowTaskTimeout
