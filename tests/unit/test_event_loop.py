"""Signals that arrive while an event loop runs, or falls asleep."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from airflow_script_provider import _event_loop
from airflow_script_provider._interruption import InterruptibleRun
from airflow_script_provider._shielded import shielded
from tests.patience import LONG, PATIENCE


def _tell_another_thread() -> None:
    """A signal whose delivery interrupts no system call of the main thread."""
    signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)


async def _handled(told: asyncio.Event, signals_before: int) -> None:
    for _ in range(signals_before):
        signal.raise_signal(signal.SIGUSR1)
    await asyncio.sleep(0.1)
    told.clear()
    threading.Timer(0.2, _tell_another_thread).start()
    woken_by_time: list[bool] = []
    asyncio.get_running_loop().call_later(PATIENCE, woken_by_time.append, True)
    await told.wait()
    await asyncio.sleep(0)  # what woke the loop runs, too
    assert not woken_by_time


@pytest.mark.parametrize("signals_before", [0, 10_000])
def test_handler_runs_although_nothing_else_wakes_the_loop(signals_before: int) -> None:
    """However many signals have come at once before."""
    told = asyncio.Event()
    previous = signal.signal(signal.SIGUSR1, lambda number, frame: told.set())
    try:
        _event_loop.run(_handled(told, signals_before))
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert signal.set_wakeup_fd(-1) == -1


@pytest.fixture
def ctrl_c() -> Iterator[Callable[[], None]]:
    """What Ctrl+C does; a process that runs the tests may ignore it."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield lambda: signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, previous)


def _run_as_a_task(main: Coroutine[Any, Any, None]) -> None:
    InterruptibleRun().run(lambda: main)


@pytest.mark.parametrize("run", [_event_loop.run, _run_as_a_task])
@pytest.mark.parametrize("times", [1, 2, 4])
def test_more_ctrl_c_does_not_stop_the_clearing_up(
    run: Callable[[Coroutine[Any, Any, None]], None], times: int, ctrl_c: Callable[[], None]
) -> None:
    """The deletion of a Job goes on, however often the user presses Ctrl+C (R3, R6)."""
    cleared_up = []

    async def clear_up() -> None:
        for _ in range(times - 1):
            ctrl_c()
            await asyncio.sleep(0)
        cleared_up.append(True)

    async def main() -> None:
        try:
            ctrl_c()
            await asyncio.sleep(LONG)
        finally:
            await shielded(clear_up())

    with pytest.raises(KeyboardInterrupt):
        run(main())
    assert cleared_up


def test_more_ctrl_c_cancels_what_takes_long(ctrl_c: Callable[[], None]) -> None:
    """What is not shielded ends at the second Ctrl+C (R10)."""

    async def main() -> None:
        try:
            ctrl_c()
            await asyncio.sleep(LONG)
        finally:
            ctrl_c()
            await asyncio.sleep(LONG)

    with pytest.raises(KeyboardInterrupt):
        _event_loop.run(main())
