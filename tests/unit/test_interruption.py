"""A run in a thread that Airflow interrupts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import BaseOperator
from airflow.sdk.execution_time.context import set_current_context

from airflow_script_provider._airflow import AirflowTaskTimeout, before_on_kill
from airflow_script_provider._interruption import EndOfTry, InterruptibleRun, answer_of, end_all, ended_by_sigterm
from airflow_script_provider.exceptions import RunKilledError, ScriptSourceError
from tests.patience import PATIENCE, until


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


@pytest.mark.parametrize("shared", [False, True], ids=["a run each", "one run"])
def test_a_killed_task_ends_the_runs_of_its_threads(shared: bool) -> None:
    """Airflow calls ``on_kill`` of a ``@task``: the runs in all its threads end, and so does what it did (R3)."""
    began, own, one = threading.Barrier(4), [], InterruptibleRun()

    async def main() -> None:
        await asyncio.to_thread(began.wait)
        await for_ever()

    class Operator(BaseOperator):
        def on_kill(self) -> None:
            own.append("on_kill")

    def run_until_killed() -> None:
        run = one if shared else InterruptibleRun()
        before_on_kill(end_all)
        with ended_by_sigterm(run), pytest.raises(RunKilledError):
            run.run(main)

    operator = Operator(task_id="task")
    with set_current_context({"ti": SimpleNamespace(task=operator)}), ThreadPoolExecutor(3) as threads:  # type: ignore[typeddict-item]
        runs = [threads.submit(run_until_killed) for _ in range(3)]
        began.wait(PATIENCE)
        operator.on_kill()
        assert [run.result(PATIENCE) for run in runs] == [None] * 3
    assert own == ["on_kill"]


@pytest.mark.parametrize(
    ("of_try", "kill", "later", "is_refused"),
    [
        ("a", end_all, "a", True),
        (None, end_all, None, True),
        ("a", end_all, "b", False),
        ("a", end_all, None, False),
        (None, EndOfTry("a"), "a", True),
        (None, EndOfTry("a"), "b", False),
        ("a", lambda: os.kill(os.getpid(), signal.SIGTERM), "a", True),
    ],
)
def test_a_kill_is_remembered_for_its_try(
    run: InterruptibleRun, of_try: str | None, kill: Callable[[], None], later: str | None, is_refused: bool
) -> None:
    """Code that catches the error and goes on gets no new run; another try of this process does (R1, R3)."""

    async def main() -> str:
        return "done"

    with ended_by_sigterm(run, of_try):
        kill()
    new = InterruptibleRun()
    with ended_by_sigterm(new, later), pytest.raises(RunKilledError) if is_refused else contextlib.nullcontext():
        assert new.run(main) == "done"


def test_a_signal_ends_the_runs_of_other_threads_also(run: InterruptibleRun) -> None:
    """A SIGTERM that the main thread's run handles ends all others (R3)."""
    began = threading.Barrier(2)

    def in_thread() -> None:
        other = InterruptibleRun()
        with ended_by_sigterm(other), pytest.raises(RunKilledError):
            other.run(waits)

    async def waits() -> None:
        await asyncio.to_thread(began.wait)
        await for_ever()

    async def main() -> None:
        await asyncio.to_thread(began.wait)
        os.kill(os.getpid(), signal.SIGTERM)
        await for_ever()

    with ThreadPoolExecutor(1) as threads, ended_by_sigterm(run):
        other = threads.submit(in_thread)
        with pytest.raises(RunKilledError):
            run.run(main)
        assert other.result(PATIENCE) is None


async def test_a_signal_ends_a_run_in_a_loop_whose_others_ended(run: InterruptibleRun) -> None:
    """Runs of one event loop overlap: the handler stays until the last of them has ended (R3)."""
    own, over = [], asyncio.Event()
    handler = signal.signal(signal.SIGTERM, lambda *_: own.append("SIGTERM"))
    before = signal.getsignal(signal.SIGTERM)

    async def follow(main: Callable[[], Coroutine[Any, Any, object]]) -> object:
        with ended_by_sigterm(run, in_loop=True):
            return await run.run_in_loop(main)

    try:
        first, second = asyncio.create_task(follow(over.wait)), asyncio.create_task(follow(for_ever))
        await asyncio.sleep(0)
        over.set()
        assert await first is True
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(RunKilledError):
            await asyncio.wait_for(second, PATIENCE)
        assert (own, signal.getsignal(signal.SIGTERM)) == (["SIGTERM"], before)
    finally:
        signal.signal(signal.SIGTERM, handler)


