"""Watches of something that is not a Kubernetes API."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

import pytest

from airflow_script_provider import exceptions
from airflow_script_provider.api import client as calls
from airflow_script_provider.api import watch as module
from airflow_script_provider.api.resources import Call
from airflow_script_provider.api.watch import Change, Watch
from tests.patience import PATIENCE
from tests.servers import Answer
from tests.stand_in_api import a_refusal, an_object, api_of, stand_in

JOBS, LOG = "/apis/batch/v1/namespaces/etl/jobs", "/api/v1/namespaces/etl/pods/p/log"
PAGE = b"<!DOCTYPE html>\n<html><body>Sign in</body></html>"
HTML, JSON = {"Content-Type": "text/html; charset=utf-8"}, {"Content-Type": "application/json"}
LIST = Answer(b'{"kind":"JobList","metadata":{"resourceVersion":"1"},"items":[]}', headers=JSON)
ADDED = b'{"type":"ADDED","object":{"metadata":{"uid":"u1","name":"x","resourceVersion":"2"}}}\n'


@pytest.mark.parametrize(
    "answer",
    [
        Answer(PAGE, headers=HTML),
        Answer(PAGE, headers=JSON),
        Answer(b"<html>one line</html>", headers=JSON),
        Answer(b'{"error": "login_required"}\n', headers=JSON),
        Answer(b'["login_required"]', headers=JSON),
        Answer(PAGE, 403, HTML),
        Answer(PAGE, 404, HTML),
    ],
)
@pytest.mark.parametrize("lists_first", [True, False])
async def test_a_page_does_not_count_as_answered(
    answer: Answer, lists_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watch gives up when its patience is over, however often a proxy answers (R10, R14)."""
    monkeypatch.setattr(calls, "CALL_PATIENCE", 0.0)
    monkeypatch.setattr(module, "WATCH_PATIENCE", 1.0)
    with stand_in() as server:
        server.answers(JOBS, *([LIST] if lists_first else []), answer)
        async with api_of(server) as api, asyncio.timeout(PATIENCE):
            with pytest.raises(
                exceptions.NotKubernetesApiError, match=f"not a Kubernetes API answer from {server.url}"
            ):
                async for _ in Watch(api, "jobs", "etl", {}, lists_first=lists_first).changes():
                    pass


async def test_a_page_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watch goes on when the API server answers again (R14)."""
    with stand_in() as server:
        server.answers(JOBS, Answer(PAGE, headers=HTML), Answer(PAGE, headers=JSON), Answer(ADDED, headers=JSON))
        async with api_of(server) as api, asyncio.timeout(PATIENCE):
            changes = Watch(api, "jobs", "etl", {}).changes()
            change = await anext(changes)
    assert isinstance(change, Change)
    assert change.object["metadata"]["uid"] == "u1"


async def test_a_page_is_not_a_log() -> None:
    """Its lines are no output of a script (R19)."""
    with stand_in() as server:
        server.answers(LOG, Answer(PAGE, headers=HTML))
        async with api_of(server) as api:
            with pytest.raises(exceptions.NotKubernetesApiError, match="to get pods/log: an HTML page"):
                async with api.stream(Call("get", "pods/log", "etl", "p"), read_timeout=30.0):
                    pass


@pytest.mark.parametrize("is_granted", [True, False])
async def test_credentials_that_were_granted_a_moment_ago(monkeypatch: pytest.MonkeyPatch, is_granted: bool) -> None:
    """A watch that begins with refusals goes on if another call was granted; otherwise it ends at once (R33)."""
    monkeypatch.setattr(module, "backoff", lambda failures, longest: 0.0)
    refused = a_refusal(401, "Unauthorized", "Unauthorized")
    with stand_in() as server:
        server.answers(f"{JOBS}/x", an_object())
        server.answers(JOBS, *[refused] * 6, Answer(ADDED, headers=JSON))
        async with api_of(server) as api:
            if is_granted:
                await api.get("jobs", "etl", "x")
            changes = Watch(api, "jobs", "etl", {}).changes()
            with contextlib.nullcontext() if is_granted else pytest.raises(exceptions.ApiUnauthorizedError):
                assert await anext(changes)


@pytest.mark.parametrize(("resource", "is_doubted"), [("jobs", True), ("pods", True), ("events", False)])
async def test_a_right_that_is_missing_at_first(
    monkeypatch: pytest.MonkeyPatch, resource: str, is_doubted: bool
) -> None:
    """A server that restarts may not know a right yet; without the optional one the run goes on at once (R14, R17)."""
    monkeypatch.setattr(module, "backoff", lambda failures, longest: 0.0)
    path = JOBS if resource == "jobs" else f"/api/v1/namespaces/etl/{resource}"
    with stand_in() as server:
        server.answers(path, *[a_refusal(403, "Forbidden", "forbidden")] * 6, Answer(ADDED, headers=JSON))
        async with api_of(server) as api:
            changes = Watch(api, resource, "etl", {}).changes()
            with contextlib.nullcontext() if is_doubted else pytest.raises(exceptions.ApiForbiddenError):
                assert await anext(changes)


async def test_a_right_that_stays_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error that names the right (R10, R17)."""
    monkeypatch.setattr(module, "REFUSAL_PATIENCE", 0.3)
    with stand_in() as server:
        server.answers(JOBS, a_refusal(403, "Forbidden", 'User "me" cannot watch resource "jobs"'))
        async with api_of(server) as api, asyncio.timeout(PATIENCE):
            with pytest.raises(exceptions.ApiForbiddenError, match="kubectl auth can-i watch jobs -n etl"):
                async for _ in Watch(api, "jobs", "etl", {}).changes():
                    pass


