"""One watch for many listeners: who is told what, and when."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import aiohttp
import pytest

from airflow_script_provider.api import client as calls
from airflow_script_provider.api import watch as watch_module
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.api.sessions import Session
from airflow_script_provider.api.watch import LISTED, Change, Watch
from airflow_script_provider.exceptions import ApiUnreachableError, KubernetesApiError
from airflow_script_provider.jobs.changes import Kind, News
from airflow_script_provider.jobs.shared_changes import AT_ONCE, Broadcast, SharedChanges
from airflow_script_provider.kube.job.launched import JobRef
from airflow_script_provider.kube.labels import WORKLOAD_JOB_LABEL
from tests.patience import PATIENCE, until
from tests.servers import Answer, WebServer
from tests.stand_in_api import NOT_FOUND, a_refusal, requests, stand_in

JOBS = "/apis/batch/v1/namespaces/etl/jobs"
WORKLOADS = "/apis/kueue.x-k8s.io/v1beta1/namespaces/etl/workloads"
EMPTY = b'{"metadata": {"resourceVersion": "1"}, "items": []}'


@dataclass
class Scripted:
    """What a watch tells, one after the other, then nothing more."""

    news: list[News] = field(default_factory=list)

    async def changes(self) -> AsyncIterator[Change]:
        """Tell it; an error is raised."""
        for one in self.news:
            if isinstance(one, KubernetesApiError):
                raise one
            yield one
        await asyncio.Event().wait()


def a_change(key: str) -> Change:
    """Something about this key."""
    return Change({"metadata": {"uid": key}})


def broadcast_of(*told: News) -> Broadcast:
    """A broadcast of a watch that tells this."""
    return Broadcast(lambda: cast(Watch, Scripted([*told])), lambda thing: str(thing["metadata"]["uid"]))


async def some_turns(count: int = 10) -> None:
    """Let the loop go on."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_each_is_told_of_its_own() -> None:
    """What exists, that this was all, and nothing of others."""
    broadcast = broadcast_of(a_change("one"), a_change("other"), LISTED)
    heard: list[News] = []
    broadcast.listen("one", heard.append)
    await some_turns()
    assert heard == [a_change("one"), LISTED]
    broadcast.stop()


async def test_who_comes_later_is_told_at_once() -> None:
    """The list is not asked for again."""
    broadcast = broadcast_of(a_change("one"), LISTED)
    broadcast.listen("other", lambda news: None)
    await some_turns()
    heard: list[News] = []
    broadcast.listen("one", heard.append)
    assert heard == [a_change("one"), LISTED]
    broadcast.stop()


async def test_who_comes_while_the_list_is_told() -> None:
    """Neither an object nor the end of the list is missed by a listener that comes between."""
    broadcast = broadcast_of(a_change("one"), *(a_change(f"other-{n}") for n in range(3 * AT_ONCE)), LISTED)
    broadcast.listen("other", lambda news: None)
    await some_turns(2)
    heard: list[News] = []
    broadcast.listen("one", heard.append)
    await some_turns()
    assert heard == [a_change("one"), LISTED]
    broadcast.stop()


async def test_who_leaves_is_told_nothing_more() -> None:
    """Not even what was under way to many when it left."""
    broadcast = broadcast_of(LISTED)
    heard: list[News] = []
    stops = [broadcast.listen(f"key-{number}", heard.append) for number in range(2 * AT_ONCE)]
    await some_turns(2)
    told = len(heard)
    assert told < 2 * AT_ONCE
    for stop in stops:
        stop()
    await some_turns()
    assert len(heard) == told
    broadcast.stop()


async def test_many_are_told_a_few_at_a_time() -> None:
    """A thousand followers that wake up in one round would hold up the loop (R30)."""
    broadcast = broadcast_of(*(a_change(f"key-{number}") for number in range(200)), LISTED)
    heard: list[News] = []
    for number in range(200):
        broadcast.listen(f"key-{number}", heard.append)
    most, before = 0, 0
    for _ in range(100):
        await asyncio.sleep(0)
        most, before = max(most, len(heard) - before), len(heard)
    assert len(heard) == 400
    assert most <= AT_ONCE + 1
    broadcast.stop()


async def test_an_error_is_told_to_all_and_the_next_tries_again() -> None:
    """What the broken watch knew is forgotten."""
    error = KubernetesApiError("broken", status=500)
    broadcast = broadcast_of(a_change("one"), LISTED, error)
    heard: list[News] = []
    broadcast.listen("one", heard.append)
    await some_turns()
    assert heard == [a_change("one"), LISTED, error]
    assert not broadcast.knows("one")
    broadcast.listen("one", heard.append)
    await some_turns()
    assert heard.count(LISTED) > 1
    broadcast.stop()


