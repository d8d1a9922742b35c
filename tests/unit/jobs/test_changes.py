"""The watches of one follower: of the pods at once, of a new Job when it is needed."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from airflow_script_provider.api import watch
from airflow_script_provider.api.watch import Change
from airflow_script_provider.jobs import changes
from airflow_script_provider.jobs.changes import Inbox, Item, Kind, OwnChanges
from airflow_script_provider.kube.job.launched import JobRef
from tests.builders import a_job, a_pod
from tests.patience import LONG, until
from tests.servers import Answer, WebServer
from tests.stand_in_api import api_of, requests, stand_in

JOBS, PODS = "/apis/batch/v1/namespaces/etl/jobs", "/api/v1/namespaces/etl/pods"
REF = JobRef("etl", "load", "uid-load")
SOME_WATCHES = 5


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause between two watches."""
    monkeypatch.setattr(watch, "backoff", lambda *_, **__: 0.0)


def created() -> dict[str, Any]:
    """The Job as the API server has answered its create."""
    job = a_job()
    return job | {"metadata": job["metadata"] | {"resourceVersion": "7"}}


def told(pod: dict[str, Any], kind: str = "MODIFIED") -> Answer:
    """A watch that tells this of a pod, and ends."""
    pod = pod | {"metadata": pod["metadata"] | {"resourceVersion": "8"}}
    event = json.dumps({"type": kind, "object": pod}).encode()
    return Answer(event + b"\n", headers={"Content-Type": "application/json"})


def job_watches(server: WebServer) -> list[str]:
    """The queries of the Job's watches."""
    return [one.path.partition("?")[2] for one in server.requests if one.path.startswith(JOBS)]


@pytest.mark.parametrize(
    "news",
    [
        told(a_pod(exit_code=1)),
        told(a_pod(phase="Failed", pod_reason="Evicted")),
        told(a_pod(running=True, being_deleted=True)),
        told(a_pod(running=True), "DELETED"),
    ],
    ids=["failed", "evicted", "being deleted", "deleted"],
)
async def test_a_new_job_is_watched_when_its_pod_does_not_succeed(
    news: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its controller decides what happens next; nothing since the creation is missed (R1, R10, R39)."""
    monkeypatch.setattr(changes, "JOB_UNWATCHED", LONG)
    with stand_in() as server:
        server.answers(PODS, told(a_pod(running=True)), news)
        async with api_of(server) as api, OwnChanges(api, created=created()).subscribe(REF, lambda *_: None):
            await until(lambda: job_watches(server), "a watch of the Job")
        assert "watch=1" in job_watches(server)[0]
        assert "resourceVersion=7" in job_watches(server)[0]


@pytest.mark.parametrize("pod", [a_pod(), a_pod(running=True), a_pod(exit_code=0, phase="Succeeded")])
async def test_a_job_whose_pod_is_well_is_not_watched_at_first(
    pod: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short script is over before its Job says anything that matters (R39)."""
    monkeypatch.setattr(changes, "JOB_UNWATCHED", LONG)
    with stand_in() as server:
        server.answers(PODS, told(pod))
        async with api_of(server) as api, OwnChanges(api, created=created()).subscribe(REF, lambda *_: None):
            await until(lambda: requests(server, "GET", PODS) > SOME_WATCHES, "some watches of the pods")
        assert job_watches(server) == []


async def test_a_new_job_that_a_queue_has_suspended_is_watched_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be admitted, and suspended again, within the seconds of a short script (R11)."""
    monkeypatch.setattr(changes, "JOB_UNWATCHED", LONG)
    with stand_in() as server:
        server.answers(PODS, told(a_pod()))
        suspended = created() | {"spec": {"suspend": True}}
        async with api_of(server) as api, OwnChanges(api, created=suspended).subscribe(REF, lambda *_: None):
            await until(lambda: job_watches(server), "a watch of the Job")


@pytest.mark.parametrize(("is_new", "seconds"), [(True, 0.0), (False, LONG)], ids=["after a while", "reattached"])
async def test_a_job_is_watched_in_the_end(is_new: bool, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new one after a while, one of an earlier try at once (R1, R5)."""
    monkeypatch.setattr(changes, "JOB_UNWATCHED", seconds)
    with stand_in() as server:
        server.answers(PODS, told(a_pod(running=True)))
        async with api_of(server) as api:
            changing = OwnChanges(api, created=created() if is_new else None)
            async with changing.subscribe(REF, lambda *_: None):
                await until(lambda: job_watches(server), "a watch of the Job")


def named(name: str) -> Item:
    """Some news of a Job."""
    return Kind.JOB, Change({"metadata": {"name": name}})


async def test_everything_that_has_come_is_taken_in_order_also_what_comes_meanwhile() -> None:
    """One change may bring the next (R9)."""
    inbox, taken = Inbox(), list[Item]()

    def take(item: Item) -> None:
        taken.append(item)
        if item == named("a"):
            inbox.put(named("c"))

    for name in "ab":
        inbox.put(named(name))
    async with asyncio.timeout(LONG):
        await inbox.take_all(take, None)
    assert taken == [*map(named, "abc")]


async def test_waiting_ends_with_the_first_news_or_at_its_time() -> None:
    """Nothing is lost that comes later, also after a wait was cancelled (R9)."""
    inbox, taken = Inbox(), list[Item]()
    async with asyncio.timeout(LONG):
        await inbox.take_all(taken.append, time.monotonic() - 1)
        assert not taken
        waiting = asyncio.create_task(inbox.take_all(taken.append, None))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        asyncio.get_running_loop().call_later(0.01, inbox.put, named("a"))
        await inbox.take_all(taken.append, time.monotonic() + LONG)
    assert taken == [named("a")]


async def test_what_comes_after_an_error_stays() -> None:
    """The one that raises is taken (R9)."""
    inbox, taken = Inbox(), list[Item]()

    def refuse(item: Item) -> None:
        raise ValueError(item[0])

    for name in "ab":
        inbox.put(named(name))
    with pytest.raises(ValueError, match="Job"):
        await inbox.take_all(refuse, None)
    await inbox.take_all(taken.append, None)
    assert taken == [named("b")]
