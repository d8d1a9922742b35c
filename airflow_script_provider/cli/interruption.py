"""Treat SIGTERM, SIGHUP and SIGQUIT as Ctrl+C, which every runner passes on to the script."""

from __future__ import annotations

import signal
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_received: list[int] = []


def treat_signals_as_ctrl_c() -> None:
    """Treat these signals as Ctrl+C, except one that is ignored already, as SIGHUP by nohup."""
    # A program that a shell script starts with & ignores SIGINT, which SIGTERM and a broken pipe
    # are turned into.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def interrupt() -> None:
    """Do what Ctrl+C does."""
    signal.raise_signal(signal.SIGINT)


def signal_received() -> int:
    """The number of the signal that ended this program."""
    return _received[0] if _received else signal.SIGINT


def _end(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    interrupt()
