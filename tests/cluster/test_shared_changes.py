"""One watch for many Jobs, against the real API server and with faults between."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from airflow_script_provider.api import watch
from airflow_script_provider.api.watch import Change
from airflow_script_provider.clusters.access import ClusterAccess
from airflow_script_provider.clusters.credentials import open_api
from airflow_script_provider.exceptions import KubernetesApiError
from airflow_script_provider.jobs import shared_changes
from airflow_script_provider.jobs.changes import Kind, News
from airflow_script_provider.jobs.shared_changes import SharedChanges
from airflow_script_provider.kube.job.launched import JobRef
from tests.cluster.kubectl import Kubectl
from tests.faulty_api import FIRST, Fault, FaultyApi
from tests.patience import LONG, PATIENCE, until

WATCH_JOBS = r"^GET .*/jobs\?.*watch=1"
LIST_JOBS = r"^GET .*/jobs\?(?!.*watch=1)"
LIST_PODS = r"^GET .*/pods\?(?!.*watch=1)"
WATCH_PODS = r"^GET .*/pods\?.*watch=1"
GET_JOB = r"^GET .*/jobs/"
OURS = {"airflow-script-provider/launch-id": "0123456789"}


@asynccontextmanager
async def shared(api: FaultyApi, namespace: str) -> AsyncIterator[SharedChanges]:
    """Shared changes of a namespace, by way of the proxy."""
    async with open_api(ClusterAccess(config_file=api.kubeconfig)) as session:
        changes = SharedChanges(session, namespace)
        try:
            yield changes
        finally:
            changes.close()


def a_suspended_job(kubectl: Kubectl, namespace: str, name: str) -> JobRef:
    """A Job of ours that starts no pod."""
    container = {"name": "script", "image": "python:3.11-slim"}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    metadata = {"name": name, "namespace": namespace, "labels": OURS}
    spec = {"suspend": True, "template": template}
    kubectl.apply({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec})
    uid = kubectl("get", "job", name, "-n", namespace, "-o", "jsonpath={.metadata.uid}")
    return JobRef(namespace, name, uid)


async def of_job(changes: SharedChanges, ref: JobRef) -> AsyncGenerator[Change, None]:
    """What is told of a Job, one change after the other."""
    told: asyncio.Queue[News] = asyncio.Queue()

    def tell(kind: Kind, news: News) -> None:
        if kind is Kind.JOB:
            told.put_nowait(news)

    async with changes.subscribe(ref, tell):
        while True:
            news = await told.get()
            if isinstance(news, KubernetesApiError):
                raise news
            yield news


async def first(changes: AsyncIterator[Change]) -> Change:
    """The next change."""
    async with asyncio.timeout(PATIENCE):
        while (change := await anext(changes)) is watch.LISTED:
            pass
        return change


async def everything_within(seconds: float, changes: AsyncIterator[Change]) -> list[Change]:
    """The changes that come in so many seconds."""
    heard = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            async for change in changes:
                if change is not watch.LISTED:
                    heard.append(change)
    return heard


async def deleted(changes: Any) -> bool:
    """Whether a deletion comes."""
    async with asyncio.timeout(PATIENCE):
        async for change in changes:
            if change.deleted:
                return True
    return False


async def test_many_listeners_cost_one_watch(api: FaultyApi, kubectl: Kubectl, namespace: str) -> None:
    """The API server's load does not grow with the number of followers (R30)."""
    refs = [a_suspended_job(kubectl, namespace, f"job-{number}") for number in range(5)]
    async with shared(api, namespace) as changes:
        streams = [of_job(changes, ref) for ref in refs for _ in range(10)]
        seen = await asyncio.gather(*(first(stream) for stream in streams))
        assert {change.object["metadata"]["uid"] for change in seen} == {ref.uid for ref in refs}
        await until(lambda: api.count(WATCH_JOBS) and api.count(WATCH_PODS), "both watches")
        await asyncio.sleep(1)  # in which another one would come
        for stream in streams:
            await stream.aclose()
    assert (api.count(LIST_JOBS), api.count(WATCH_JOBS), api.count(GET_JOB)) == (1, 1, 0)
    assert (api.count(LIST_PODS), api.count(WATCH_PODS)) == (1, 1)


async def test_each_hears_of_its_own(api: FaultyApi, kubectl: Kubectl, namespace: str) -> None:
    """A listener is told of its Job's end and of no other's."""
    one, other = (a_suspended_job(kubectl, namespace, name) for name in ("one", "other"))
    async with (
        shared(api, namespace) as changes,
        aclosing(of_job(changes, one)) as ones,
        aclosing(of_job(changes, other)) as others,
    ):
        await asyncio.gather(first(ones), first(others))
        await asyncio.to_thread(kubectl, "delete", "job", "one", "-n", namespace)
        assert await deleted(ones)
        heard = await everything_within(0.5, others)
    assert {change.object["metadata"]["uid"] for change in heard} <= {other.uid}


async def test_a_job_that_is_gone_is_told_as_deleted(api: FaultyApi, kubectl: Kubectl, namespace: str) -> None:
    """A watch never says what does not exist; the listener must not wait for ever (R9)."""
    gone = JobRef(namespace, "gone", "no-such-uid")
    async with shared(api, namespace) as changes, aclosing(of_job(changes, gone)) as stream:
        assert (await first(stream)).deleted


