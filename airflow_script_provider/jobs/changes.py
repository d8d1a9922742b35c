"""Where a follower gets changes from: watches of its own, or watches that many followers share."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Protocol

from airflow_script_provider import exceptions
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.api.watch import LISTED, Change, Watch
from airflow_script_provider.kube.causes import queue
from airflow_script_provider.kube.job.launched import JobRef
from airflow_script_provider.kube.job.observed.job_status import is_suspended
from airflow_script_provider.kube.labels import CONTROLLER_LABEL, WORKLOAD_JOB_LABEL
from airflow_script_provider.kube.pods import pod_status
from airflow_script_provider.kube.pods.pod_status import Pod


class Kind(StrEnum):
    """What a change is about."""

    JOB = "Job"
    POD = "pod"
    EVENT = "event"


News = Change | exceptions.KubernetesApiError
"""A change; or the reason why no more changes come."""
Listener = Callable[[Kind, News], None]
"""Gets changes. It must not raise or wait: listeners of the same watch are called one after the
other."""
Stop = Callable[[], object]
Item = tuple[Kind, News]


class WatchEvents(Protocol):
    """Adds the Warning events of the object with a uid to the changes.

    ``resource`` may also be ``workloads``: then it is Kueue's Workload of the Job with that uid,
    in the form of an event, where the rights allow it. The returned function ends that.
    """

    def __call__(self, uid: str, resource: str = "events") -> Stop:
        """Begin to watch."""


JOB_UNWATCHED = 5.0
"""Seconds after its creation in which a Job is not watched unless its pod needs it: a short script
is over by then."""


class Inbox:
    """What has come for one follower.

    There may be thousands, and a queue of ``asyncio`` takes 3 kB.
    """

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._waiter: asyncio.Future[None] | None = None

    def put(self, item: Item) -> None:
        """Add something."""
        self._items.append(item)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def take_all(self, take: Callable[[Item], None], until: float | None) -> None:
        """Wait for something, and take everything that has come, also meanwhile.

        ``until`` is a moment of ``time.monotonic()``, at which waiting ends. Only one may wait.
        """
        if not self._items:
            self._waiter = asyncio.get_running_loop().create_future()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if until is None else max(0.0, until - time.monotonic())):
                    await self._waiter
            self._waiter = None
        while self._items:
            take(self._items.pop(0))


class Changes(Protocol):
    """Changes of one Job, of its pods, and Warning events."""

    def subscribe(self, ref: JobRef, listener: Listener) -> AbstractAsyncContextManager[WatchEvents]:
        """Pass Job and pods on while the block runs, as they are and then as they change.

        A Job that is gone is passed on as deleted. ``LISTED`` among the changes of a kind says
        that everything which exists has been passed on.
        """


@dataclass(frozen=True)
class OwnChanges:
    """Watches for one Job. With ``lists_pods``, ``LISTED`` comes after all its earlier pods.

    ``created`` is the Job as it was a moment ago: then it is watched from there, and not listed.
    That begins only after ``JOB_UNWATCHED``, or when a pod of it ends otherwise than by success;
    at once if a queue has suspended the Job at its creation.
    """

    api: KubernetesApi
    lists_pods: bool = False
    created: Mapping[str, Any] | None = None

    @asynccontextmanager
    async def subscribe(self, ref: JobRef, listener: Listener) -> AsyncIterator[WatchEvents]:
        """Run each watch as a task."""
        stops: list[Stop] = []
        needs_job = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:

            def begin(feeding: Coroutine[Any, Any, None]) -> Stop:
                stops.append(tasks.create_task(feeding).cancel)
                return stops[-1]

            def hear_pod(news: News) -> None:
                if _needs_job(news):
                    needs_job.set()
                listener(Kind.POD, news)

            if self.created is not None:
                listener(Kind.JOB, Change(dict(self.created)))
                if is_suspended(self.created):
                    needs_job.set()
            begin(self._feed_job(ref, partial(listener, Kind.JOB), needs_job))
            begin(_feed(self._pods(ref), hear_pod))
            try:
                hear = partial(listener, Kind.EVENT)

                def watch_events(uid: str, resource: str = "events") -> Stop:
                    if resource == "workloads":
                        return begin(_feed(self._workloads(ref, uid), only_changes(hear)))
                    return begin(_feed(self._events(ref, uid), hear))

                yield watch_events
            finally:
                for stop in stops:
                    stop()

    async def _feed_job(self, ref: JobRef, listener: Callable[[News], None], needs_job: asyncio.Event) -> None:
        """Pass the Job on, from its creation, but not before it is needed."""
        if self.created is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(JOB_UNWATCHED):
                    await needs_job.wait()
        await _feed(self._job(ref), listener)

    def _job(self, ref: JobRef) -> Watch:
        watch = Watch(self.api, "jobs", ref.namespace, {"fieldSelector": f"metadata.name={ref.name}"})
        if self.created is not None:
            watch.go_on_from(dict(self.created))
        else:
            watch.expect({"metadata": {"name": ref.name, "namespace": ref.namespace, "uid": ref.uid}})
        return watch

    def _pods(self, ref: JobRef) -> Watch:
        """The pods by the label that the Job's controller gives them."""
        selector = {"labelSelector": pod_selector(ref)}
        return Watch(self.api, "pods", ref.namespace, selector, lists_first=self.lists_pods)

    def _events(self, ref: JobRef, uid: str) -> Watch:
        selector = {"fieldSelector": f"involvedObject.uid={uid},type!=Normal"}
        return Watch(self.api, "events", ref.namespace, selector)

    def _workloads(self, ref: JobRef, uid: str) -> Watch:
        selector = {"labelSelector": f"{WORKLOAD_JOB_LABEL}={uid}"}
        return Watch(self.api, "workloads", ref.namespace, selector, queue.as_event)


