"""Many scripts that are over at once, all deferred: each gets its own result, with no sidecar to wait for."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from airflow_script_provider.hooks.script import KubernetesScriptHook
from airflow_script_provider.kube.outcome import Outcome
from tests.cluster.test_trigger import Log, a_trigger, event_of, launched, lines

T = TypeVar("T")

SCRIPTS = int(os.environ.get("TEST_MANY_RESULTS", "40"))
"""R21 asks for 200, which takes minutes where two nodes share a processor."""
AT_ONCE = 8
"""Launches, and results that are read, at a time: as many as a worker has slots."""
SECONDS = 60 + 2 * SCRIPTS


async def few_at_once(*works: Coroutine[Any, Any, T]) -> list[T]:
    """What these come to, ``AT_ONCE`` at a time."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(work: Coroutine[Any, Any, T]) -> T:
        async with slots:
            return await work

    return await asyncio.gather(*(one(work) for work in works))


@pytest.mark.timeout(3 * SECONDS)
async def test_each_script_has_its_own_result(shared: dict[str, Any], log: Log, nothing_blocks: None) -> None:
    """Scripts of 50 ms, followed by as many triggers in one event loop: each has its value and its line (R21)."""
    script = "import time\ntime.sleep(0.05)\nprint('{\"n\": %d}')"
    jobs = await few_at_once(*(launched(shared, script % number) for number in range(SCRIPTS)))
    events = await asyncio.gather(*(event_of(a_trigger(job, shared), SECONDS) for job in jobs))

    async def outcome(event: dict[str, Any]) -> Outcome:
        hook = KubernetesScriptHook(None, config_file=shared["config_file"])
        return await asyncio.to_thread(hook.resume, event)

    results = [concluded.result for concluded in await few_at_once(*map(outcome, events))]
    assert [result.value for result in results] == [{"n": number} for number in range(SCRIPTS)]
    assert Counter(lines(log, '{"n"')) == {f'{{"n": {number}}}': 1 for number in range(SCRIPTS)}
    assert lines(log, "The ") == []  # neither "The log of pod … is incomplete" nor "The triggerer could not follow"
