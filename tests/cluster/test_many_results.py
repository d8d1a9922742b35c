"""Many short scripts, all deferred: each gets its own result, with no sidecar to wait for."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from tests.cluster.kubectl import Kubectl
from tests.cluster.test_flakes import CONFLICT, CREATE
from tests.cluster.test_trigger import Log, a_trigger, event_of, launched, lines
from tests.faulty_api import TWO_OF_THREE, FaultyApi
from tests.patience import LONG, wait_for
from tests.task_runs import a_script_run

AT_ONCE = 20
"""Scripts under way at a time: two hundred pods that start together would take the nodes minutes."""
LAUNCHING = 100
"""The same, where what matters is the launch."""


@pytest.mark.parametrize("scripts", [40, pytest.param(200, marks=pytest.mark.nightly)])
async def test_each_script_has_its_own_result(
    shared: dict[str, Any], log: Log, nothing_blocks: None, scripts: int
) -> None:
    """Many scripts of 50 ms, followed by triggers in one event loop: each has its value and its line (R21)."""
    script = "import time\ntime.sleep(0.05)\nprint('{\"n\": %d}')"
    slots = asyncio.Semaphore(AT_ONCE)

    async def value(number: int) -> Any:
        async with slots:
            job = await launched(shared, script % number)
            event = await event_of(a_trigger(job, shared))
            return (await asyncio.to_thread(a_script_run(shared["config_file"]).resume, event)).result.value

    values = await asyncio.gather(*(value(number) for number in range(scripts)))
    assert values == [{"n": number} for number in range(scripts)]
    assert Counter(lines(log, '{"n"')) == {f'{{"n": {number}}}': 1 for number in range(scripts)}
    assert lines(log, "The ") == []  # neither "The log of pod … is incomplete" nor "The triggerer could not follow"


@pytest.mark.nightly
async def test_launches_that_conflict_all_end_right(
    api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl, nothing_blocks: None
) -> None:
    """300 scripts under a quota, two of three creates answered with ``Conflict``: 300 right results (R34)."""
    where = ("-n", flaky["namespace"])
    await asyncio.to_thread(kubectl, "create", "quota", "all", "--hard=count/jobs.batch=400,secrets=400", *where)
    api.on(CREATE.format("(jobs|secrets|configmaps)"), CONFLICT, numbers=TWO_OF_THREE)
    slots = asyncio.Semaphore(LAUNCHING)

    async def value(number: int) -> Any:
        async with slots:
            script, env = "import os\nprint(os.environ['N'])", {"N": str(number)}
            job = await launched(flaky, script, env=env, ttl_seconds_after_finished=LONG)
            event = await event_of(a_trigger(job, flaky))
            return (await asyncio.to_thread(a_script_run(flaky["config_file"]).resume, event)).result.value

    assert await asyncio.gather(*(value(number) for number in range(300))) == list(range(300))

    def succeeded() -> bool:
        return [job["status"].get("succeeded") for job in kubectl.items("jobs", flaky["namespace"])] == [1] * 300

    await asyncio.to_thread(wait_for, succeeded, "one success of each of 300 Jobs")
    wait_for(lambda: not kubectl.names("secrets", flaky["namespace"]), "the end of all Secrets")
