"""A decision about a Job that should be gone, while the API server does not delete it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from airflow_script_provider import exceptions
from airflow_script_provider.api.watch import LISTED, Change
from airflow_script_provider.jobs import follow, launching
from airflow_script_provider.jobs.answers import doubt, endings
from airflow_script_provider.jobs.changes import Kind, Listener
from airflow_script_provider.jobs.context import JobContext
from airflow_script_provider.jobs.follow import Followed, Follower
from airflow_script_provider.kube.job import progress, termination
from airflow_script_provider.kube.job.follow_state import FollowState
from airflow_script_provider.kube.job.launched import JobRef
from airflow_script_provider.kube.job.verdict import Cause, Verdict
from airflow_script_provider.run_log import NoRunLog
from tests.builders import a_job, a_launched_job, a_pod, a_view, some_limits
from tests.patience import PATIENCE
from tests.servers import Answer, WebServer
from tests.stand_in_api import a_refusal, api_of, stand_in
from tests.unit.jobs.test_follow import Fed

PODS, JOB = "/api/v1/namespaces/etl/pods", "/apis/batch/v1/namespaces/etl/jobs/load"
NOT_FOUND = a_refusal(404, "NotFound", "not found")
"""The Job as the API server has it no more."""
THE_JOB = a_job() | {"metadata": {"name": "load", "uid": "job-uid"}}
AWAY = exceptions.ApiUnreachableError("no answer from the API server", status=0, may_have_acted=True)
REFUSED = exceptions.ApiForbiddenError("no right to delete jobs", status=403)
SUCCESS = a_pod(exit_code=0, phase="Succeeded")

Deletes = list[Callable[[], object]]
"""What each delete of the Job does; the last one for ever."""


def has(server: WebServer, *pods: dict[str, Any], job: dict[str, Any] | None = THE_JOB) -> None:
    """What the API server has."""
    listed = {"kind": "PodList", "metadata": {"resourceVersion": "1"}, "items": list(pods)}
    server.answers(PODS, json.dumps(listed).encode())
    server.answers(JOB, NOT_FOUND if job is None else Answer(json.dumps({"kind": "Job", **job}).encode()))


def fails(error: exceptions.KubernetesApiError = AWAY) -> None:
    """The API server does not delete the Job."""
    raise error


class Watched(Fed):
    """Changes of which a test can make more."""

    listener: Listener

    @asynccontextmanager
    async def subscribe(self, ref: JobRef, listener: Listener) -> AsyncIterator[Any]:
        """Pass on what there is."""
        self.listener = listener
        async with super().subscribe(ref, listener) as watch_events:
            yield watch_events


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    """What is asked as the API server, by a follower with little patience."""
    monkeypatch.setattr(follow, "DOUBT", 0.05)
    monkeypatch.setattr(progress, "CONFIRMATION", 0.1)
    monkeypatch.setattr(termination, "MARGIN", 0.2)
    with stand_in() as server:
        yield server


async def followed(
    server: WebServer, monkeypatch: pytest.MonkeyPatch, deletes: Deletes, *pods: dict[str, Any], is_expired: bool
) -> tuple[Followed, int]:
    """The Job followed to its end, and how often its deletion was asked for."""
    waiting, asked = list(deletes), []

    async def delete_within(*_: object) -> None:
        asked.append(time.monotonic())
        await asyncio.to_thread(waiting.pop(0) if len(waiting) > 1 else waiting[0])
        for pod in pods:
            changes.listener(Kind.POD, Change(pod, deleted=True))

    monkeypatch.setattr(launching, "delete_within", delete_within)
    has(server, *pods)
    changes = Watched((Kind.JOB, Change(THE_JOB)), *((Kind.POD, Change(pod)) for pod in pods), (Kind.POD, LISTED))
    async with api_of(server) as api:
        limits = some_limits(schedule_timeout=60 if is_expired else 0.2, grace_period=0)
        job = a_launched_job(limits=limits, launched_at=time.time(), get_logs=False)
        follower = Follower(JobContext(api, job, NoRunLog()), changes, FollowState(), keeps_output=False)
        return await follower.follow_or_end(time.monotonic() + (0 if is_expired else PATIENCE)), len(asked)


@pytest.mark.parametrize(
    ("now_has", "cause", "deletes"),
    [
        ({}, Cause.SCHEDULE_TIMEOUT, 2),
        ({"job": None}, Cause.SCHEDULE_TIMEOUT, 2),
        ({"pods": [SUCCESS]}, Cause.SCRIPT_SUCCEEDED, 1),
        ({"pods": [a_pod(exit_code=143, being_deleted=True)], "job": None}, Cause.JOB_DELETED, 1),
    ],
    ids=["nothing new", "its answer was lost", "the script has succeeded", "the script has begun before"],
)
async def test_a_silence_ends_nothing_before_its_job_is_deleted(
    server: WebServer, monkeypatch: pytest.MonkeyPatch, now_has: dict[str, Any], cause: Cause, deletes: int
) -> None:
    """The pod may start while the API server is away, so the next delete follows on another look (R1, R2, R5)."""

    def fails_then() -> None:
        pods = now_has.get("pods", [])
        has(server, *pods, job=now_has.get("job", THE_JOB))
        fails()

    given: Deletes = [fails_then, lambda: has(server, job=None)]
    found, asked = await followed(server, monkeypatch, given, is_expired=False)
    assert (found.verdict.cause, asked) == (cause, deletes)


async def test_a_decision_that_is_refuted_does_not_name_a_later_deletion(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node comes back, the next attempt begins, and then a user deletes the Job (R5, R10, R21)."""
    monkeypatch.setattr(progress, "NODE_PATIENCE", 0.3)
    lost = a_pod("load-x1", running=True, being_deleted=True, grace_period=0, created="2026-01-01T00:00:00Z")
    ended = a_pod("load-x1", exit_code=143, phase="Failed", being_deleted=True, created="2026-01-01T00:00:00Z")
    second = a_pod("load-x2", running=True, created="2026-01-01T00:10:00Z")
    at_last = a_pod("load-x2", exit_code=143, phase="Failed", being_deleted=True, created="2026-01-01T00:10:00Z")
    asked = []

    def a_user_deletes() -> None:
        has(server, job=None)
        changes.listener(Kind.JOB, Change(THE_JOB, deleted=True))
        changes.listener(Kind.POD, Change(at_last, deleted=True))

    async def delete_within(*_: object) -> None:
        asked.append(time.monotonic())
        has(server, second)
        changes.listener(Kind.POD, Change(ended, deleted=True))
        changes.listener(Kind.POD, Change(second))
        asyncio.get_running_loop().call_later(0.5, a_user_deletes)
        fails()

    monkeypatch.setattr(launching, "delete_within", delete_within)
    has(server, lost)
    changes = Watched((Kind.JOB, Change(THE_JOB)), (Kind.POD, Change(lost)), (Kind.POD, LISTED))
    async with api_of(server) as api, asyncio.timeout(PATIENCE):
        limits = some_limits(grace_period=0, backoff_limit=3)
        job = a_launched_job(limits=limits, launched_at=time.time(), get_logs=False)
        followed = await Follower(JobContext(api, job, NoRunLog()), changes, FollowState(), keeps_output=False).follow()
    assert (followed.verdict.cause, followed.verdict.pod_uid, len(asked)) == (Cause.JOB_DELETED, "uid-load-x2", 1)