async def test_a_job_that_the_watch_does_not_know_yet_is_looked_up(
    api: FaultyApi, kubectl: Kubectl, namespace: str
) -> None:
    """A watch may lag behind; a Job that exists is never taken for deleted (R9)."""
    api.on(WATCH_JOBS, Fault(late=LONG))
    known = a_suspended_job(kubectl, namespace, "known")
    async with shared(api, namespace) as changes, aclosing(of_job(changes, known)) as stream:
        await first(stream)
        new = await asyncio.to_thread(a_suspended_job, kubectl, namespace, "new")
        async with aclosing(of_job(changes, new)) as other:
            change = await first(other)
    assert (change.deleted, change.object["metadata"]["uid"]) == (False, new.uid)


@pytest.mark.parametrize(
    ("code", "message"), [(410, "too old resource version"), (504, "Too large resource version: 9, current: 1")]
)
async def test_a_lost_position_is_made_good(
    api: FaultyApi, kubectl: Kubectl, namespace: str, code: int, message: str
) -> None:
    """After 410 and 504 the watch lists again and tells what went meanwhile (R14)."""
    lost = f'{{"type": "ERROR", "object": {{"kind": "Status", "code": {code}, "message": "{message}"}}}}\n'
    ref = a_suspended_job(kubectl, namespace, "job")
    api.on(WATCH_JOBS, Fault(delay=2, status=200, body=lost), numbers=FIRST)
    async with shared(api, namespace) as changes, aclosing(of_job(changes, ref)) as stream:
        await first(stream)
        await asyncio.to_thread(kubectl, "delete", "job", "job", "-n", namespace)
        assert await deleted(stream)
    assert api.count(LIST_JOBS) == 2


async def test_a_watch_that_may_not_be_is_an_error_for_all(
    api: FaultyApi, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everybody who listens is told why there is nothing to hear (R17)."""
    monkeypatch.setattr(watch, "REFUSAL_PATIENCE", 0.0)
    api.on(LIST_JOBS, Fault(status=403, message='User "x" cannot list resource "jobs"'))
    async with shared(api, namespace) as changes:
        streams = [of_job(changes, JobRef(namespace, "job", f"uid-{number}")) for number in range(3)]
        results = await asyncio.gather(*(first(stream) for stream in streams), return_exceptions=True)
    assert all(isinstance(result, KubernetesApiError) for result in results)


async def test_nothing_is_left_when_nobody_listens(
    api: FaultyApi, kubectl: Kubectl, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watch ends a little after its last listener, and leaves no task behind (R30)."""
    monkeypatch.setattr(shared_changes, "LINGER", 0.2)
    ref = a_suspended_job(kubectl, namespace, "job")
    before = asyncio.all_tasks()
    async with shared(api, namespace) as changes:
        async with aclosing(of_job(changes, ref)) as stream:
            await first(stream)
            assert asyncio.all_tasks() - before
        await until(lambda: asyncio.all_tasks() == before, "the end of the watch")


async def test_a_long_list_comes_in_pages(
    api: FaultyApi, kubectl: Kubectl, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of objects are not parsed in one piece, which would hold up the event loop (R30)."""
    monkeypatch.setattr(watch, "LIST_PAGE", 2)
    refs = [a_suspended_job(kubectl, namespace, f"job-{number}") for number in range(5)]
    async with shared(api, namespace) as changes:
        for ref in refs:
            async with aclosing(of_job(changes, ref)) as stream:
                assert (await first(stream)).object["metadata"]["uid"] == ref.uid
    assert (api.count(LIST_JOBS), api.count(GET_JOB)) == (3, 0)


async def test_a_page_in_the_servers_place_is_an_error_for_all(
    api: FaultyApi, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy's login page is no end of the world: everybody hears of it, and nobody waits for ever (R14)."""
    monkeypatch.setattr(shared_changes, "FIRST_PATIENCE", 1.0)
    api.on(LIST_JOBS, Fault(status=200, body="<html>please log in</html>"))
    async with shared(api, namespace) as changes:
        streams = [of_job(changes, JobRef(namespace, "job", f"uid-{number}")) for number in range(3)]
        results = await asyncio.gather(*(first(stream) for stream in streams), return_exceptions=True)
    assert all(isinstance(result, KubernetesApiError) for result in results)


async def test_a_watch_begins_anew_after_an_error(api: FaultyApi, kubectl: Kubectl, namespace: str) -> None:
    """What the broken watch knew is forgotten: a Job that went meanwhile is not told as there."""
    ref = a_suspended_job(kubectl, namespace, "job")
    async with shared(api, namespace) as changes:
        async with aclosing(of_job(changes, ref)) as stream:
            await first(stream)
            changes._jobs.stop()
            changes._jobs.fail(KubernetesApiError("broken", status=500))
            with pytest.raises(KubernetesApiError):
                await everything_within(PATIENCE, stream)
        await asyncio.to_thread(kubectl, "delete", "job", "job", "-n", namespace)
        async with aclosing(of_job(changes, ref)) as stream:
            assert (await first(stream)).deleted
