"""The end of a run whose work has taken its time: Kubernetes is asked to end its Job."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from airflow_script_provider.api import client
from airflow_script_provider.api.watch import LISTED, Change
from airflow_script_provider.jobs import follow, launching
from airflow_script_provider.jobs.answers import doubt, timeouts
from airflow_script_provider.jobs.changes import Kind
from airflow_script_provider.jobs.context import JobContext
from airflow_script_provider.jobs.follow import Followed, Follower
from airflow_script_provider.kube.job import progress, termination
from airflow_script_provider.kube.job.follow_state import FollowState
from airflow_script_provider.kube.job.verdict import Cause
from airflow_script_provider.kube.labels import TIMEOUT_ANNOTATION
from tests.builders import a_job, a_launched_job, a_pod, some_limits
from tests.kept_log import KeptLog
from tests.patience import PATIENCE
from tests.servers import Answer, Request, WebServer
from tests.stand_in_api import a_refusal, api_of, stand_in
from tests.unit.jobs.answers.test_endings import JOB, NOT_FOUND, PODS, Watched

AWAY = a_refusal(503, "ServiceUnavailable", "the server is away")
NO_RIGHT = a_refusal(403, "Forbidden", 'User "u" cannot patch resource "jobs"')
DENIED = a_refusal(400, "BadRequest", "admission webhook denied the request")
RUNNING = a_pod(running=True)


class Kubernetes:
    """A Job that runs, as the API server has it; ``answers`` are those to its changes, None is what it does."""

    def __init__(self, server: WebServer, *answers: Answer | None) -> None:
        self.job: dict[str, Any] | None = a_job(deadline=1800)
        self.job["metadata"] = {"name": "load", "uid": "job-uid", "creationTimestamp": "2026-01-01T00:00:00Z"}
        self.pods, self.answers, self.changes = [RUNNING], list(answers), list[Any]()
        self.on_change: Callable[[], object] = lambda: None
        self.on_look: Callable[[], object] = lambda: None
        self.drops: tuple[str, ...] = ()
        server.answer_to = self.answer_to  # type: ignore[method-assign]

    def answer_to(self, request: Request) -> Answer:
        """What the API server answers."""
        if request.method == "PATCH":
            return self._changed(json.loads(request.body))
        if request.method == "DELETE":
            self.job, self.pods = None, []
            return Answer(b'{"kind": "Status", "metadata": {}}')
        if request.path.startswith(JOB):
            return NOT_FOUND if self.job is None else Answer(json.dumps(self.job).encode())
        self.on_look()
        listed = {"metadata": {"resourceVersion": "1"}, "items": self.pods if PODS in request.path else []}
        return Answer(json.dumps(listed).encode())

    def _changed(self, change: dict[str, Any]) -> Answer:
        self.changes.append(change)
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            return answer
        kept = {name: value for name, value in change.items() if name not in self.drops}
        assert self.job is not None
        self.job["metadata"] |= kept.get("metadata", {})
        self.job["spec"] |= kept.get("spec", {})
        self.on_change()
        return Answer(json.dumps(self.job).encode())

    def ended(self) -> dict[str, Any]:
        """The Job, which its controller has ended."""
        assert self.job is not None
        self.job["status"] = a_job("Failed", reason="DeadlineExceeded")["status"]
        self.pods = [a_pod(exit_code=143, phase="Failed", being_deleted=True)]
        return self.job


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    """What is asked as the API server, by a follower with little patience."""
    for module, name in ((client, "CALL_PATIENCE"), (follow, "DOUBT"), (timeouts, "ABANDON_TIMEOUT")):
        monkeypatch.setattr(module, name, 0.05 if name != "ABANDON_TIMEOUT" else 1.0)
    monkeypatch.setattr(doubt, "REFUSAL_PATIENCE", 0.5)
    monkeypatch.setattr(timeouts, "RIGHT_PATIENCE", 0.7)
    monkeypatch.setattr(launching, "REMOVAL_PATIENCE", 0.5)
    monkeypatch.setattr(progress, "CONFIRMATION", 0.1)
    monkeypatch.setattr(termination, "MARGIN", 0.2)
    with stand_in() as server:
        yield server


async def followed(server: WebServer, cluster: Kubernetes, *, timeout: float = 0.3) -> tuple[Followed, KeptLog]:
    """The Job followed to its end, and the log."""
    job, log = cluster.job or {}, KeptLog()
    changes = Watched((Kind.JOB, Change(job)), (Kind.POD, Change(RUNNING)), (Kind.POD, LISTED))
    loop = asyncio.get_running_loop()

    def end_it() -> None:
        ended = cluster.ended()
        for kind, thing in ((Kind.JOB, ended), (Kind.POD, cluster.pods[0])):
            loop.call_soon_threadsafe(changes.listener, kind, Change(thing))

    cluster.on_change = end_it
    limits = some_limits(timeout=timeout, deadline=1800, grace_period=0)
    launched = replace(a_launched_job(limits=limits), launched_at=time.time(), get_logs=False)
    async with api_of(server) as api, asyncio.timeout(PATIENCE):
        follower = Follower(JobContext(api, launched, log), changes, FollowState(), keeps_output=False)
        return await follower.follow(), log


async def test_kubernetes_ends_a_job_whose_work_is_over(server: WebServer) -> None:
    """Its deadline becomes the time on its clock, and an annotation says why; one request is enough (R5, R26)."""
    cluster = Kubernetes(server)
    found, _ = await followed(server, cluster)
    assert (found.verdict.cause, found.verdict.reason) == (Cause.DEADLINE, "DeadlineExceeded")
    assert not found.verdict.delete_job
    ((change),) = cluster.changes
    assert change["metadata"] == {"uid": "job-uid", "annotations": {TIMEOUT_ANNOTATION: "0.3"}}
    assert change["spec"].keys() == {"activeDeadlineSeconds"}
    assert change["spec"]["activeDeadlineSeconds"] >= 1
    assert found.view.timed_out_after == "0.3"


async def test_a_script_that_ends_in_time_costs_no_request(server: WebServer) -> None:
    """Neither a look nor a change (R26)."""
    cluster, log = Kubernetes(server), KeptLog()
    done = a_pod(exit_code=0, phase="Succeeded")
    items = ((Kind.JOB, Change(cluster.job or {})), (Kind.POD, Change(RUNNING)), (Kind.POD, LISTED))
    changes = Watched(*items, later=[(Kind.POD, Change(done))])
    launched = a_launched_job(limits=some_limits(timeout=60, deadline=1800), launched_at=time.time(), get_logs=False)
    async with api_of(server) as api, asyncio.timeout(PATIENCE):
        found = await Follower(JobContext(api, launched, log), changes, FollowState(), keeps_output=False).follow()
    assert found.verdict.cause is Cause.SCRIPT_SUCCEEDED
    assert [one.method for one in server.requests if "events" not in one.path] == []


async def test_a_script_that_has_just_ended_is_no_timeout(server: WebServer) -> None:
    """The watch was late: the API server is asked before the Job is ended (R1, R5, R10)."""
    cluster = Kubernetes(server)
    cluster.pods = [a_pod(exit_code=0, phase="Succeeded")]
    found, _ = await followed(server, cluster)
    assert (found.verdict.cause, cluster.changes) == (Cause.SCRIPT_SUCCEEDED, [])


@pytest.mark.parametrize("lost", [AWAY, Answer(reset=True)], ids=["away", "no answer"])
async def test_a_change_without_an_answer_is_made_again(server: WebServer, lost: Answer) -> None:
    """As soon as the API server answers (R5, R10)."""
    cluster = Kubernetes(server, lost, lost)
    found, log = await followed(server, cluster)
    assert (found.verdict.cause, len(cluster.changes)) == (Cause.DEADLINE, 3)
    assert "is deleted" not in str(log.notes)


async def test_a_change_whose_answer_is_lost_is_made_once(server: WebServer) -> None:
    """The next look finds the annotation (R5)."""
    cluster = Kubernetes(server)
    answered = cluster._changed

    def lost(change: dict[str, Any]) -> Answer:
        answered(change)
        return Answer(reset=True)

    cluster._changed = lost  # type: ignore[method-assign]
    found, _ = await followed(server, cluster)
    assert (found.verdict.cause, found.verdict.reason) == (Cause.DEADLINE, "DeadlineExceeded")


async def test_a_right_that_is_missing_for_a_moment_is_doubted(server: WebServer) -> None:
    """An API server that restarts may refuse what it grants a moment later (R10, R17)."""
    cluster = Kubernetes(server, NO_RIGHT)
    found, log = await followed(server, cluster)
    assert (found.verdict.cause, "is deleted" in str(log.notes)) == (Cause.DEADLINE, False)


@pytest.mark.parametrize(
    ("answer", "drops"),
    [(NO_RIGHT, ()), (DENIED, ()), (AWAY, ()), (None, ("spec",)), (None, ("metadata",))],
    ids=["no right", "denied", "never answered", "the deadline is dropped", "the annotation is dropped"],
)
async def test_a_job_that_kubernetes_is_not_to_end_is_deleted(
    server: WebServer, answer: Answer | None, drops: tuple[str, ...]
) -> None:
    """It was a timeout nevertheless, and a warning says why the Job is gone (R5, R17)."""
    cluster = Kubernetes(server, *([answer] * 99 if answer else []))
    cluster.drops = drops
    followed_ended = cluster.ended
    cluster.ended = lambda: followed_ended() if not drops else dict(cluster.job or {})  # type: ignore[method-assign]
    found, log = await followed(server, cluster)
    assert (found.verdict.cause, found.verdict.delete_job, cluster.job) == (Cause.TIMEOUT, True, None)
    assert found.verdict.is_timeout
    assert "does not end Job etl/load at its timeout, so the Job is deleted" in str(log.notes)


async def test_nothing_is_ended_while_the_api_server_is_away(server: WebServer) -> None:
    """The script may have ended meanwhile, so each change follows on a look (R1, R5, R10)."""
    cluster = Kubernetes(server)
    answer, looks = cluster.answer_to, iter([AWAY] * 5)

    def away(request: Request) -> Answer:
        return (next(looks, None) if PODS in request.path else None) or answer(request)

    server.answer_to = away  # type: ignore[method-assign]
    found, log = await followed(server, cluster)
    assert (found.verdict.cause, len(cluster.changes), next(looks, None)) == (Cause.DEADLINE, 1, None)
    assert "is deleted" not in str(log.notes)