@pytest.mark.parametrize(
    ("error", "is_over"), [(None, True), (REFUSED, True), (AWAY, False)], ids=["changed", "no right", "no answer"]
)
async def test_a_job_that_stays_for_a_log_is_over_when_it_starts_no_other_pod(
    error: exceptions.KubernetesApiError | None, is_over: bool
) -> None:
    """Its next attempt would begin before a worker has a slot (R2, R10)."""

    async def end_attempts(failures: int) -> exceptions.KubernetesApiError | None:
        return error

    async def delete_within(seconds: float) -> None:
        raise AssertionError("its log is gone")

    view, verdict = a_view(a_pod(exit_code=1, phase="Failed")), Verdict(Cause.REFUSED, "uid-load-x1", delete_job=True)
    found = await endings.Ending(delete_within, end_attempts).confirmed(view, verdict)
    assert found == (verdict if is_over else None)


@pytest.mark.parametrize(("error", "is_doubted"), [(AWAY, True), (REFUSED, False)], ids=["never answered", "no right"])
async def test_a_job_that_is_never_deleted_has_an_end(
    server: WebServer, monkeypatch: pytest.MonkeyPatch, error: exceptions.KubernetesApiError, is_doubted: bool
) -> None:
    """The API server answers everything else (R10, R17)."""
    monkeypatch.setattr(doubt, "REFUSAL_PATIENCE", 1.0)
    found, asked = await followed(server, monkeypatch, [partial(fails, error)], is_expired=False)
    assert found.verdict.cause is Cause.SCHEDULE_TIMEOUT
    assert (asked > 3) is is_doubted


RUNNING = a_pod(running=True)


@pytest.mark.parametrize(
    ("first", "cause", "deletes"),
    [
        ({"pods": [SUCCESS]}, Cause.SCRIPT_SUCCEEDED, 1),
        ({"pods": [RUNNING]}, Cause.DEADLINE, 2),
        ({"job": None}, Cause.DEADLINE, 2),
    ],
    ids=["the script has succeeded", "nothing new", "its answer was lost"],
)
async def test_what_a_script_does_before_its_job_is_deleted_counts(
    server: WebServer, monkeypatch: pytest.MonkeyPatch, first: dict[str, Any], cause: Cause, deletes: int
) -> None:
    """The API server is away when the task's time is over, so it is asked again before the next delete (R1, R5)."""

    def fails_then() -> None:
        has(server, *first.get("pods", []), job=first.get("job", THE_JOB))
        fails()

    given: Deletes = [fails_then, lambda: has(server, job=None)]
    found, asked = await followed(server, monkeypatch, given, RUNNING, is_expired=True)
    assert (found.verdict.cause, asked) == (cause, deletes)


async def test_a_pod_has_its_time_from_the_delete_that_was_answered(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script that has ended with its Job is no script that may run on (R5, R10)."""
    monkeypatch.setattr(termination, "MARGIN", 1.0)

    def ends_late() -> None:
        time.sleep(1.2)
        has(server, job=None)

    found, _ = await followed(server, monkeypatch, [fails, ends_late], RUNNING, is_expired=True)
    assert found.verdict.cause is Cause.DEADLINE
    assert not termination.may_run_on(found.view, found.verdict)
