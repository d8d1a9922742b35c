"""Signals that arrive while an event loop falls asleep."""

from __future__ import annotations

import asyncio
import signal
import threading

import pytest

from airflow_script_provider import _event_loop
from tests.patience import PATIENCE


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
