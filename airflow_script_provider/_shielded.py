"""Work that a second interruption must not stop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
ABANDON_TIMEOUT = 4.0
"""Seconds for removing a run that is killed: Airflow sends SIGKILL five seconds after SIGTERM."""


async def shielded(work: Coroutine[Any, Any, T]) -> T:
    """The result of work that a second interruption must not stop, while the first one is handled.

    A first interruption that comes during the work is lost: the work ends the run in any case.
    """
    task = asyncio.ensure_future(work)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    return task.result()
