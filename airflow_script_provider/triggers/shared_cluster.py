"""One session with a cluster for all triggers of a process.

The triggers share connections, watches and log streams.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from weakref import WeakKeyDictionary

from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.api.stream_slots import StreamSlots
from airflow_script_provider.clusters.access import ClusterAccess, ClusterRef
from airflow_script_provider.clusters.credentials import LOAD_PATIENCE, open_api
from airflow_script_provider.jobs.shared_changes import SharedChanges

LOG_STREAMS = 256
"""Log streams that a process keeps open to one cluster; more scripts than that take turns."""
LOOKUP_INTERVAL = 30.0
"""Seconds that a looked-up connection serves other triggers: a thousand may start together."""
FAILURE_INTERVAL = 10.0
"""Seconds that a trigger's failure to reach the cluster counts for other triggers.

In this time the others do not try.
"""
OTHER_CONNECTIONS = 32
"""Connections beside those: watches, looks at single Jobs, positions to be saved."""


@dataclass
class SharedCluster:
    """Shared by triggers: the API client, changes by namespace, slots for log streams."""

    api: KubernetesApi
    slots: StreamSlots = field(default_factory=lambda: StreamSlots(LOG_STREAMS))
    _changes: dict[str, SharedChanges] = field(default_factory=dict)

    def changes_in(self, namespace: str) -> SharedChanges:
        """The changes of Jobs and pods in a namespace."""
        if namespace not in self._changes:
            self._changes[namespace] = SharedChanges(self.api, namespace)
        return self._changes[namespace]

    def close(self) -> None:
        """End the watches."""
        for changes in self._changes.values():
            changes.close()


@dataclass(frozen=True)
class Failure:
    """An error, and the monotonic time before which no trigger tries again."""

    error: Exception
    until: float

    @classmethod
    @contextmanager
    def remembered(cls, by: _Entry | _Lookup) -> Iterator[None]:
        """Raise the remembered error; remember an error of the block."""
        if by.failure is not None and time.monotonic() < by.failure.until:
            raise by.failure.error.with_traceback(None)
        try:
            yield
        except Exception as error:
            by.failure = cls(error, time.monotonic() + FAILURE_INTERVAL)
            raise


@dataclass
class _Entry:
    """A session and its number of users: the first opens it, the last closes it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0
    cluster: SharedCluster | None = None
    failure: Failure | None = None
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)


@dataclass
class _Lookup:
    """The access of a connection, valid until a monotonic time.

    One trigger looks it up while others wait.
    """

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    access: ClusterAccess | None = None
    until: float = 0.0
    failure: Failure | None = None


_lookups: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[ClusterRef, _Lookup]] = WeakKeyDictionary()
_entries: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Entry]] = WeakKeyDictionary()


async def shared_access(ref: ClusterRef) -> ClusterAccess:
    """``ClusterRef.aresolve``, once for all triggers that ask within ``LOOKUP_INTERVAL``."""
    lookups = _lookups.setdefault(asyncio.get_running_loop(), {})
    lookup = lookups.setdefault(ref, _Lookup())
    async with lookup.lock:
        if lookup.access is None or time.monotonic() > lookup.until:
            with Failure.remembered(lookup):
                lookup.access = await ref.aresolve()
            lookup.until = time.monotonic() + LOOKUP_INTERVAL
        return lookup.access


@asynccontextmanager
async def shared_cluster(access: ClusterAccess) -> AsyncIterator[SharedCluster]:
    """The session of this event loop with a cluster.

    Raises ``ApiUnreachableError`` without credentials.
    """
    entries = _entries.setdefault(asyncio.get_running_loop(), {})
    key = hashlib.sha256(json.dumps(asdict(access), sort_keys=True, default=str).encode()).hexdigest()
    entry = entries.setdefault(key, _Entry())
    entry.users += 1
    try:
        yield await _opened(entry, access)
    finally:
        entry.users -= 1
        if not entry.users:
            await _close(entry)
            if not entry.users and entries.get(key) is entry:
                del entries[key]


async def _opened(entry: _Entry, access: ClusterAccess) -> SharedCluster:
    async with entry.lock:
        if entry.cluster is None:
            with Failure.remembered(entry):
                opened = open_api(access, connections=LOG_STREAMS + OTHER_CONNECTIONS, patience=LOAD_PATIENCE)
                entry.cluster = SharedCluster(await entry.stack.enter_async_context(opened))
        return entry.cluster


async def _close(entry: _Entry) -> None:
    async with entry.lock:
        if entry.users or entry.cluster is None:
            return
        entry.cluster.close()
        entry.cluster = None
        await entry.stack.aclose()
