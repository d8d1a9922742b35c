"""Changes of a resource: an endless stream that survives timeouts, resets and lost positions."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import aiohttp

from airflow_script_provider import exceptions
from airflow_script_provider._event_loop import raise_interruption_behind
from airflow_script_provider.api.answers import Answer
from airflow_script_provider.api.client import KubernetesApi, backoff, is_transient
from airflow_script_provider.api.resources import Call
from airflow_script_provider.kube.listing import items_of, metadata_of
from airflow_script_provider.kube.wording import message_of, reported

SERVER_TIMEOUT = 290
"""Seconds after which the API server is asked to end a watch, so that none is held for ever."""
WATCH_SILENCE = 75.0
"""Seconds without a byte after which a watch counts as dead; bookmarks come about once a
minute."""
WATCH_PATIENCE = 900.0
"""Seconds without any answer after which the watch gives up: longer than a control plane's
upgrade."""

REFUSAL_PATIENCE = 60.0
"""Seconds for which a refusal (401, 403) is doubted that may come from a server which restarts."""
SHORT_LIFE = 1.0
"""Seconds that a stream must live to count as an answer without any news, and for the next one to
be opened without a pause."""
EMPTY_ROUNDS = 3
"""Streams in a row that end at once and bring nothing, after which the watch lists again: what
answers in the API server's place may never pass on a stream."""
LONGEST_PAUSE = 10.0
"""Seconds between two tries at the most."""
LIST_PAGE = 250
"""Objects of one answer to a list."""
ITEMS_AT_ONCE = 20
"""Objects that are parsed before others of the event loop have their turn: a pod takes a tenth of
a millisecond."""

Keep = Callable[[dict[str, Any]], dict[str, Any]]

_OF_ANOTHER_FORM = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What reading raises if something else answers in the server's place."""


@dataclass(frozen=True)
class Change:
    """An object was added, modified or deleted (``deleted``)."""

    object: dict[str, Any]
    deleted: bool = False


LISTED = Change({})
"""Comes after a list: everything that exists has come before it."""


def _whole(thing: dict[str, Any]) -> dict[str, Any]:
    return thing


