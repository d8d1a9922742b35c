"""How long tests wait: until something is so. A bound ends what hangs, and never decides what is right."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 600.0
"""Seconds for anything that a test waits for. The busiest machine must need less."""
LONG = 3600
"""Seconds of a script's sleep, or of a timeout, that no test sees the end of."""
_PAUSE = 0.1


def wait_for(look: Callable[[], T | None], what: str) -> T:
    """The first true answer; fails when there is none in all patience."""
    end = time.monotonic() + PATIENCE
    while not (found := look()):
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come about within {PATIENCE:g} s")
        time.sleep(_PAUSE)
    return found


async def until(look: Callable[[], T | None], what: str) -> T:
    """The same in an event loop, for a look that does not block it."""
    end = time.monotonic() + PATIENCE
    while not (found := look()):
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come about within {PATIENCE:g} s")
        await asyncio.sleep(_PAUSE)
    return found


def wait_for_none(look: Callable[[], Collection[object]], what: str) -> None:
    """Wait until nothing of something is left; fails with what there still is."""
    end = time.monotonic() + PATIENCE
    while left := look():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come about within {PATIENCE:g} s: there is still {left}")
        time.sleep(_PAUSE)


def with_time_to_begin(
    run: Callable[[float], T], has_begun: Callable[[T], object], seconds: float = 5
) -> tuple[float, T]:
    """A timeout, and what ``run`` comes to with it: the first one, of ever longer ones, that leaves time to begin.

    A timeout that a test waits for must be short, and how long a beginning takes is the machine's business.
    """
    while not has_begun(done := run(seconds)):
        seconds *= 3
        if seconds > PATIENCE:
            raise AssertionError(f"nothing has begun within {seconds / 3:g} s: {done}")
    return seconds, done
