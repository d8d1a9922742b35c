"""Changes of many Jobs from one watch, so that many followers cost the API server one."""

from __future__ import annotations

import asyncio
import contextvars
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from airflow_script_provider import exceptions
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.api.watch import LISTED, Change, Watch
from airflow_script_provider.jobs.changes import Kind, Listener, News, Stop, WatchEvents, only_changes
from airflow_script_provider.kube.causes import queue
from airflow_script_provider.kube.job.launched import JobRef
from airflow_script_provider.kube.job.observed.pruning import controller_of, pruned_event, pruned_job, pruned_pod
from airflow_script_provider.kube.labels import LAUNCH_LABEL, WORKLOAD_JOB_LABEL

_OURS = {"labelSelector": LAUNCH_LABEL}
_WARNINGS = {"fieldSelector": "type!=Normal"}

FIRST_PATIENCE = 60.0
"""Seconds without a first answer after which there is none: a worker may reach what this process
cannot."""
LINGER = 5.0
"""Seconds that a watch goes on without a listener: the next one often comes at once."""

AT_ONCE = 20
"""Listeners that are called before others of the loop have their turn: a thousand would hold it
up."""

_Listener = Callable[[News], None]


class Broadcast:
    """One watch for many listeners, each of which gets the objects of one ``key``.

    It runs in a task of its own, as long as there is a listener. Listeners are called: a queue and
    a task for each of a thousand would cost more than everything else.
    """

    def __init__(self, watch: Callable[[], Watch], key: Callable[[dict[str, Any]], str]) -> None:
        self._watch, self._key = watch, key
        self._known: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
        self._listeners: dict[str, list[_Listener]] = defaultdict(list)
        self._is_listed = False
        self._task: asyncio.Task[None] | None = None
        self._end: asyncio.TimerHandle | None = None

    def knows(self, key: str) -> bool:
        """Whether there is an object that concerns this key."""
        return key in self._known

    def listen(self, key: str, listener: _Listener) -> Stop:
        """Pass on what is known of ``key``, then ``LISTED``, then what changes.

        An error is passed on when it ends the watch.
        """
        self._listeners[key].append(listener)
        if self._task is None:
            # A context of its own: the watch belongs to no listener.
            # Its lines belong to no task's log.
            self._task = asyncio.create_task(self._run(), context=contextvars.Context())
        for thing in self._known.get(key, {}).values():
            listener(Change(thing))
        if self._is_listed:
            listener(LISTED)
        return partial(self._leave, key, listener)

    def stop(self) -> None:
        """End the watch and forget what it brought."""
        if self._task is not None:
            self._task.cancel()
        if self._end is not None:
            self._end.cancel()
        self._forget()

    def fail(self, error: exceptions.KubernetesApiError) -> None:
        """Pass the error on that ended the watch; the next listener begins another one."""
        self._forget()
        for _, listener in self._all_listeners():
            listener(error)

    async def publish_listed(self) -> None:
        """Pass ``LISTED`` on, to later listeners at once."""
        self._is_listed = True
        for number, (key, listener) in enumerate(self._all_listeners()):
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
            if listener in self._listeners.get(key, ()):
                listener(LISTED)

    def _leave(self, key: str, listener: _Listener) -> None:
        if listener in self._listeners.get(key, ()):
            self._listeners[key].remove(listener)
        if not self._listeners[key]:
            del self._listeners[key]
        if not self._listeners:
            if self._end is not None:
                self._end.cancel()
            self._end = asyncio.get_running_loop().call_later(LINGER, self._stop_without_listeners)

    def _stop_without_listeners(self) -> None:
        if not self._listeners:
            self.stop()

    def _forget(self) -> None:
        self._task, self._is_listed = None, False
        self._known.clear()

    async def _run(self) -> None:
        try:
            count = 0
            async for change in self._watch().changes():
                if change is LISTED:
                    await self.publish_listed()
                else:
                    self._publish(change)
                count += 1
                if not count % AT_ONCE:
                    await asyncio.sleep(0)
        except exceptions.KubernetesApiError as error:
            self.fail(error)
        except Exception as error:  # noqa: BLE001  # listeners must get to know it, whatever it is
            self.fail(exceptions.ApiUnreachableError(f"the watch broke: {type(error).__name__}: {error}", status=0))

    def _publish(self, change: Change) -> None:
        key, uid = self._key(change.object), change.object["metadata"]["uid"]
        if change.deleted:
            self._known[key].pop(uid, None)
            if not self._known[key]:
                del self._known[key]
        else:
            self._known[key][uid] = change.object
        for listener in self._listeners.get(key, ()):
            listener(change)

    def _all_listeners(self) -> list[tuple[str, _Listener]]:
        return [(key, listener) for key, listeners in self._listeners.items() for listener in listeners]


