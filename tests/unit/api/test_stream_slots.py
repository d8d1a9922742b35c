"""Log streams beyond the bound take turns."""

from __future__ import annotations

import asyncio

from airflow_script_provider.api.stream_slots import StreamSlots
from tests.patience import PATIENCE, until


async def test_no_more_than_that_at_once() -> None:
    """Who comes later waits, and is known to wait (R30)."""
    slots, inside = StreamSlots(2), []

    async def stream(name: str, done: asyncio.Event) -> None:
        async with slots.taken():
            inside.append(name)
            await done.wait()

    ends = [asyncio.Event() for _ in range(3)]
    tasks = [asyncio.create_task(stream(str(number), end)) for number, end in enumerate(ends)]
    await until(lambda: slots.is_wanted, "the third stream's wait")
    assert (inside, slots.is_wanted) == (["0", "1"], True)
    ends[0].set()
    await until(lambda: len(inside) == 3, "the third stream")
    assert (inside, slots.is_wanted) == (["0", "1", "2"], False)
    for end in ends:
        end.set()
    await asyncio.gather(*tasks)


async def test_who_gives_up_waiting_is_forgotten() -> None:
    """A cancelled wait takes no slot and is no reason for others to make room."""
    slots = StreamSlots(1)
    async with slots.taken():
        waiting = asyncio.create_task(slots.taken().__aenter__())
        await until(lambda: slots.is_wanted, "the wait")
        waiting.cancel()
        await asyncio.wait({waiting})
        assert not slots.is_wanted
    async with asyncio.timeout(PATIENCE), slots.taken():
        pass