def only_changes(listener: Callable[[News], object]) -> Callable[[News], None]:
    """A listener that hears no error, for what is no more than a reason in the log."""

    def hear(news: News) -> None:
        if isinstance(news, Change):
            listener(news)

    return hear


def _needs_job(news: News) -> bool:
    """Whether what is said of a pod leaves open what its Job does next."""
    if isinstance(news, exceptions.KubernetesApiError) or news is LISTED:
        return True
    return news.deleted or pod_status.is_being_deleted(news.object) or pod_status.has_failed(news.object)


def pod_selector(ref: JobRef) -> str:
    """Selects the pods of a Job."""
    return f"{CONTROLLER_LABEL}={ref.uid}"


async def as_they_are(
    api: KubernetesApi, ref: JobRef, *, job: Mapping[str, Any], pods: Mapping[str, Pod]
) -> list[tuple[Kind, Change]]:
    """The pods of a Job and the Job as the API server has them now, in the form of changes.

    ``job`` and ``pods``, by uid, are what was seen last of what is not known to be gone. Of these
    comes as deleted what is gone by now. The pods come in the order of their creation. Raises
    ``KubernetesApiError``.
    """
    found = (await api.list("pods", ref.namespace, labelSelector=pod_selector(ref)))["items"]
    uids = {pod_status.uid(pod) for pod in found}
    gone = [Change(dict(pod), deleted=True) for uid, pod in pods.items() if uid not in uids]
    changes = [*gone, *map(Change, sorted(found, key=pod_status.created_at))]
    try:
        newest = await api.get("jobs", ref.namespace, ref.name)
    except exceptions.ApiNotFoundError:
        newest = {"metadata": {"uid": ""}}
    is_ours = newest["metadata"]["uid"] == ref.uid  # otherwise another one has the name
    job_now = Change(newest) if is_ours else Change(dict(job), deleted=True)
    return [*((Kind.POD, change) for change in changes), (Kind.JOB, job_now)]


async def _feed(watch: Watch, listener: Callable[[News], None]) -> None:
    try:
        async for change in watch.changes():
            listener(change)
    except exceptions.KubernetesApiError as error:
        listener(error)
