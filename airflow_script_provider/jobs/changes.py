"""Where a follower hears of changes: watches of its own, or one that many followers share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Protocol

from airflow_script_provider import exceptions
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.api.watch import Change, Watch
from airflow_script_provider.kube.job.launched import JobRef
from airflow_script_provider.kube.labels import CONTROLLER_LABEL


class Kind(StrEnum):
    """What a change is about."""

    JOB = "Job"
    POD = "pod"
    EVENT = "event"


News = Change | exceptions.KubernetesApiError
"""A change; or why none comes any more."""
Tell = Callable[[Kind, News], None]
"""Hears of changes. Must not raise, and does not wait: whoever shares the watch is told after it."""
Stop = Callable[[], object]
Item = tuple[Kind, News]
WatchEvents = Callable[[str], Stop]
"""Begins to tell the Warning events of the object with a uid; what it returns ends that."""


async def take_all(queue: asyncio.Queue[Item], take: Callable[[Item], None], until: float | None) -> None:
    """Wait for something in a queue, at most until that moment of ``time.monotonic()``, and take all that has come."""
    try:
        async with asyncio.timeout(None if until is None else max(0.0, until - time.monotonic())):
            take(await queue.get())
    except TimeoutError:
        return
    while not queue.empty():
        take(queue.get_nowait())


class Changes(Protocol):
    """Changes of one Job, of its pods, and Warning events."""

    def told(self, ref: JobRef, tell: Tell) -> AbstractAsyncContextManager[WatchEvents]:
        """Tell of Job and pods while the block runs, as they are and then as they change.

        A Job that is gone is told as deleted. ``LISTED`` among the changes of a kind says that everything which exists
        has been told.
        """


@dataclass(frozen=True)
class OwnChanges:
    """Watches for one Job. ``lists_pods`` tells when all pods are known that the Job has had so far."""

    api: KubernetesApi
    lists_pods: bool = False

    @asynccontextmanager
    async def told(self, ref: JobRef, tell: Tell) -> AsyncIterator[WatchEvents]:
        """Each watch is a task."""
        stops: list[Stop] = []
        async with asyncio.TaskGroup() as tasks:

            def begin(kind: Kind, watch: Watch) -> Stop:
                stops.append(tasks.create_task(_feed(watch, partial(tell, kind))).cancel)
                return stops[-1]

            begin(Kind.JOB, self._job(ref))
            begin(Kind.POD, self._pods(ref))
            try:
                yield lambda uid: begin(Kind.EVENT, self._events(ref, uid))
            finally:
                for stop in stops:
                    stop()

    def _job(self, ref: JobRef) -> Watch:
        watch = Watch(self.api, "jobs", ref.namespace, {"fieldSelector": f"metadata.name={ref.name}"})
        watch.expect({"metadata": {"name": ref.name, "namespace": ref.namespace, "uid": ref.uid}})
        return watch

    def _pods(self, ref: JobRef) -> Watch:
        """The pods by the label that the Job's controller gives them."""
        selector = {"labelSelector": pod_selector(ref)}
        return Watch(self.api, "pods", ref.namespace, selector, lists_first=self.lists_pods)

    def _events(self, ref: JobRef, uid: str) -> Watch:
        selector = {"fieldSelector": f"involvedObject.uid={uid},type!=Normal"}
        return Watch(self.api, "events", ref.namespace, selector)


def pod_selector(ref: JobRef) -> str:
    """Selects the pods of a Job."""
    return f"{CONTROLLER_LABEL}={ref.uid}"


async def _feed(watch: Watch, tell: Callable[[News], None]) -> None:
    try:
        async for change in watch.changes():
            tell(change)
    except exceptions.KubernetesApiError as error:
        tell(error)
