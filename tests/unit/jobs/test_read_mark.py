"""The mark on a Job whose outcome was read."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from airflow_script_provider.jobs import launching, read_mark
from airflow_script_provider.jobs.context import JobContext
from airflow_script_provider.kube.labels import READ_ANNOTATION
from airflow_script_provider.run_log import NoRunLog
from tests.builders import a_launched_job, a_request, some_limits
from tests.patience import PATIENCE
from tests.servers import Answer
from tests.stand_in_api import a_refusal, an_object, api_of, requests, stand_in

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@pytest.mark.parametrize(
    ("state", "deadline", "change", "deletes"),
    [
        ({}, None, {}, 0),
        ({"has_running_sidecar": True}, 600, {"parallelism": 0}, 0),
        ({"has_running_sidecar": True}, None, {"parallelism": 0, "activeDeadlineSeconds": 3660}, 0),
        ({"is_left": True}, 600, {"parallelism": 0, "activeDeadlineSeconds": 1}, 1),
        ({"is_left": True}, None, {"parallelism": 0, "activeDeadlineSeconds": 1}, 1),
    ],
    ids=["over", "a sidecar is stopped", "a sidecar without a deadline", "could not be deleted", "nor has a deadline"],
)
async def test_a_marked_job_starts_no_other_pod_and_ends(
    state: dict[str, bool], deadline: int | None, change: dict[str, Any], deletes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No later try looks for what was read, and its TTL begins only with its end: one request (R2, R7)."""
    monkeypatch.setattr(time, "time", lambda: 1060.0)
    with stand_in() as server:
        server.answers("/apis/batch/v1/namespaces/etl/jobs/load", an_object())
        async with api_of(server) as api:
            limits = some_limits(deadline=deadline)
            job = a_launched_job(may_be_marked=True, ttl_when_read=60, limits=limits, launched_at=1000.0)
            await read_mark.close(JobContext(api, job, NoRunLog()), is_retried=False, **state)
    body = json.loads(server.requests[0].body)
    assert requests(server, "DELETE") == len(server.requests) - 1 == deletes
    assert body["spec"] == {"ttlSecondsAfterFinished": 60} | change
    assert READ_ANNOTATION in body["metadata"]["annotations"]


@pytest.mark.parametrize(
    ("is_failed", "keep_failed", "ttl"), [(True, 3600, 3600), (True, 0, 0), (True, None, 60), (False, 3600, 60)]
)
async def test_a_failed_job_has_a_ttl_of_its_own(is_failed: bool, keep_failed: int | None, ttl: int) -> None:
    """Once its outcome was read (R21)."""
    with stand_in() as server:
        server.answers("/apis/batch/v1/namespaces/etl/jobs/load", an_object())
        async with api_of(server) as api:
            job = a_launched_job(ttl_when_read=60, keep_failed=keep_failed)
            await read_mark.close(JobContext(api, job, NoRunLog()), is_retried=False, is_failed=is_failed)
    assert json.loads(server.requests[0].body)["spec"] == {"ttlSecondsAfterFinished": ttl}


def a_review(*, allowed: bool) -> Answer:
    """The API server's answer to the question whether something is allowed."""
    body = {"kind": "SelfSubjectAccessReview", "status": {"allowed": allowed}}
    return Answer(json.dumps(body).encode(), headers={"Content-Type": "application/json"})


@pytest.mark.parametrize(
    ("answers", "patience", "may_be_marked"),
    [
        ([a_review(allowed=False), a_review(allowed=True)], PATIENCE, True),
        ([a_review(allowed=False)], 0.3, False),
        ([a_refusal(403)], 0.3, True),
    ],
    ids=["a no that passes", "a right that is missing", "no answer"],
)
async def test_a_right_that_is_refused_once_is_not_missing(
    answers: list[Answer], patience: float, may_be_marked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An API server that restarts may refuse what it grants a moment later (R9, R15, R17)."""
    monkeypatch.setattr(read_mark, "RIGHT_PATIENCE", patience)
    with stand_in() as server:
        server.answers(REVIEWS, *answers)
        async with api_of(server) as api:
            request = await read_mark.within_rights(api, a_request(unread_ttl=600), NoRunLog())
    assert request.may_be_marked is may_be_marked


NO_RIGHT = a_refusal(403, "Forbidden", 'jobs.batch "x" is forbidden: User "u" cannot patch resource "jobs"')
DENIED = a_refusal(403, "Forbidden", 'admission webhook "w" denied the request: no')


@pytest.mark.parametrize(
    ("answers", "changes", "is_deleted"),
    [
        ([NO_RIGHT, an_object()], {}, False),
        ([NO_RIGHT], {}, True),
        ([NO_RIGHT], {"ttl_when_read": None}, False),
        ([DENIED], {}, False),
    ],
    ids=["a refusal that passes", "no right", "no right and no other time to keep it", "denied at admission"],
)
async def test_a_job_that_may_not_be_marked(
    answers: list[Answer], changes: dict[str, Any], is_deleted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the right all Jobs of the account would stay for a day, so each is deleted once it was read (R8, R17)."""
    monkeypatch.setattr(read_mark, "RIGHT_PATIENCE", PATIENCE if len(answers) > 1 else 0.3)
    monkeypatch.setattr(launching, "ABANDON_TIMEOUT", 0.3)
    with stand_in() as server:
        server.answers("/apis/batch/v1/namespaces/etl/jobs/load", *answers)
        async with api_of(server) as api:
            context = JobContext(api, a_launched_job(**{"ttl_when_read": 60} | changes), NoRunLog())
            await read_mark.close(context, is_retried=False)
    assert (requests(server, "DELETE") > 0) is is_deleted
