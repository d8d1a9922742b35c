"""Sessions with one API server: the next one replaces a session whose credentials have expired."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

import aiohttp

from airflow_script_provider import exceptions

RENEW_INTERVAL = 10.0
"""Seconds between two readings of the credentials: a server that refuses them for good is not
asked for ever."""


@dataclass(frozen=True)
class Session:
    """Connections to one API server, and what every request needs.

    ``route`` are arguments of aiohttp's ``request`` (proxy, TLS name). ``headers`` say who asks; a
    name may stand in several of them. ``answers`` are those that may still be read, ``asked`` the
    requests without an answer.
    """

    host: str
    http: aiohttp.ClientSession
    route: Mapping[str, Any]
    headers: Sequence[tuple[str, str]] = ()
    answers: WeakSet[aiohttp.ClientResponse | aiohttp.ClientWebSocketResponse] = field(default_factory=WeakSet)
    asked: set[object] = field(default_factory=set)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Keep the session open during a request."""
        request = object()
        self.asked.add(request)
        try:
            yield
        finally:
            self.asked.remove(request)

    @property
    def is_idle(self) -> bool:
        """Whether no answer is awaited or read."""
        return not self.asked and all(answer.closed for answer in self.answers)


class Sessions:
    """The ``current`` session; ``renew`` opens one with credentials that were read again.

    ``was_granted`` says that the server has granted a call of any session before.
    """

    def __init__(self, first: Session, renew: Callable[[], Awaitable[Session]] | None) -> None:
        self.current = first
        self.was_granted = False
        self._renew = renew
        self._renewed_at = -RENEW_INTERVAL
        self._failure: exceptions.KubernetesApiError | None = None
        self._renewing = asyncio.Lock()
        self._old: list[Session] = []

    async def renewed(self, refused: Session) -> Session | None:
        """A session with other credentials than ``refused``, None if there are no others.

        Raises ``KubernetesApiError`` where they cannot be read now, or are another server's.
        """
        async with self._renewing:
            if self.current is not refused:
                return self.current
            if self._renew is None:
                return None
            if time.monotonic() >= self._renewed_at + RENEW_INTERVAL:
                self._failure = await self._try(self._renew)
                self._renewed_at = time.monotonic()
            if self._failure is not None:
                raise self._failure.with_traceback(None)
            return self.current if self.current is not refused else None

    async def close(self) -> None:
        """Close all of them."""
        for session in (*self._old, self.current):
            await session.http.close()

    async def _try(self, renew: Callable[[], Awaitable[Session]]) -> exceptions.KubernetesApiError | None:
        """Open the next session; what kept us from it."""
        try:
            session = await renew()
        except exceptions.KubernetesApiError as error:
            return error
        # The context of a kubeconfig was changed: our Job is not there.
        if session.host != self.current.host:
            await session.http.close()
            words = f"the API server {self.current.host} refused the credentials (401), and there are now others"
            return exceptions.ApiUnauthorizedError(f"{words}, for {session.host}. Our Job is not there.", status=401)
        await self._close_idle()
        self._old.append(self.current)  # with its open streams, which live on
        self.current = session
        return None

    async def _close_idle(self) -> None:
        """Close old sessions whose streams have ended.

        A triggerer renews its credentials every few minutes, for weeks.
        """
        for session in [session for session in self._old if session.is_idle]:
            self._old.remove(session)
            await session.http.close()