@pytest.mark.parametrize(("killed", "error"), [(True, RunKilledError), (False, asyncio.CancelledError)])
async def test_a_run_in_a_loop_clears_up_first(run: InterruptibleRun, killed: bool, error: type[BaseException]) -> None:
    """A kill, or the code of the event loop itself, cancels it; only a kill is reported as one (R3)."""
    began, deleted = asyncio.Event(), []

    async def main() -> None:
        try:
            began.set()
            await for_ever()
        finally:
            await asyncio.sleep(0)
            deleted.append("job")

    waiting = asyncio.create_task(run.run_in_loop(main))
    await began.wait()
    (run.kill if killed else waiting.cancel)()
    with pytest.raises(error):
        await asyncio.wait_for(waiting, PATIENCE)
    assert deleted == ["job"]


def test_a_killed_loop_ends_when_all_its_runs_have_cleared_up() -> None:
    """Airflow closes the loop of an async ``@task`` at the first error that the task gets (R3)."""
    began, deleted = [], []

    async def main(name: str, steps: int) -> None:
        try:
            began.append(name)
            await for_ever()
        finally:
            for _ in range(steps):
                await asyncio.sleep(0)
            deleted.append(name)

    async def follow(name: str, steps: int) -> None:
        run = InterruptibleRun()
        with ended_by_sigterm(run, in_loop=True):
            await run.run_in_loop(partial(main, name, steps))

    async def task() -> None:
        both = asyncio.gather(follow("quick", 1), follow("slow", 100))
        await until(lambda: len(began) == 2, "two runs")
        end_all()
        await both

    loop = asyncio.new_event_loop()
    with pytest.raises(RunKilledError):
        loop.run_until_complete(task())
    loop.close()
    assert deleted == ["quick", "slow"]


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN])
async def test_a_run_in_a_loop_does_not_keep_sigterm_from_ending_a_process(
    run: InterruptibleRun, handler: signal.Handlers
) -> None:
    """The event loop may do other work, which would go on."""
    before = signal.signal(signal.SIGTERM, handler)
    try:
        with ended_by_sigterm(run, in_loop=True):
            assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_handler_that_was_set_meanwhile_stays(run: InterruptibleRun) -> None:
    """A run takes away only its own."""
    before, other = signal.getsignal(signal.SIGTERM), lambda *_: None
    try:
        with ended_by_sigterm(run):
            signal.signal(signal.SIGTERM, other)
        assert signal.getsignal(signal.SIGTERM) is other
    finally:
        signal.signal(signal.SIGTERM, before)


def test_outside_a_task_there_is_no_on_kill() -> None:
    """Plain code has no operator: nothing happens."""
    before_on_kill(end_all)


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


def test_a_coroutine_learns_what_a_handler_raised_while_it_waited() -> None:
    """Airflow's timeout mostly comes while the loop waits, and cancels the coroutine afterwards (R5)."""

    def expire(*_: object) -> None:
        raise AirflowTaskTimeout

    run, seen = InterruptibleRun(), []

    async def main() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        try:
            await for_ever()
        finally:
            seen.append(run.stray)

    before = signal.signal(signal.SIGALRM, expire)
    try:
        with pytest.raises(AirflowTaskTimeout):
            run.run(main)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert [type(stray) for stray in seen] == [AirflowTaskTimeout]


@pytest.mark.parametrize("in_loop", [False, True])
def test_a_run_is_not_ended_by_what_has_ended_the_one_before(run: InterruptibleRun, in_loop: bool) -> None:
    """The code of a ``@task`` may catch its timeout, and run another script with the same hook (R1, R3)."""

    def interrupted() -> None:
        with pytest.raises(AirflowTaskTimeout):
            run.run(raising)

    async def raising() -> None:
        asyncio.get_running_loop().call_soon(time_out)
        await for_ever()

    async def killed() -> None:
        seen.append(run.stray)
        await asyncio.to_thread(interrupted)
        run.kill()
        try:
            await for_ever()
        finally:
            seen.append(run.is_killed)

    seen: list[object] = []
    interrupted()
    with pytest.raises(RunKilledError):
        asyncio.run(run.run_in_loop(killed)) if in_loop else run.run(killed)
    assert seen == [None, True], "also if another thread is interrupted meanwhile"
