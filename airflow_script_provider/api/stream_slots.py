"""A bounded number of open log streams, shared in turns by more pods than that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

TURN = 5.0
"""Seconds that a stream may keep its slot while others wait for one."""


class StreamSlots:
    """``size`` streams may be open at once; who waits longest is next.

    ``delivery`` is held by the one whose lines are being dealt with: what all have ready at a time
    would hold up the event loop for seconds.
    """

    def __init__(self, size: int) -> None:
        self.delivery = asyncio.Lock()
        self._free = asyncio.Semaphore(size)
        self._waiting = 0

    @property
    def is_wanted(self) -> bool:
        """Whether another stream waits for a slot."""
        return self._waiting > 0

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """A slot, as soon as one is free."""
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._free.release()