class SharedChanges:
    """Changes of all our Jobs of a namespace, for as many followers as there are."""

    def __init__(self, api: KubernetesApi, namespace: str) -> None:
        self._api = api
        self._look_ups: set[asyncio.Task[None]] = set()

        def broadcast(resource: str, selector: dict[str, str], keep: Any, key: Any) -> Broadcast:
            def watch() -> Watch:
                return Watch(api, resource, namespace, selector, keep, lists_first=True, first_patience=FIRST_PATIENCE)

            return Broadcast(watch, key)

        self._jobs = broadcast("jobs", _OURS, pruned_job, _uid)
        self._pods = broadcast("pods", _OURS, pruned_pod, controller_of)
        self._by_resource = {
            "events": broadcast("events", _WARNINGS, pruned_event, _concerned),
            "workloads": broadcast("workloads", {"labelSelector": WORKLOAD_JOB_LABEL}, queue.as_event, _concerned),
        }

    @asynccontextmanager
    async def subscribe(self, ref: JobRef, listener: Listener) -> AsyncIterator[WatchEvents]:
        """Listen to the shared watches.

        A Job that they do not know is looked up, because they may be behind.
        """
        stops = [self._listen_to_job(ref, partial(listener, Kind.JOB))]
        stops.append(self._pods.listen(ref.uid, partial(listener, Kind.POD)))

        def watch_events(uid: str, resource: str = "events") -> Stop:
            hear = partial(listener, Kind.EVENT)
            heard = hear if resource == "events" else only_changes(hear)
            stops.append(self._by_resource[resource].listen(uid, heard))
            return stops[-1]

        try:
            yield watch_events
        finally:
            for stop in stops:
                stop()

    async def job(self, ref: JobRef) -> dict[str, Any] | None:
        """The Job as it is now, None if it is gone.

        Raises ``KubernetesApiError`` where the watch cannot go on.
        """
        first: asyncio.Future[Change] = asyncio.get_running_loop().create_future()

        def take(news: News) -> None:
            if first.done() or news is LISTED:
                return
            if isinstance(news, Change):
                first.set_result(news)
            else:
                first.set_exception(news)

        stop = self._listen_to_job(ref, take)
        try:
            change = await first
        finally:
            stop()
        return None if change.deleted else change.object

    def close(self) -> None:
        """End the watches."""
        for broadcast in (self._jobs, self._pods, *self._by_resource.values()):
            broadcast.stop()
        for look_up in self._look_ups:
            look_up.cancel()

    def _listen_to_job(self, ref: JobRef, listener: _Listener) -> Stop:
        def look_up_or_pass_on(news: News) -> None:
            if news is LISTED and not self._jobs.knows(ref.uid):
                self._begin_look_up(ref, lambda found: None if self._jobs.knows(ref.uid) else listener(found))
            listener(news)

        return self._jobs.listen(ref.uid, look_up_or_pass_on)

    def _begin_look_up(self, ref: JobRef, listener: _Listener) -> None:
        async def look_up() -> None:
            try:
                found: News = await self._look_up(ref)
            except exceptions.KubernetesApiError as error:
                found = error
            except Exception as error:  # noqa: BLE001  # the listener must get to know it, whatever it is
                found = exceptions.NotKubernetesApiError(
                    f"not a Kubernetes API answer from {self._api.host}: {error!r}"
                )
            listener(found)

        task = asyncio.create_task(look_up(), context=contextvars.Context())
        self._look_ups.add(task)
        task.add_done_callback(self._look_ups.discard)

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
