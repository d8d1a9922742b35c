"""Credentials that expire: one session with the API server takes over from another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from airflow_script_provider import exceptions
from airflow_script_provider.api import sessions as module
from airflow_script_provider.api.sessions import Session, Sessions
from tests.servers import Answer, web_server

HOST = "https://cluster:6443"


class Opened(list[Session]):
    """Sessions that were opened, all closed in the end."""

    host = HOST
    error: exceptions.KubernetesApiError | None = None
    pause = 0.0

    async def one(self) -> Session:
        """Open one more, after a pause."""
        await asyncio.sleep(self.pause)
        if self.error is not None:
            raise self.error
        self.append(Session(self.host, aiohttp.ClientSession(), {}))
        return self[-1]


@pytest.fixture
async def opened() -> AsyncIterator[Opened]:
    """Where sessions come from."""
    found = Opened()
    yield found
    for session in found:
        await session.http.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials may be read as often as somebody likes."""
    monkeypatch.setattr(module, "RENEW_INTERVAL", 0.0)


async def test_many_are_refused_at_once(opened: Opened) -> None:
    """However many calls are refused, the credentials are read once (R16)."""
    opened.pause = 0.01
    first = await opened.one()
    sessions = Sessions(first, opened.one)
    others = await asyncio.gather(*(sessions.renewed(first) for _ in range(100)))
    assert len(opened) == 2
    assert set(map(id, others)) == {id(opened[1])} == {id(sessions.current)}


async def test_refused_for_good(opened: Opened) -> None:
    """New credentials that are refused, too, are not read anew at once: no loop (R16)."""
    sessions = Sessions(await opened.one(), opened.one)
    other = await sessions.renewed(opened[0])
    assert other is not None
    assert await sessions.renewed(other) is None
    assert len(opened) == 2


async def test_what_cannot_be_renewed(opened: Opened) -> None:
    """A session that nobody can open anew stays."""
    assert await Sessions(await opened.one(), None).renewed(opened[0]) is None


async def test_a_plugin_that_fails_for_a_while(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its failure is told to all who ask meanwhile, so that they ask again; later it is tried once more (R16)."""
    sessions = Sessions(await opened.one(), opened.one)
    opened.error = exceptions.ApiUnreachableError("the plugin fails")
    for _ in range(3):
        with pytest.raises(exceptions.ApiUnreachableError, match="the plugin fails"):
            await sessions.renewed(opened[0])
        opened.error = None
    monkeypatch.setattr(module, "RENEW_INTERVAL", 0.0)
    assert await sessions.renewed(opened[0]) is opened[1]


async def test_who_gives_up_leaves_the_reading_to_the_next(opened: Opened) -> None:
    """A call that is cancelled while it reads the credentials doesn't keep others from reading them."""
    first = await opened.one()
    sessions = Sessions(first, opened.one)
    opened.pause = 10
    reading = asyncio.create_task(sessions.renewed(first))
    await asyncio.sleep(0.01)
    reading.cancel()
    await asyncio.wait({reading})
    opened.pause = 0
    assert await sessions.renewed(first) is opened[1]


async def test_credentials_of_another_server(opened: Opened) -> None:
    """A kubeconfig that names another server by now is not followed there: our Job is not (R16)."""
    first = await opened.one()
    sessions = Sessions(first, opened.one)
    opened.host = "https://elsewhere:6443"
    with pytest.raises(exceptions.ApiUnauthorizedError, match=f"{HOST} refused .* for https://elsewhere:6443"):
        await sessions.renewed(first)
    assert sessions.current is first
    assert opened[1].http.closed


async def test_sessions_that_nobody_reads_are_closed(opened: Opened, impatient: None) -> None:
    """However often the credentials are renewed, sockets and memory don't add up (R30)."""
    sessions = Sessions(await opened.one(), opened.one)
    for _ in range(10):
        await sessions.renewed(sessions.current)
    assert [session.http.closed for session in opened] == [True] * 9 + [False] * 2


async def test_a_stream_outlives_its_credentials(opened: Opened, impatient: None) -> None:
    """What is read while the credentials are renewed is read to its end, then its session may go (R16)."""
    sessions = Sessions(await opened.one(), opened.one)
    with web_server() as server:
        server.answers("/", Answer(b"long" * 1_000_000))
        answer = await opened[0].http.get(server.url)
        opened[0].answers.add(answer)
        for _ in range(3):
            await sessions.renewed(sessions.current)
        assert not opened[0].http.closed
        assert len(await answer.read()) == 4_000_000
        await sessions.renewed(sessions.current)
    assert opened[0].http.closed


async def test_a_request_without_an_answer_keeps_its_session(opened: Opened, impatient: None) -> None:
    """Credentials may be renewed twice while a slow server has not answered yet."""
    sessions = Sessions(await opened.one(), opened.one)
    with opened[0].asking():
        for _ in range(3):
            await sessions.renewed(sessions.current)
        assert not opened[0].http.closed
    await sessions.renewed(sessions.current)
    assert opened[0].http.closed
