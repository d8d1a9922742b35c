"""An event loop in the main thread that every signal wakes, and that loses no interruption."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import socket
import sys
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextvars import ContextVar
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")

_SIGNALS = 4096
_WAKING_INTERVAL = 0.5
"""Seconds; SIGKILL comes 5 s after SIGTERM."""
_handled: ContextVar[Sequence[BaseException | None]] = ContextVar("_handled", default=())
"""What is handled outside of the event loop; Python puts it behind every error of the loop."""


def run(main: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run``, with signal handlers that run at once."""
    with new_runner() as runner:
        return runner.run(_attentive(main))


@contextlib.contextmanager
def new_runner() -> Iterator[asyncio.Runner]:
    """A runner whose event loop knows what is handled outside of it.

    That is what the caller handles, and later what has interrupted the loop: the runner then
    cancels its tasks, which clear up while it handles the interruption.
    """
    handled = [sys.exc_info()[1]]
    before = _handled.set(handled)
    try:
        with asyncio.Runner() as runner:
            try:
                yield runner
            except BaseException as error:
                handled.append(error)
                raise
    finally:
        _handled.reset(before)


async def _attentive(main: Coroutine[Any, Any, T]) -> T:
    with woken_by_signals(), cancelled_by_each_ctrl_c():
        return await main


@contextlib.contextmanager
def cancelled_by_each_ctrl_c() -> Iterator[None]:
    """Let every Ctrl+C cancel the running task, as asyncio's own handler does for the first one.

    At the second one, that handler raises ``KeyboardInterrupt``. This cancels all tasks of the
    loop, also the one that deletes a Job because of the first.
    """
    handler = signal.getsignal(signal.SIGINT)
    if not isinstance(handler, functools.partial) or handler.keywords.get("main_task") is not asyncio.current_task():
        yield  # it is not asyncio's, or that of another thread's task
        return
    first: functools.partial[None] = handler
    task: asyncio.Task[Any] = handler.keywords["main_task"]
    more = 0

    def cancel(number: int, frame: FrameType | None) -> None:
        nonlocal more
        more += task.cancel()

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, cancel)
        first(number, frame)

    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, first)
        for _ in range(more):  # asyncio takes the first one back, and expects no other
            task.uncancel()


@contextlib.contextmanager
def woken_by_signals() -> Iterator[None]:
    """Let every signal wake the running event loop.

    Python runs a handler between two steps of the main thread. A signal may arrive when the last
    step is over and the loop does not sleep yet, while another thread takes the interpreter's
    lock. The handler would then wait until something else wakes the loop. Outside of the main
    thread no handler runs in any case.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    reader, writer = socket.socketpair()
    with reader, writer:
        reader.setblocking(False)
        writer.setblocking(False)
        loop.add_reader(reader, reader.recv, _SIGNALS)
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            loop.remove_reader(reader)


@contextlib.contextmanager
def woken_at_intervals() -> Iterator[None]:
    """Wake the running event loop, which is not ours, often enough for the handlers of signals.

    It may use its wakeup descriptor itself, as ``loop.add_signal_handler`` does.
    """
    loop = asyncio.get_running_loop()
    next_time: asyncio.TimerHandle

    def wake() -> None:
        nonlocal next_time
        next_time = loop.call_later(_WAKING_INTERVAL, wake)

    next_time = loop.call_later(_WAKING_INTERVAL, wake)
    try:
        yield
    finally:
        next_time.cancel()


def raise_interruption_behind(error: BaseException | None) -> None:
    """Raise what has interrupted this thread, if that stands behind a client's error.

    Airflow's timeout is raised wherever Python happens to be. aiohttp's parser catches all that is
    raised while it hands bytes on, and makes a client's error of it. What is handled already
    interrupts nothing any more: an author's code may handle it by a run of ours, and the runner
    by clearing up.
    """
    seen = {id(handled) for handled in _handled.get()}
    while error is not None and id(error) not in seen:
        if not isinstance(error, Exception | asyncio.CancelledError | GeneratorExit):
            raise error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