class Watch:
    """Objects of ``resource`` that ``selector`` chooses (``labelSelector`` or ``fieldSelector``).

    The first answer brings the objects that exist. After a lost position or a silence, or where
    streams bring nothing, the watch lists, and passes on what was deleted in the meantime.

    ``keep`` makes of an object what is passed on and remembered of it. With ``lists_first`` it
    begins with a list, so that after ``LISTED`` it is known what does not exist. A list brings the
    oldest objects first. ``first_patience`` are the seconds to wait for the first answer, by
    default ``WATCH_PATIENCE``.
    """

    def __init__(
        self,
        api: KubernetesApi,
        resource: str,
        namespace: str,
        selector: Mapping[str, str],
        keep: Keep = _whole,
        *,
        lists_first: bool = False,
        first_patience: float | None = None,
    ) -> None:
        self._api, self._resource, self._namespace = api, resource, namespace
        self._selector, self._keep = selector, keep
        self._first_patience = first_patience
        self._version = ""
        self._known: dict[str, dict[str, Any]] = {}
        self._must_list = lists_first
        self._asked = time.monotonic()
        self._answered: float | None = None
        self._opened: float | None = None

    def expect(self, thing: dict[str, Any]) -> None:
        """Pass on this object's deletion even if it is gone before the watch begins.

        A watch alone never says what does not exist.
        """
        self._known[thing["metadata"]["uid"]] = thing
        self._must_list = True

    def go_on_from(self, thing: dict[str, Any]) -> None:
        """Pass on what happens to this object after the server answered so, also its deletion.

        For a selector that chooses only this object.
        """
        metadata = thing["metadata"]
        self._known[metadata["uid"]], self._version = thing, metadata["resourceVersion"]
        self._answered = time.monotonic()

    async def changes(self) -> AsyncIterator[Change]:
        """Changes for as long as they are asked for.

        Raises ``KubernetesApiError`` when the right is missing or the server has been silent for
        ``WATCH_PATIENCE``.
        """
        failures = empty = 0
        while True:
            self._opened, began, error = None, time.monotonic(), None
            try:
                async for change in self._one_round():
                    yield change
            except exceptions.KubernetesApiError as raised:
                error = raised
            is_silent = error is not None and isinstance(error.__cause__, TimeoutError)
            has_lived = not is_silent and self._has_lived()
            is_answered = self._answered is not None and self._answered >= began
            empty = empty + 1 if self._opened is not None and not is_answered else 0
            is_lost = is_silent or isinstance(error, exceptions.ApiGoneError) or empty >= EMPTY_ROUNDS
            self._must_list = self._must_list or is_lost
            if error is not None and self._is_final(error):
                raise error
            failures = 0 if has_lived else failures + 1
            if failures:
                await asyncio.sleep(backoff(failures, longest=LONGEST_PAUSE))

    def _has_lived(self) -> bool:
        """Whether the last stream was healthy by its life alone, which counts as an answer."""
        if self._opened is None or time.monotonic() - self._opened <= SHORT_LIFE:
            return False
        self._answered = max(self._opened, self._answered or 0.0)
        return True

    async def _one_round(self) -> AsyncIterator[Change]:
        """A list, where one is due, and a stream to its end."""
        try:
            if self._must_list:
                for change in await self._relist():
                    yield change
                yield LISTED
            async for change in self._one_stream():
                yield change
        except _OF_ANOTHER_FORM as error:
            raise self._not_kubernetes("{}") from error

    def _is_final(self, error: exceptions.KubernetesApiError) -> bool:
        """Whether to give up on an error.

        While it restarts, an API server may refuse what it grants later. So a missing right (403)
        is doubted, other refusals if the server has granted the watch before, and refused
        credentials (401) also if it has granted other calls. Events only add reasons, and their
        right is optional: without it, the run goes on.
        """
        silence = time.monotonic() - (self._answered or self._asked)
        if is_transient(error) or isinstance(error, exceptions.ApiGoneError):
            is_first = self._answered is None and self._first_patience is not None
            return silence > (self._first_patience or 0.0 if is_first else WATCH_PATIENCE)
        is_needed_right = isinstance(error, exceptions.ApiForbiddenError) and self._resource != "events"
        is_doubted = self._answered is not None or is_needed_right or self._api.is_doubtful(error)
        return not is_doubted or silence > REFUSAL_PATIENCE

    async def _one_stream(self) -> AsyncIterator[Change]:
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(SERVER_TIMEOUT),
            **self._selector,
        }
        if self._version:
            query["resourceVersion"] = self._version
        call = Call("watch", self._resource, self._namespace, query=query)
        async with self._api.stream(call, read_timeout=WATCH_SILENCE) as content:
            self._opened = time.monotonic()
            async for line in _lines(content):
                try:
                    change = self._change(json.loads(line))
                except _OF_ANOTHER_FORM as error:
                    self._opened = None
                    raise self._not_kubernetes(line.decode(errors="replace")) from error
                self._answered = time.monotonic()
                if change:
                    yield change

    def _not_kubernetes(self, text: str) -> exceptions.NotKubernetesApiError:
        call = Call("watch", self._resource, self._namespace)
        return Answer(call, self._api.host, HTTPStatus.OK, "", text).not_kubernetes()

    def _change(self, event: dict[str, Any]) -> Change | None:
        kind, thing = event["type"], event["object"]
        if kind == "ERROR":
            raise _watch_error(thing)
        self._version = thing["metadata"]["resourceVersion"]
        if kind == "BOOKMARK":
            return None
        return self._remember(Change(self._keep(thing), deleted=kind == "DELETED"))

    def _remember(self, change: Change) -> Change:
        uid = change.object["metadata"]["uid"]
        if change.deleted:
            self._known.pop(uid, None)
        else:
            self._known[uid] = change.object
        return change

    async def _relist(self) -> list[Change]:
        listed: dict[str, dict[str, Any]] = {}
        async for text in self._api.pages(self._resource, self._namespace, LIST_PAGE, **self._selector):
            for item in items_of(text):
                listed[item["metadata"]["uid"]] = self._keep(item)
                if not len(listed) % ITEMS_AT_ONCE:
                    await asyncio.sleep(0)
            self._version = metadata_of(text)["resourceVersion"]
        self._must_list, self._answered = False, time.monotonic()
        gone = [Change(thing, deleted=True) for uid, thing in self._known.items() if uid not in listed]
        there = sorted(listed.values(), key=_created_at)  # the server lists by name
        return [self._remember(change) for change in (*gone, *(Change(thing) for thing in there))]


def _created_at(thing: dict[str, Any]) -> str:
    return str(thing["metadata"].get("creationTimestamp") or "")


def _watch_error(status: dict[str, Any]) -> exceptions.KubernetesApiError:
    """The error that a watch reports; a position that the server does not have is lost.

    After 504 "Too large resource version" the same position may never be reached:
    https://github.com/kubernetes/kubernetes/issues/107133
    """
    code, message = int(status.get("code") or 0), reported(str(status.get("message")))
    if code == 410 or "Too large resource version" in message:
        return exceptions.ApiGoneError(message, status=410)
    return exceptions.KubernetesApiError(f"watch ended: {message}", status=code or 500)


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length; ``StreamReader.readline`` refuses those longer than its buffer.

    https://github.com/aio-libs/aiohttp/issues/4453
    """
    partial = b""
    while True:
        try:
            chunk = await content.readany()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise_interruption_behind(error)
            raise exceptions.ApiUnreachableError(f"watch broke: {message_of(error)}", status=0) from error
        if not chunk and partial.strip():
            yield partial  # the end of something else than events
        if not chunk:
            return
        *lines, partial = (partial + chunk).split(b"\n")
        for line in lines:
            yield line