@asynccontextmanager
async def shared(server: WebServer) -> AsyncIterator[SharedChanges]:
    """Changes of a namespace, told by this server."""
    api = KubernetesApi(Session(server.url, aiohttp.ClientSession(), {}))
    changes = SharedChanges(api, "etl")
    try:
        yield changes
    finally:
        changes.close()
        await api.close()


@pytest.mark.parametrize(
    "answer", [b'{"status": "ok"}', b'["x"]', b'{"metadata": null}', b'{"metadata": {"uid": "u1"}, "status": null}']
)
async def test_a_look_up_that_brings_no_job(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway's page in the server's place: whoever waits for the Job hears of it, or that it is gone (R14)."""
    monkeypatch.setattr(calls, "CALL_PATIENCE", 0.0)
    with stand_in() as server:
        server.answers(JOBS, EMPTY)
        server.answers(f"{JOBS}/load", answer)
        async with shared(server) as changes, asyncio.timeout(PATIENCE):
            try:
                found: Any = await changes.job(JobRef("etl", "load", "u1"))
            except ApiUnreachableError as error:
                found = str(error)
    assert found is None or "not a Kubernetes API answer" in str(found)


async def test_a_job_known_by_a_look_up_is_looked_up_again() -> None:
    """It was deleted while the watch was dead: the next list does not have it, and no watch will tell (R9)."""
    job = b'{"metadata": {"uid": "u1", "name": "load"}, "spec": {}, "status": {}}'
    with stand_in() as server:
        server.answers(JOBS, EMPTY)
        server.answers(f"{JOBS}/load", job)
        async with shared(server) as changes, asyncio.timeout(PATIENCE):
            heard: list[News] = []
            async with changes.subscribe(JobRef("etl", "load", "u1"), lambda kind, news: heard.append(news)):
                while not any(isinstance(news, Change) and news.object.get("metadata") for news in heard):
                    await asyncio.sleep(0.01)
                server.answers(f"{JOBS}/load", NOT_FOUND)
                await changes._jobs.publish_listed()
                while not any(isinstance(news, Change) and news.deleted for news in heard):
                    await asyncio.sleep(0.01)


def workloads(*jobs: str) -> bytes:
    """A list of Workloads of these Jobs."""
    found = [{"metadata": {"name": job, "uid": f"w-{job}", "labels": {WORKLOAD_JOB_LABEL: job}}} for job in jobs]
    return json.dumps({"metadata": {"resourceVersion": "1"}, "items": found}).encode()


async def test_one_watch_explains_all_jobs_in_queues() -> None:
    """A triggerer may have thousands, and each hears of its own Workload (R30)."""
    with stand_in() as server:
        server.answers(WORKLOADS, workloads("u1", "u2", "other"))
        async with shared(server) as changes, AsyncExitStack() as stack, asyncio.timeout(PATIENCE):
            heard: dict[str, list[str]] = {"u1": [], "u2": []}
            for uid, names in heard.items():
                hear = partial(_keep_name, names)
                watch = await stack.enter_async_context(changes.subscribe(JobRef("etl", "load", uid), hear))
                watch(uid, "workloads")
            await until(lambda: all(heard.values()), "the Workloads")
        assert heard == {"u1": ["u1"], "u2": ["u2"]}
        assert (
            len([one for one in server.requests if one.path.startswith(WORKLOADS) and "watch=1" not in one.path]) == 1
        )


@pytest.mark.parametrize("answer", [NOT_FOUND, a_refusal(403, "Forbidden", "no right")], ids=["no Kueue", "no right"])
async def test_a_cluster_without_workloads_explains_nothing(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be read is no reason to fail, nor to say so (R17)."""
    monkeypatch.setattr(watch_module, "REFUSAL_PATIENCE", 0.0)
    with stand_in() as server:
        server.answers(WORKLOADS, answer)
        async with shared(server) as changes, asyncio.timeout(PATIENCE):
            heard: list[Kind] = []
            ref = JobRef("etl", "load", "u1")
            async with changes.subscribe(ref, lambda kind, news: heard.append(kind)) as watch:
                watch("u1", "workloads")
                await until(lambda: requests(server, "GET", WORKLOADS) > 0, "the request")
                await some_turns(100)
        assert Kind.EVENT not in heard


def _keep_name(names: list[str], kind: Kind, news: News) -> None:
    if kind is Kind.EVENT and isinstance(news, Change) and news is not LISTED:
        names.append(news.object["involvedObject"]["name"])
