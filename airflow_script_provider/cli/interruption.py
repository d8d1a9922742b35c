"""Whoever ends us ends the script, in the one way that every executor knows: as Ctrl+C does."""

from __future__ import annotations

import signal
from types import FrameType

_ENDING = (signal.SIGTERM, signal.SIGHUP)
_ended_by: list[int] = []


def treat_as_ctrl_c() -> None:
    """Take SIGTERM and a hang-up for Ctrl+C, but for a hang-up that we were started to ignore, as by nohup."""
    # A shell script starts what it runs with & deaf to Ctrl+C, which SIGTERM and a reader that goes away need.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def interrupt() -> None:
    """What Ctrl+C does."""
    signal.raise_signal(signal.SIGINT)


def signal_received() -> int:
    """What ended us."""
    return _ended_by[0] if _ended_by else signal.SIGINT


def _end(number: int, frame: FrameType | None) -> None:
    _ended_by.append(number)
    interrupt()
