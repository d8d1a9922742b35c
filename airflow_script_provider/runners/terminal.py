"""Our own terminal: raw while a script has it, as it was afterwards, whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import termios
import threading
import tty
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple

_PIECE = 32 * 1024


class Size(NamedTuple):
    """Of a terminal, in characters."""

    columns: int
    lines: int


def size() -> Size:
    """The size of the terminal on stdin."""
    return Size(*os.get_terminal_size(sys.stdin.fileno()))


@contextlib.contextmanager
def raw(active: bool) -> Iterator[None]:
    """The terminal in raw mode: each key goes to the script, Ctrl+C as well."""
    if not active:
        yield
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor)
        yield
    finally:
        # What was typed and not read belongs to the shell again.
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextlib.contextmanager
def size_changes(active: bool, tell: Callable[[], Awaitable[None]]) -> Iterator[None]:
    """Call ``tell`` whenever the terminal's size changes."""
    if not active:
        yield
        return
    loop = asyncio.get_running_loop()
    telling: set[asyncio.Task[None]] = set()

    async def told() -> None:
        # A size that could not be told must not end the script.
        with contextlib.suppress(Exception):
            await tell()

    def changed() -> None:
        task = loop.create_task(told())
        telling.add(task)
        task.add_done_callback(telling.discard)

    before = signal.signal(signal.SIGWINCH, lambda number, frame: loop.call_soon_threadsafe(changed))
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
        for task in telling:
            task.cancel()


def stdin_pieces() -> asyncio.Queue[bytes]:
    """What arrives on stdin; an empty piece is its end.

    A thread reads, because an event loop cannot wait for a file. It reads a piece only when the last one is taken, and
    dies with the process: nothing else ends a read from a terminal.
    """
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[bytes] = asyncio.Queue(1)

    def read() -> None:
        data = b"begin"
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody reads any more
            while data:
                data = _read_piece()
                asyncio.run_coroutine_threadsafe(pieces.put(data), loop).result()

    threading.Thread(target=read, name="stdin", daemon=True).start()
    return pieces


def _read_piece() -> bytes:
    try:
        return os.read(sys.stdin.fileno(), _PIECE)
    except OSError:  # a terminal that hung up
        return b""
