"""Changes of many Jobs from one watch: what waiting scripts cost the API server does not grow with their number."""

from __future__ import annotations

import asyncio
import contextvars
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from airflow_script_provider import exceptions
from airflow_script_provider.jobs.api import KubernetesApi
from airflow_script_provider.jobs.watch import LISTED, Change, Watch
from airflow_script_provider.kube.launched import JobRef
from airflow_script_provider.kube.names import LAUNCH_LABEL
from airflow_script_provider.kube.pruning import controller_of, pruned_event, pruned_job, pruned_pod

_OURS = {"labelSelector": LAUNCH_LABEL}
_WARNINGS = {"fieldSelector": "type!=Normal"}

LINGER = 5.0
"""Seconds that a watch goes on without a listener: the next one often comes at once."""

_Queue = asyncio.Queue[Change | exceptions.KubernetesApiError]


@dataclass
class Broadcast:
    """One watch, told to whom each object concerns (``key``). It runs while somebody listens, in a task of its own."""

    watch: Callable[[], Watch]
    key: Callable[[dict[str, Any]], str]
    _known: dict[str, dict[str, dict[str, Any]]] = field(default_factory=lambda: defaultdict(dict))
    _listeners: dict[str, set[_Queue]] = field(default_factory=lambda: defaultdict(set))
    _listed: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None
    _error: exceptions.KubernetesApiError | None = None

    async def listen(
        self, key: str, if_unknown: Callable[[], Awaitable[Change]] | None = None
    ) -> AsyncGenerator[Change, None]:
        """What is known of ``key``, then what changes.

        ``if_unknown`` is asked for a first change where the watch knows of none. Raises ``KubernetesApiError`` when the
        watch cannot go on.
        """
        queue: _Queue = asyncio.Queue()
        self._listeners[key].add(queue)
        try:
            self._start()
            await self._listed.wait()
            if self._error is not None:
                raise self._error
            known = list(self._known.get(key, {}).values())
            if not known and if_unknown is not None and queue.empty():
                yield await if_unknown()
            for thing in known:
                yield Change(thing)
            yield LISTED
            while True:
                change = await queue.get()
                if isinstance(change, exceptions.KubernetesApiError):
                    raise change
                yield change
        finally:
            self._leave(key, queue)

    def _start(self) -> None:
        if self._task is None:
            self._listed.clear()
            self._known.clear()
            self._error = None
            # A context of its own: the watch belongs to none of those who listen, and its words to no one's log.
            self._task = asyncio.create_task(self._run(), context=contextvars.Context())

    def _leave(self, key: str, queue: _Queue) -> None:
        self._listeners[key].discard(queue)
        if not self._listeners[key]:
            del self._listeners[key]
        if not self._listeners:
            asyncio.get_running_loop().call_later(LINGER, self._stop_unheard)

    def _stop_unheard(self) -> None:
        if not self._listeners:
            self.stop()

    def stop(self) -> None:
        """End the watch and forget what it told."""
        if self._task is not None:
            self._task.cancel()
        self._task = None
        self._listed.clear()
        self._known.clear()

    async def _run(self) -> None:
        try:
            async for change in self.watch().changes():
                if change is LISTED:
                    self._listed.set()
                else:
                    self._tell(change)
        except exceptions.KubernetesApiError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001  # those who listen must hear of it, whatever it is
            self._fail(exceptions.ApiUnreachableError(f"the watch broke: {type(error).__name__}: {error}", status=0))

    def _fail(self, error: exceptions.KubernetesApiError) -> None:
        self._task, self._error = None, error
        for queue in self._everybody():
            queue.put_nowait(error)
        self._listed.set()

    def _tell(self, change: Change) -> None:
        key, uid = self.key(change.object), change.object["metadata"]["uid"]
        if change.deleted:
            self._known[key].pop(uid, None)
            if not self._known[key]:
                del self._known[key]
        else:
            self._known[key][uid] = change.object
        for queue in self._listeners.get(key, ()):
            queue.put_nowait(change)

    def _everybody(self) -> list[_Queue]:
        return [queue for queues in self._listeners.values() for queue in queues]


class SharedChanges:
    """Changes of all our Jobs of a namespace, for as many followers as there are."""

    def __init__(self, api: KubernetesApi, namespace: str) -> None:
        self._api = api

        def broadcast(resource: str, selector: dict[str, str], keep: Any, key: Any) -> Broadcast:
            return Broadcast(lambda: Watch(api, resource, namespace, selector, keep, lists_first=True), key)

        self._jobs = broadcast("jobs", _OURS, pruned_job, _uid)
        self._pods = broadcast("pods", _OURS, pruned_pod, controller_of)
        self._events = broadcast("events", _WARNINGS, pruned_event, _concerned)

    def of_job(self, ref: JobRef) -> AsyncGenerator[Change, None]:
        """The Job; one that the watch does not know is looked up, because the watch may be behind."""
        return self._jobs.listen(ref.uid, lambda: self._look_up(ref))

    def of_pods(self, ref: JobRef) -> AsyncGenerator[Change, None]:
        """Its pods."""
        return self._pods.listen(ref.uid)

    def of_events(self, ref: JobRef, uid: str) -> AsyncGenerator[Change, None]:
        """Warning events of the object with this uid."""
        return self._events.listen(uid)

    async def job(self, ref: JobRef) -> dict[str, Any] | None:
        """The Job as it is now, None if it is gone."""
        async with aclosing(self.of_job(ref)) as changes:
            change = await anext(changes)
        return None if change.deleted else change.object

    def close(self) -> None:
        """End the watches."""
        for broadcast in (self._jobs, self._pods, self._events):
            broadcast.stop()

    async def _look_up(self, ref: JobRef) -> Change:
        try:
            found = await self._api.get("jobs", ref.namespace, ref.name)
        except exceptions.ApiNotFoundError:
            found = {"metadata": {}}
        if found["metadata"].get("uid") == ref.uid:
            return Change(pruned_job(found))
        return Change({"metadata": {"name": ref.name, "uid": ref.uid}}, deleted=True)


def _uid(thing: dict[str, Any]) -> str:
    return str(thing["metadata"]["uid"])


def _concerned(event: dict[str, Any]) -> str:
    return str(event["involvedObject"].get("uid", ""))
