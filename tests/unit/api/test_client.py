"""Calls that are repeated while the API server cannot answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from airflow_script_provider.api import client as calls
from airflow_script_provider.api.client import KubernetesApi, patiently
from airflow_script_provider.api.websocket import Upgrade
from airflow_script_provider.exceptions import (
    ApiForbiddenError,
    ApiNotFoundError,
    ApiUnauthorizedError,
    ApiUnreachableError,
    KubernetesApiError,
    NotKubernetesApiError,
)
from tests.servers import Answer, WebServer
from tests.stand_in_api import a_refusal, an_object, api_of, stand_in

UNREACHABLE = ApiUnreachableError("no answer")
REFUSED = ApiForbiddenError("no right", status=403)


class Answers:
    """A call that raises these errors, one after the other, and then answers."""

    def __init__(self, *errors: KubernetesApiError) -> None:
        self.errors = list(errors)
        self.calls = 0

    async def __call__(self) -> str:
        """The next answer."""
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that are made, which take no time."""
    made: list[float] = []

    async def pause(seconds: float) -> None:
        made.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", pause)
    return made


async def test_a_call_is_repeated(pauses: list[float]) -> None:
    """A server that restarts has its answer a little later (R14)."""
    call = Answers(UNREACHABLE, KubernetesApiError("overloaded", status=503))
    assert await patiently(call, 30) == "answer"
    assert (call.calls, len(pauses)) == (3, 2)


async def test_pauses_get_longer(pauses: list[float]) -> None:
    """Up to five seconds, so that a server in trouble is left alone (R14)."""
    await patiently(Answers(*[UNREACHABLE] * 8), 3600)
    assert pauses[0] < pauses[2] < pauses[4] <= 5.0
    assert max(pauses) <= 5.0


async def test_a_refusal_is_final(pauses: list[float]) -> None:
    """The same call would be refused again (R17)."""
    with pytest.raises(ApiForbiddenError):
        await patiently(Answers(REFUSED), 30)
    assert pauses == []


async def test_the_server_says_when_to_ask_again(pauses: list[float]) -> None:
    """Its pause is made in the place of ours (R14)."""
    assert await patiently(Answers(KubernetesApiError("overloaded", status=429, retry_after=7.0)), 30) == "answer"
    assert pauses == [7.0]


async def test_patience_ends(pauses: list[float]) -> None:
    """The error is raised where the next pause would be too long (R14)."""
    call = Answers(UNREACHABLE, UNREACHABLE)
    with pytest.raises(ApiUnreachableError):
        await patiently(call, 0.01)
    assert (call.calls, pauses) == (1, [])


async def test_a_long_pause_ends_with_the_patience(pauses: list[float]) -> None:
    """A server that wants to be left alone for longer is asked a last time (R14)."""
    assert await patiently(Answers(KubernetesApiError("overloaded", status=429, retry_after=3600.0)), 300) == "answer"
    assert pauses == [pytest.approx(300.0, abs=60)]


async def test_there_is_one_last_try() -> None:
    """A server that goes on refusing is not asked for ever (R10, R14)."""
    call = Answers(*[KubernetesApiError("overloaded", status=429, retry_after=3600.0)] * 9)
    with pytest.raises(KubernetesApiError):
        await patiently(call, 0.5)
    assert call.calls <= 2


JOB = "/apis/batch/v1/namespaces/etl/jobs/x"
UNAUTHORIZED = a_refusal(401, "Unauthorized", "Unauthorized")
CALLS: dict[str, Callable[[KubernetesApi], Awaitable[Any]]] = {
    "get": lambda api: api.get("jobs", "etl", "x"),
    "list": lambda api: api.list("jobs", "etl"),
    "create": lambda api: api.create("jobs", "etl", {}),
    "patch": lambda api: api.patch("jobs", "etl", "x", {}),
    "delete": lambda api: api.delete("jobs", "etl", "x"),
}


@pytest.fixture
def server() -> Iterator[WebServer]:
    """A server that grants everything."""
    with stand_in() as server:
        server.answers(JOB, an_object())
        server.answers(JOB.removesuffix("/x"), an_object("JobList"))
        server.answers("/api/v1/namespaces/etl/pods/p", an_object("Pod"))
        yield server


@pytest.mark.parametrize("verb", CALLS)
async def test_refused_credentials_are_doubted_once_they_were_good(server: WebServer, verb: str) -> None:
    """An authenticator that flaps refuses also the renewed ones; the call is repeated (R14, R16)."""
    refused = [UNAUTHORIZED] * 4
    server.answers(JOB, *refused, an_object())
    server.answers(JOB.removesuffix("/x"), *refused, an_object("JobList"))
    async with api_of(server) as api:
        await api.get("pods", "etl", "p")
        await CALLS[verb](api)
    assert len(server.requests) == 6


