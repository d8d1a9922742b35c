"""Looking for the Job of an earlier try, from an API server that answers as it likes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from airflow_script_provider import exceptions
from airflow_script_provider.api import client as calls
from airflow_script_provider.jobs import reattach
from airflow_script_provider.jobs.begin import begin
from airflow_script_provider.jobs.reattach import ReattachedJob
from airflow_script_provider.kube.job.launched import JobRef
from airflow_script_provider.kube.job.manifest import job
from tests.builders import a_request, a_task
from tests.servers import Answer, WebServer
from tests.stand_in_api import CONFLICT, EXISTS, a_refusal, an_object, api_of, requests, stand_in

JOBS = "/apis/batch/v1/namespaces/etl/jobs"
RETRY = a_request(task=a_task(try_number=2))


class KeptLog:
    """A log that keeps our lines."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str, level: int = 0) -> None:
        """Keep a line."""
        self.notes.append(text)

    def output(self, lines: Any) -> None:
        """No script runs here."""


@pytest.fixture
def server() -> Iterator[WebServer]:
    """What is asked as the API server."""
    with stand_in() as server:
        yield server


async def found(server: WebServer, log: KeptLog) -> ReattachedJob | None:
    """The Job that a second try takes over."""
    async with api_of(server) as api:
        return await reattach.find(api, RETRY, log, alone=True)


@pytest.mark.parametrize("ahead", [-90, 0, 90])
async def test_the_age_of_a_job_is_told_by_the_servers_clock(server: WebServer, ahead: int) -> None:
    """A worker whose clock is wrong ends no healthy Job for not starting (R5)."""
    now = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=ahead)
    left = job(a_request(task=a_task()))
    created = (now - timedelta(seconds=10)).isoformat()
    left["metadata"] |= {"uid": "uid-1", "creationTimestamp": created}
    server.answers(JOBS, Answer(json.dumps({"items": [left]}).encode(), headers={"Date": format_datetime(now, True)}))
    before = time.time()
    earlier = await found(server, KeptLog())
    assert earlier is not None
    assert earlier.clock is not None
    asked = before - 1, time.time() + 1  # the server's clock has whole seconds
    assert asked[0] - 10 <= earlier.launched_at <= asked[1] - 10
    assert asked[0] - 10 <= earlier.clock <= asked[1] - 10


@pytest.mark.parametrize(("env", "shown"), [({"KEY": "new-token"}, "ValueError: …"), ({}, "ValueError: old-token")])
async def test_of_a_job_with_unknown_values_only_the_errors_name_is_shown(
    server: WebServer, env: dict[str, str], shown: str
) -> None:
    """The values may have changed since another try launched it, and cannot be read (R26)."""
    left = job(a_request(task=a_task(), env=dict.fromkeys(env, "old-token")))
    left["metadata"] |= {"uid": "uid-1", "creationTimestamp": "2026-01-01T00:00:00Z"}
    ended = {"type": "Failed", "status": "True", "lastTransitionTime": "2026-01-01T00:01:00Z"}
    server.answers(JOBS, json.dumps({"items": [left | {"status": {"conditions": [ended]}}]}).encode())
    async with api_of(server) as api:
        context, _ = await begin(api, a_request(task=a_task(try_number=2), env=env), KeptLog(), alone=True)
    assert context.hide is not None
    assert context.hide("ValueError: old-token") == shown
    assert context.has_values is not bool(env)


async def test_what_is_taken_over_keeps_its_names(server: WebServer) -> None:
    """Its ConfigMap and Secret are those that its pod mounts."""
    left = job(a_request(task=a_task()))
    left["metadata"] |= {"uid": "uid-1", "creationTimestamp": "2026-01-01T00:00:00Z", "name": "script-load-0123456789"}
    server.answers(JOBS, json.dumps({"items": [left]}).encode())
    earlier = await found(server, KeptLog())
    assert earlier is not None
    assert (earlier.ref.name, earlier.ref.uid, earlier.try_number) == ("script-load-0123456789", "uid-1", 1)
    assert earlier.request.identity.config_map_name == "script-load-0123456789-script"


async def test_without_the_right_to_list_nothing_is_taken_over(server: WebServer) -> None:
    """One line says so, and which right it is (R17)."""
    log = KeptLog()
    server.answers(JOBS, a_refusal(403, "Forbidden", 'User "me" cannot list resource "jobs"'))
    assert await found(server, log) is None
    assert len(log.notes) == 1
    assert "kubectl auth can-i list jobs -n etl" in log.notes[0]


async def test_without_an_answer_nothing_is_launched(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """To go on could run the script twice (R2)."""
    monkeypatch.setattr(calls, "CALL_PATIENCE", 0.0)
    server.answers(JOBS, Answer(b"{}", 503))
    with pytest.raises(exceptions.KubernetesApiError):
        await found(server, KeptLog())


@pytest.mark.parametrize(("answers", "creates"), [([a_refusal(409, *EXISTS)], 1), ([a_refusal(409, *CONFLICT)] * 2, 3)])
async def test_what_the_lost_worker_did_not_create(server: WebServer, answers: list[Answer], creates: int) -> None:
    """A ConfigMap that exists stays; after a conflict it does not exist, and is created (R34)."""
    log, path = KeptLog(), "/api/v1/namespaces/etl/configmaps"
    server.answers(path, *answers, *([an_object("ConfigMap", 201)] if creates > 1 else []))
    ref = JobRef("etl", "script-load-1", "uid-1")
    earlier = ReattachedJob(RETRY, ref, 1, launched_at=0.0, clock=None, has_ended=False)
    async with api_of(server) as api:
        await reattach.complete(api, earlier, log)
    assert (requests(server, "POST", path), log.notes) == (creates, [])
