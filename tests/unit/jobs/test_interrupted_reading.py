"""Airflow's timeout that fires while a client hands bytes on, which the client makes an error of its own of."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import aiohttp
import pytest

from airflow_script_provider import _event_loop, _shielded
from airflow_script_provider._airflow import AirflowTaskTimeout
from airflow_script_provider._event_loop import raise_interruption_behind
from airflow_script_provider._interruption import InterruptibleRun
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.api.sessions import Session
from airflow_script_provider.api.watch import Watch
from airflow_script_provider.jobs.context import JobContext
from airflow_script_provider.jobs.guard import JobGuard
from airflow_script_provider.jobs.log_reader import LogReader
from airflow_script_provider.kube.logs.pod_lines import LogPosition
from tests.builders import a_launched_job
from tests.patience import PATIENCE
from tests.servers import Answer, WebServer, web_server
from tests.stand_in_api import NOT_FOUND, a_refusal, api_of, requests
from tests.unit.jobs.test_guard import Silent

LINE = b"2026-01-01T00:00:01.000000001Z n 0\n"
RESET, AWAY, DONE = Answer(reset=True), a_refusal(503, "ServiceUnavailable"), a_refusal(200)
EVENT = json.dumps({"type": "ADDED", "object": {"metadata": {"uid": "u", "resourceVersion": "1"}}}).encode() + b"\n"


@pytest.fixture
def server() -> Iterator[WebServer]:
    """What is asked as the API server."""
    with web_server() as server:
        yield server


@pytest.fixture
def timeout_while_bytes_are_handed_on(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """Airflow's alarm, once, in the middle of aiohttp's parser; the bytes that it came with."""
    fed: list[bytes] = []
    feed = aiohttp.StreamReader.feed_data

    def interrupted(self: aiohttp.StreamReader, data: bytes, *args: Any) -> Any:
        is_first = not fed and threading.current_thread() is threading.main_thread()
        if is_first:
            fed.append(data)
            raise AirflowTaskTimeout("execution_timeout")
        return feed(self, data, *args)

    monkeypatch.setattr(aiohttp.StreamReader, "feed_data", interrupted)
    yield fed
    assert fed


async def read_a_log(api: KubernetesApi) -> None:
    """Follow a container's log, which has no end."""
    reader = LogReader(api, "etl", "load-x1", lambda *_: None, lambda _: None, "script", start=LogPosition())
    await reader.follow()


async def watch_pods(api: KubernetesApi) -> None:
    """Watch pods until there is a change."""
    async for _ in Watch(api, "pods", "etl", {}).changes():
        return


async def read_a_pod(api: KubernetesApi) -> None:
    """Read one object."""
    await api.get("pods", "etl", "load-x1")


@pytest.mark.usefixtures("timeout_while_bytes_are_handed_on")
@pytest.mark.parametrize(
    ("path", "body", "do"),
    [
        ("/api/v1/namespaces/etl/pods/load-x1/log", LINE, read_a_log),
        ("/api/v1/namespaces/etl/pods", EVENT, watch_pods),
        ("/api/v1/namespaces/etl/pods/load-x1", b"{}", read_a_pod),
    ],
    ids=["log", "watch", "call"],
)
def test_the_timeout_ends_the_run(
    path: str, body: bytes, do: Callable[[KubernetesApi], Coroutine[Any, Any, None]], server: WebServer
) -> None:
    """It is no error of the network: nothing is read again (R5)."""
    server.answers(path, *[Answer(body)] * 50)

    async def main() -> None:
        api = KubernetesApi(Session(server.url, aiohttp.ClientSession(), {}))
        try:
            async with asyncio.timeout(PATIENCE):
                await do(api)
        finally:
            await api.close()

    with pytest.raises(AirflowTaskTimeout, match="execution_timeout"):
        InterruptibleRun().run(main)
    assert len(server.requests) == 1


@pytest.fixture
def alarm_is_a_timeout() -> Iterator[None]:
    """``SIGALRM`` raises Airflow's timeout."""

    def expire(*_: object) -> None:
        raise AirflowTaskTimeout("execution_timeout")

    before = signal.signal(signal.SIGALRM, expire)
    yield
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("alarm_is_a_timeout")
@pytest.mark.parametrize("answers", [[RESET, DONE], [RESET, RESET, DONE], [AWAY, DONE]], ids=["reset", "twice", "503"])
@pytest.mark.parametrize("run", [InterruptibleRun().run, lambda of: _event_loop.run(of())], ids=["a run", "a call"])
def test_the_clearing_up_after_a_timeout_outlasts_a_broken_connection(
    run: Callable[[Callable[[], Coroutine[Any, Any, None]]], None],
    answers: list[Answer],
    server: WebServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Airflow's timeout ends the loop while it waits; the runner clears up while it handles that (R5, R14)."""
    monkeypatch.setattr(_shielded, "ABANDON_TIMEOUT", PATIENCE)
    server.answers("/apis/batch/v1/namespaces/etl/jobs/load", *answers, NOT_FOUND)

    async def main() -> None:
        async with api_of(server) as api, JobGuard(JobContext(api, a_launched_job(), Silent())).protecting():
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            await asyncio.sleep(PATIENCE)

    with pytest.raises(AirflowTaskTimeout, match="execution_timeout"):
        run(main)
    assert requests(server, "DELETE") == len(answers)


def an_error(behind: BaseException | None = None, *, as_context: bool = False) -> aiohttp.ClientError:
    """A client's error with something behind it."""
    error = aiohttp.ClientPayloadError("x")
    if as_context:
        error.__context__ = behind
    else:
        error.__cause__ = behind
    return error


@pytest.mark.parametrize("as_context", [False, True])
@pytest.mark.parametrize("interruption", [AirflowTaskTimeout("x"), KeyboardInterrupt(), SystemExit(1)], ids=repr)
def test_what_interrupts_is_raised(interruption: BaseException, as_context: bool) -> None:
    """However deep it stands behind a client's error."""
    for error in (interruption, an_error(interruption, as_context=as_context), an_error(an_error(interruption))):
        with pytest.raises(type(interruption)):
            raise_interruption_behind(error)


def test_what_the_author_has_caught_interrupts_nothing() -> None:
    """Code that handles a timeout may run a script, whose calls may fail."""

    async def main() -> None:
        with pytest.raises(aiohttp.ClientPayloadError) as error:
            raise aiohttp.ClientPayloadError("x")
        assert isinstance(error.value.__context__, AirflowTaskTimeout)
        raise_interruption_behind(error.value)

    for run in (InterruptibleRun().run, lambda of: _event_loop.run(of())):
        try:
            raise AirflowTaskTimeout("of before")
        except AirflowTaskTimeout:
            run(main)
    with pytest.raises(AirflowTaskTimeout):
        raise_interruption_behind(an_error(AirflowTaskTimeout("now")))


def test_what_belongs_to_the_client_is_not() -> None:
    """An error of the network, a time limit of asyncio, and errors that lead to each other."""
    limit, circle = TimeoutError(), an_error()
    limit.__cause__, circle.__cause__ = asyncio.CancelledError(), an_error(circle)
    for error in (None, an_error(), an_error(OSError("reset")), limit, circle):
        raise_interruption_behind(error)
