"""A log that changes hands while it is printed, and logs that share few streams: each line once, in order."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.api.resources import Call
from airflow_script_provider.jobs import log_reader
from airflow_script_provider.kube.job.follow_state import JobEnd
from airflow_script_provider.kube.job.launched import LaunchedJob
from airflow_script_provider.kube.job.verdict import Cause
from airflow_script_provider.triggers import shared_cluster
from tests.cluster.kubectl import Kubectl
from tests.cluster.tasks import KEEPS_LONG_LOGS, ROTATES_LOGS
from tests.cluster.test_trigger import Log, a_trigger, event_of, go_on, launched, lines, logged, running
from tests.cluster.told_to_end import STEPS
from tests.faulty_api import FaultyApi
from tests.patience import until

pytestmark = pytest.mark.usefixtures("nothing_blocks")

COUNT = 20_000
BURSTS = """
for i in range(COUNT):
    i in STOPS and wait(i)
    print('n', i)
    i % 50 or time.sleep(0.02)
"""
PIECES = """
import sys
for i in range(40):
    i in STOPS and wait(i)
    sys.stdout.write(f"n {i} ")
    for _ in range(4):
        sys.stdout.write("x" * 8_000)
        sys.stdout.flush()
        time.sleep(0.05)
    print()
"""


def stopping(script: str, at: dict[int, int]) -> str:
    """The script, which does not print more than so many lines before it is told that a triggerer has ended."""
    return STEPS + script.replace("COUNT", str(COUNT)).replace("STOPS", str([*at.values()]))


async def handed_over(
    job: LaunchedJob, shared: dict[str, Any], log: Log, kubectl: Kubectl, at: dict[int, int]
) -> list[int]:
    """Follow a Job to its end by triggerers that end at so many lines; how many lines there were as each ended."""
    found = []
    for count, stop in at.items():
        async with running(a_trigger(job, shared)) as following:
            await logged(log, "n ", count)
            assert not following.done()
        found.append(len(lines(log, "n ")))
        await go_on(kubectl, job, stop)
    ended = JobEnd.from_dict((await event_of(a_trigger(job, shared)))["ended"])
    assert ended.verdict.cause is Cause.SCRIPT_SUCCEEDED
    assert not lines(log, "The triggerer that followed")
    return found


async def test_bursts_change_hands(shared: dict[str, Any], log: Log, kubectl: Kubectl) -> None:
    """Twenty thousand lines in bursts, five triggerers one after the other: each line once, in order (R4, R19)."""
    at = {3_000: 5_000, 7_000: 9_000, 11_000: 13_000, 15_000: 17_000}
    job = await launched(shared, stopping(BURSTS, at))
    found = await handed_over(job, shared, log, kubectl, at)
    assert lines(log, "n ") == [f"n {i}" for i in range(COUNT)]
    assert all(count < COUNT for count in found), "each triggerer but the last one ended in the middle"


async def test_bursts_change_hands_while_their_log_rotates(shared: dict[str, Any], log: Log, kubectl: Kubectl) -> None:
    """Whoever reads on where the file is another one by now: nothing twice, nothing out of order, and to the end (R4).

    What was printed between two readers, and was in the old file only, the API no longer shows: a known limit.
    """
    at = {3_000: 5_000, 6_000: 8_000, 9_000: 11_000}
    script = stopping(BURSTS, at).replace("'n', i", "'n', i, 'x' * 60")
    job = await launched(shared, script, node_selector=ROTATES_LOGS)
    await handed_over(job, shared, log, kubectl, at)
    numbers = [int(line.split()[1]) for line in lines(log, "n ")]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == COUNT - 1


async def test_lines_in_pieces_change_hands(shared: dict[str, Any], log: Log, kubectl: Kubectl) -> None:
    """What is printed of a line when a triggerer ends comes whole from the next one (R19, R23)."""
    at = {5: 9, 12: 16, 20: 24}
    job = await launched(shared, stopping(PIECES, at), node_selector=KEEPS_LONG_LOGS)
    await handed_over(job, shared, log, kubectl, at)
    assert lines(log, "n ") == [f"n {i} {'x' * 32_000}" for i in range(40)]


async def test_a_triggerer_that_ends_before_its_first_line(shared: dict[str, Any], log: Log, kubectl: Kubectl) -> None:
    """What it took over it leaves to the next one as it was, however early it ends (R4, R19)."""
    job = await launched(shared, stopping(BURSTS, {}))
    async with running(a_trigger(job, shared)):
        await logged(log, "n ", 3_000)
    for moment in (0.0, 0.02, 0.05, 0.1, 0.2, 0.4):
        async with running(a_trigger(job, shared)):
            await asyncio.sleep(moment)
    await handed_over(job, shared, log, kubectl, {})
    assert lines(log, "n ") == [f"n {i}" for i in range(COUNT)]


class Streams:
    """Counts the followed logs that a client has open: a server hears of the end of one only later."""

    def __init__(self) -> None:
        self.open = self.most = 0

    def counted(self, stream: Any) -> Any:
        """The same as ``KubernetesApi.stream``."""

        @asynccontextmanager
        async def counting(api: KubernetesApi, call: Call, **arguments: Any) -> AsyncIterator[Any]:
            is_followed_log = call.query.get("follow") == "true"
            async with stream(api, call, **arguments) as content:
                self.open += is_followed_log
                self.most = max(self.most, self.open)
                try:
                    yield content
                finally:
                    self.open -= is_followed_log

        return counting


async def test_few_streams_for_many_scripts(
    shared: dict[str, Any], api: FaultyApi, log: Log, kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six scripts that print at once take turns at two streams: each line of each once, in order (R19, R30)."""
    monkeypatch.setattr(shared_cluster, "LOG_STREAMS", 2)
    monkeypatch.setattr(log_reader, "TURN", 1.0)
    streams = Streams()
    monkeypatch.setattr(KubernetesApi, "stream", streams.counted(KubernetesApi.stream))
    names = "abcdef"
    script = f"{STEPS}for i in range(600):\n    print('{{}}', i)\n    time.sleep(0.02)\n    i == 500 and wait('')"
    jobs = await asyncio.gather(*(launched(shared, script.replace("{}", name)) for name in names))
    through = shared | {"config_file": api.kubeconfig}
    following = [asyncio.create_task(event_of(a_trigger(job, through))) for job in jobs]
    await until(lambda: api.count("/log.*follow=true") > 2 * len(names), "turns at the streams")
    for job in jobs:
        await go_on(kubectl, job)
    events = await asyncio.gather(*following)
    assert {JobEnd.from_dict(event["ended"]).verdict.cause for event in events} == {Cause.SCRIPT_SUCCEEDED}
    said = {name: [line for line in lines(log, f"{name} ") if re.fullmatch(r"\w \d+", line)] for name in names}
    assert said == {name: [f"{name} {i}" for i in range(600)] for name in names}
    assert streams.most == 2