@pytest.mark.parametrize("verb", CALLS)
async def test_credentials_that_were_never_good_are_refused_at_once(server: WebServer, verb: str) -> None:
    """They are renewed once, and no call waits for what will not come (R16)."""
    server.answers(JOB, UNAUTHORIZED)
    server.answers(JOB.removesuffix("/x"), UNAUTHORIZED)
    async with api_of(server) as api:
        with pytest.raises(ApiUnauthorizedError):
            await CALLS[verb](api)
    assert len(server.requests) == 2


async def test_the_doubt_ends(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that are refused for good end the call with its own patience (R16)."""
    monkeypatch.setattr(calls, "CALL_PATIENCE", 0.5)
    server.answers(JOB, UNAUTHORIZED)
    async with api_of(server) as api:
        await api.get("pods", "etl", "p")
        with pytest.raises(ApiUnauthorizedError):
            await api.get("jobs", "etl", "x")


async def test_an_upgrade_is_doubted_as_well(server: WebServer) -> None:
    """No websocket is open while its credentials are refused: nothing has run (R16)."""
    path = "/api/v1/namespaces/etl/pods/p/exec"
    server.answers(path, UNAUTHORIZED, UNAUTHORIZED, UNAUTHORIZED, a_refusal(404, "NotFound", "no such pod"))
    async with api_of(server) as api:
        await api.get("pods", "etl", "p")
        with pytest.raises(ApiNotFoundError, match="no such pod"):
            await api.connect("pods/exec", "etl", "p", [], Upgrade(["v5.channel.k8s.io"], 30.0))


PAGE = Answer(b"<html>Sign in</html>", headers={"Content-Type": "text/html"})


async def test_a_page_for_a_while_is_waited_out(server: WebServer) -> None:
    """A proxy answers in the server's place, with 200 and with its own 404 (R14)."""
    server.answers(JOB, PAGE, replace(PAGE, status=404), an_object())
    async with api_of(server) as api:
        assert (await api.get("jobs", "etl", "x"))["kind"] == "Job"


async def test_a_question_about_rights_that_a_page_answers(server: WebServer) -> None:
    """No answer is no refusal (R17)."""
    server.answers("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", PAGE)
    async with api_of(server) as api:
        assert await api.can_i("patch", "jobs", "etl")


async def test_a_list_of_pages_that_a_page_answers(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes and Jobs are listed in pieces; each piece is checked (R14)."""
    monkeypatch.setattr(calls, "CALL_PATIENCE", 0.0)
    server.answers("/api/v1/nodes", PAGE)
    async with api_of(server) as api:
        with pytest.raises(NotKubernetesApiError):
            await anext(api.pages("nodes", None, 250))


async def test_an_upgrade_that_a_page_answers(server: WebServer) -> None:
    """The error is that of any other call (R14)."""
    server.answers("/api/v1/namespaces/etl/pods/p/exec", PAGE)
    async with api_of(server) as api:
        with pytest.raises(NotKubernetesApiError, match="to get pods/exec: an HTML page"):
            await api.connect("pods/exec", "etl", "p", [], Upgrade(["v5.channel.k8s.io"], 30.0))


def test_a_conflict_is_tried_again_soon() -> None:
    """In the patience of one call there are dozens of tries, however often another's change wins (R34)."""
    pauses = [calls.backoff(attempt, longest=calls.AFTER_CONFLICT) for attempt in range(50)]
    assert sum(pauses) < calls.CALL_PATIENCE


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (aiohttp.ConnectionTimeoutError("Connection timeout to host http://x/exec?command=hunter2"), "timed out"),
        (aiohttp.InvalidURL("http://x/exec?command=hunter2"), "not valid"),
        (aiohttp.ServerDisconnectedError(), "Server disconnected"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_no_cause_quotes_a_url(error: Exception, cause: str) -> None:
    """The URL of an exec has its command (R26)."""
    said = calls.cause_of(error)
    assert (cause in said, "hunter2" in said) == (True, False)


def a_trickle() -> Iterator[bytes]:
    """An object that comes a byte at a time, and never pauses for long."""
    yield b"{"
    for _ in range(100):
        time.sleep(0.1)
        yield b" "
    yield b'"metadata": {}}'


async def test_an_answer_that_trickles_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """No byte is late, but the whole is; the request may have been carried out (R15)."""
    monkeypatch.setattr(calls, "CALL_TIMEOUT", 0.5)
    monkeypatch.setattr(calls, "CALL_PATIENCE", 0.0)
    with stand_in() as server:
        server.answers("/apis/batch/v1/namespaces/etl/jobs/x", Answer(a_trickle()))
        async with api_of(server) as api:
            with pytest.raises(ApiUnreachableError, match="no answer from the API server") as error:
                await api.patch("jobs", "etl", "x", {})
    assert error.value.may_have_acted
