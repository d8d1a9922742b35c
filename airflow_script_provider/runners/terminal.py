"""Our own terminal: raw while a script uses it, and always restored afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import sys
import termios
import threading
import tty
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import CancelledError
from typing import NamedTuple

_PIECE = 32 * 1024


class Size(NamedTuple):
    """The size of a terminal, in characters."""

    columns: int
    lines: int


def size() -> Size:
    """The size of the terminal on stdin."""
    return Size(*os.get_terminal_size(sys.stdin.fileno()))


@contextlib.contextmanager
def raw(active: bool) -> Iterator[None]:
    """Put the terminal into raw mode: the script gets each key, and also Ctrl+C."""
    if not active:
        yield
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor)
        yield
    finally:
        # TCSADRAIN leaves input that was not read to the shell.
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextlib.contextmanager
def size_changes(active: bool, on_change: Callable[[], Awaitable[None]]) -> Iterator[None]:
    """Call ``on_change`` whenever the terminal's size changes."""
    if not active:
        yield
        return
    loop = asyncio.get_running_loop()
    calls: set[asyncio.Task[None]] = set()

    async def call() -> None:
        # A failed resize must not end the script.
        with contextlib.suppress(Exception):
            await on_change()

    def start_call() -> None:
        task = loop.create_task(call())
        calls.add(task)
        task.add_done_callback(calls.discard)

    before = signal.signal(signal.SIGWINCH, lambda number, frame: loop.call_soon_threadsafe(start_call))
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
        for task in calls:
            task.cancel()


def stdin_pieces() -> asyncio.Queue[bytes]:
    """The pieces that arrive on stdin; an empty piece is the end of stdin.

    A thread reads, because an event loop cannot wait for a file. It reads the next piece after the
    last one is taken. It ends with this process, because nothing else ends a read from a terminal.
    """
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[bytes] = asyncio.Queue(1)

    def read() -> None:
        data = b"begin"
        with contextlib.suppress(RuntimeError, CancelledError):  # the event loop is closed, or about to be
            while data:
                data = _piece_or_end()
                asyncio.run_coroutine_threadsafe(pieces.put(data), loop).result()

    threading.Thread(target=read, name="stdin", daemon=True).start()
    return pieces


def read_piece() -> bytes:
    """The next bytes of stdin, empty at its end. Another program may have made it non-blocking."""
    descriptor = sys.stdin.fileno()
    while True:
        try:
            return os.read(descriptor, _PIECE)
        except BlockingIOError:
            select.select([descriptor], [], [])


def _piece_or_end() -> bytes:
    try:
        return read_piece()
    except OSError:  # a terminal that hung up
        return b""