async def test_a_position_that_is_always_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that answers lists and watches with 410 alone is not asked for ever (R14)."""
    monkeypatch.setattr(module, "WATCH_PATIENCE", 0.5)
    with stand_in() as server:
        server.answers(JOBS, a_refusal(410, "Expired", "too old resource version"))
        async with api_of(server) as api, asyncio.timeout(PATIENCE):
            with pytest.raises(exceptions.ApiGoneError):
                async for _ in Watch(api, "jobs", "etl", {}).changes():
                    pass


NOTHING = Answer(b"", headers=JSON)
BROKEN = Answer(b'{"type":"ERROR","object":{"code":500,"reason":"InternalError","message":"decoding"}}\n', headers=JSON)
REVOKED = Answer(b'{"type":"ERROR","object":{"code":401,"message":"Unauthorized"}}\n', headers=JSON)
ITEM = b'{"metadata":{"uid":"u1","name":"x","resourceVersion":"2"}}'
ONE = Answer(b'{"kind":"JobList","metadata":{"resourceVersion":"2"},"items":[' + ITEM + b"]}", headers=JSON)


@pytest.mark.parametrize("answer", [NOTHING, BROKEN, REVOKED], ids=["nothing", "errors", "refusals"])
async def test_streams_that_bring_nothing_are_replaced_by_lists(
    answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy may answer 200 and pass on no event: lists then bring the end of a run (R10, R14)."""
    monkeypatch.setattr(module, "backoff", lambda failures, longest: 0.0)
    with stand_in() as server:
        of_the_first_round = answer  # in which the list is an answer
        server.answers(JOBS, LIST, of_the_first_round, *[answer] * module.EMPTY_ROUNDS, ONE, answer)
        async with api_of(server) as api, asyncio.timeout(PATIENCE):
            changes = Watch(api, "jobs", "etl", {}, lists_first=True).changes()
            found = [await anext(changes) for _ in range(2)]
    assert [change.object.get("metadata", {}).get("uid") for change in found] == [None, "u1"]


async def test_a_stream_that_brings_nothing_is_not_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without lists either, the watch gives up when its patience is over (R10, R14)."""
    monkeypatch.setattr(module, "backoff", lambda failures, longest: 0.01)
    monkeypatch.setattr(module, "WATCH_PATIENCE", 0.3)
    monkeypatch.setattr(calls, "CALL_PATIENCE", 0.0)
    down = a_refusal(503, "ServiceUnavailable", "restarting")
    with stand_in() as server:
        server.answers(JOBS, *[NOTHING] * module.EMPTY_ROUNDS, down)
        async with api_of(server) as api, asyncio.timeout(PATIENCE):
            with pytest.raises(exceptions.KubernetesApiError, match="restarting"):
                async for _ in Watch(api, "jobs", "etl", {}).changes():
                    pass


async def test_a_quiet_stream_is_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script may run for long without any change of its Job: no list is needed (R14)."""
    monkeypatch.setattr(module, "SHORT_LIFE", -1.0)
    with stand_in() as server:
        server.answers(JOBS, *[NOTHING] * 2 * module.EMPTY_ROUNDS, Answer(ADDED, headers=JSON))
        async with api_of(server) as api, asyncio.timeout(PATIENCE):
            changes = Watch(api, "jobs", "etl", {}).changes()
            assert (await anext(changes)).object["metadata"]["uid"] == "u1"
        assert all("watch=1" in request.path for request in server.requests)


@pytest.mark.parametrize("answers", [["DELETED"], ["410", "LIST"]])
async def test_an_object_is_watched_from_the_answer_that_brought_it(
    answers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is listed, unless the position is lost, and a deletion in between is not missed (R10, R31)."""
    monkeypatch.setattr(module, "backoff", lambda *_, **__: 0.0)
    gone = ADDED.replace(b"ADDED", b"DELETED")
    said = {"DELETED": Answer(gone, headers=JSON), "410": a_refusal(410, "Expired"), "LIST": LIST}
    with stand_in() as server:
        server.answers(JOBS, *(said[answer] for answer in answers))
        async with api_of(server) as api, asyncio.timeout(PATIENCE):
            watch = Watch(api, "jobs", "etl", {"fieldSelector": "metadata.name=x"})
            watch.go_on_from({"metadata": {"uid": "u1", "name": "x", "resourceVersion": "1"}})
            change = await anext(aiter(watch.changes()))
    assert (change.object["metadata"]["uid"], change.deleted) == ("u1", True)
    asked = [request.path for request in server.requests]
    assert "watch=1" in asked[0]
    assert asked[0].endswith("resourceVersion=1")
    assert len(asked) == len(answers)


async def test_a_stream_that_stays_silent_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy may keep what it is to pass on: what exists is listed, also what has changed meanwhile (R10, R14)."""
    end = threading.Event()

    def nothing() -> Iterator[bytes]:
        yield b""
        end.wait(PATIENCE)

    monkeypatch.setattr(module, "WATCH_SILENCE", 0.2)
    monkeypatch.setattr(module, "SHORT_LIFE", 0.05)
    monkeypatch.setattr(module, "backoff", lambda *_, **__: 0.0)
    with stand_in() as server:
        server.answers(JOBS, Answer(nothing()), ONE, Answer(nothing()), LIST, Answer(nothing()))
        async with api_of(server) as api, asyncio.timeout(PATIENCE):
            changes = aiter(Watch(api, "jobs", "etl", {}).changes())
            found = [await anext(changes) for _ in range(4)]
        end.set()
    assert [(change.object.get("metadata", {}).get("uid"), change.deleted) for change in found] == [
        ("u1", False),
        (None, False),
        ("u1", True),
        (None, False),
    ]
