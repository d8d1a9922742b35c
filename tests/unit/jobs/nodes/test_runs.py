"""Runs on nodes under way: when they are over, and what they leave."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any

import pytest

from airflow_script_provider.api import client
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.api.watch import Change
from airflow_script_provider.jobs.changes import Kind
from airflow_script_provider.jobs.context import JobContext
from airflow_script_provider.jobs.nodes.runs import EXPLAINED, NodeRuns
from airflow_script_provider.jobs.nodes.task import NodesTask
from airflow_script_provider.kube.job import termination
from airflow_script_provider.kube.job.manifest import job
from airflow_script_provider.kube.job.verdict import Cause, Verdict
from airflow_script_provider.kube.labels import READ_ANNOTATION
from airflow_script_provider.kube.nodes import board, manifest
from airflow_script_provider.kube.nodes.plan import Mode, OnNodes, Start
from airflow_script_provider.kube.nodes.record import RunRecord, of_owner
from tests.builders import a_failed_record, a_launched_job, a_plan, a_pod, a_record, a_request, a_task, some_limits
from tests.kept_log import KeptLog
from tests.patience import PATIENCE
from tests.servers import Answer
from tests.stand_in_api import a_refusal, an_object, api_of, stand_in

FIRST = Start("node-1", 0)
JOBS = "/apis/batch/v1/namespaces/etl/jobs"
PODS = "/api/v1/namespaces/etl/pods"
NO_RIGHT = 'jobs.batch is forbidden: User "x" cannot get resource "jobs"'


@pytest.mark.parametrize("worker", [-7200.0, 0.0, 7200.0])
@pytest.mark.parametrize("here", [-7200.0, 0.0, 7200.0])
async def test_no_clock_that_is_wrong_ends_the_tasks_time(
    worker: float, here: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker gives the end by its own clock, and the triggerer has another one (R4, R5)."""
    now, clock = time.time(), time.time
    launched = a_launched_job(launched_at=now + worker - 600)
    owner = job(
        a_request(on_nodes=OnNodes(Mode.NORMAL, a_plan("node-1", timeout=None, expires_at=now + worker + 3600)))
    )
    owner["metadata"] |= {"creationTimestamp": datetime.fromtimestamp(now - 600, UTC).isoformat()}
    monkeypatch.setattr(time, "time", lambda: clock() + here)
    with stand_in() as server:
        server.answers(
            f"{JOBS}/load", Answer(json.dumps(owner).encode(), headers={"Date": formatdate(now, usegmt=True)})
        )
        async with api_of(server) as api:
            runs = NodeRuns(JobContext(api, launched, KeptLog()), await api.get("jobs", "etl", "load"))
    assert not runs.is_expired
    assert runs.seconds_left == pytest.approx(3600, abs=PATIENCE)


@pytest.mark.parametrize(
    ("then", "error"),
    [(a_pod(waiting="ContainerCreating"), "the script may still begin in load-x1"), (a_pod(exit_code=0), "None")],
)
async def test_no_run_begins_beside_a_script_that_may_have_just_begun(
    monkeypatch: pytest.MonkeyPatch, then: dict[str, Any], error: str
) -> None:
    """Its pod is waited for when ``startup_timeout`` ends its Job; without an end its node is given up (R5, R10)."""
    monkeypatch.setattr(termination, "MARGIN", 0.0)
    owner, start = job(a_request(on_nodes=OnNodes(Mode.NORMAL, a_plan("node-1", runs=2)))), Start("node-1", 0)
    owner["metadata"] |= {"uid": "job-uid"}
    body, pods = manifest.run_job(owner, start, 600), [a_pod(waiting="ContainerCreating"), then]
    body["metadata"] |= {"uid": "uid-run", "creationTimestamp": "2026-01-01T00:00:00Z"}
    metadata = body["spec"]["template"]["metadata"]
    lists = [{"metadata": {}, "items": [pod | {"metadata": pod["metadata"] | metadata}]} for pod in pods]
    launched = a_launched_job(limits=some_limits(startup_timeout=0, grace_period=0), get_logs=False)
    with stand_in() as server:
        server.answers(f"/apis/batch/v1/namespaces/etl/jobs/{body['metadata']['name']}", json.dumps(body).encode())
        server.answers("/api/v1/namespaces/etl/pods/load-x1/log", b"2026-01-01T00:00:01.000000000Z hi\n")
        server.answers("/api/v1/namespaces/etl/pods", *(json.dumps(found).encode() for found in lists))
        async with api_of(server) as api:
            runs = NodeRuns(JobContext(api, launched, KeptLog()), owner)
            runs.board.take_job(body, 0.0, 0.0)
            run, verdict = runs.board.runs[start], Verdict(Cause.STARTUP_TIMEOUT, delete_job=True)
            run.is_concluding = True
            await runs._conclude(run, verdict)
    assert error in str(runs.board.records[start].error)
    assert runs.board.next_step(time.monotonic(), is_expired=False).is_over == (error != "None")


def an_owner_and_a_run(**settings: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The owner, and the Job of its first run, as the API server has them."""
    owner = job(a_request(on_nodes=OnNodes(Mode.NORMAL, a_plan("node-1", **settings))))
    owner["metadata"] |= {"uid": "job-uid"}
    body = manifest.run_job(owner, FIRST, 600)
    body["metadata"] |= {"uid": "uid-run", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return owner, body


def its_pod(body: dict[str, Any], **state: Any) -> dict[str, Any]:
    """The pod of a run's Job."""
    pod, template = a_pod(**state), body["spec"]["template"]["metadata"]
    labels = template["labels"] | {"batch.kubernetes.io/controller-uid": body["metadata"]["uid"]}
    return pod | {"metadata": pod["metadata"] | template | {"labels": labels}}


@pytest.mark.parametrize(
    ("answers", "is_owner_deleted", "record"),
    [
        (True, False, None),
        (True, True, "the Job was deleted"),
        (False, False, None),
    ],
)
async def test_a_run_that_no_watch_has_brought_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, answers: bool, is_owner_deleted: bool, record: str | None
) -> None:
    """A watch that is silent does not end a healthy script at ``startup_timeout`` (R10, R15)."""
    monkeypatch.setattr(termination, "MARGIN", 0.0)
    owner, body = an_owner_and_a_run()
    launched = a_launched_job(limits=some_limits(startup_timeout=300, grace_period=0), get_logs=False)
    with stand_in() as server:
        if answers:
            server.answers(f"{PODS}/load-x1/log", b"2026-01-01T00:00:01.000000000Z hi\n")
            server.answers(f"{JOBS}/{body['metadata']['name']}", json.dumps(body).encode())
            server.answers(PODS, json.dumps({"metadata": {}, "items": [its_pod(body, running=True)]}).encode())
        else:
            server.answers(f"{JOBS}/{body['metadata']['name']}", a_refusal(403, "Forbidden", NO_RIGHT))
        async with api_of(server) as api:
            runs, now = NodeRuns(JobContext(api, launched, KeptLog()), owner), time.monotonic()
            run = runs.board.begin(FIRST, body["metadata"]["name"], now - 301)
            runs.board.ask(run, now - 301)
            ((run, verdict),) = runs.board.due(now, None)
            run.is_concluding, runs.board.is_owner_deleted = True, is_owner_deleted
            await runs._conclude(run, verdict)
    assert verdict.cause is Cause.STARTUP_TIMEOUT  # type: ignore[union-attr]
    assert runs.board.runs.get(FIRST) is (run if record is None else None)
    assert not run.is_concluding or record is not None


async def test_a_run_whose_job_cannot_be_ended_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its decision rests on silence, and what the API server has is looked at again (R1, R10)."""
    monkeypatch.setattr(client, "CALL_PATIENCE", 0.0)
    owner, body = an_owner_and_a_run()
    launched = a_launched_job(limits=some_limits(schedule_timeout=0, grace_period=0), get_logs=False)
    away = a_refusal(503, "ServiceUnavailable", "the server is away")
    with stand_in() as server:
        server.answers(f"{JOBS}/{body['metadata']['name']}", json.dumps(body).encode(), away)
        server.answers(PODS, json.dumps({"metadata": {}, "items": []}).encode())
        async with api_of(server) as api:
            runs = NodeRuns(JobContext(api, launched, log := KeptLog()), owner)
            runs._take((Kind.JOB, Change(board.kept_job(body, with_output=True))))
            ((run, verdict),) = runs.board.due(time.monotonic(), None)
            run.is_concluding = True
            await runs._conclude(run, verdict)
        assert [one.method for one in server.requests if one.path.startswith(JOBS)] == ["GET", "PATCH", "DELETE"]
    assert verdict.cause is Cause.SCHEDULE_TIMEOUT  # type: ignore[union-attr]
    assert (runs.board.runs.get(FIRST), run.is_concluding, log.lines) == (run, False, [])


@pytest.mark.parametrize("limit", [0, 2])
async def test_no_script_runs_again_after_its_verdict(limit: int) -> None:
    """Admission may have raised the limit of attempts, which a run does not have (R1, R2, R10)."""
    owner, body = an_owner_and_a_run()
    body["spec"]["backoffLimit"] = limit
    body["metadata"]["creationTimestamp"] = datetime.now(UTC).isoformat()
    launched = a_launched_job(limits=some_limits(grace_period=0), get_logs=False)
    path = f"{JOBS}/{body['metadata']['name']}"
    with stand_in() as server:
        server.answers(path, json.dumps(body).encode())
        server.answers(f"{PODS}/load-x1/log", b"2026-01-01T00:00:01.000000000Z hi\n")
        async with api_of(server) as api:
            runs = NodeRuns(JobContext(api, launched, KeptLog()), owner)
            runs._take((Kind.JOB, Change(board.kept_job(body, with_output=True))))
            runs.board.take_pod(board.kept_pod(its_pod(body, exit_code=3)), time.monotonic())
            ((run, verdict),) = runs.board.due(time.monotonic(), None)
            run.is_concluding = True
            await runs._conclude(run, verdict)
        assert isinstance(verdict, Verdict)
        assert verdict.cause is Cause.SCRIPT_FAILED
        changes = [json.loads(one.body).get("spec") for one in server.requests if one.method == "PATCH"]
    assert changes == ([{"backoffLimit": 0}, {"activeDeadlineSeconds": 1, "parallelism": 0}] if limit else [None])


@pytest.mark.parametrize(("number", "noted"), [(1, 1), (9, EXPLAINED)])
async def test_a_suspended_run_is_announced(number: int, noted: int) -> None:
    """A queue may hold it for hours; of many, the first ones are named (R11, R22)."""
    names = [f"node-{index}" for index in range(number)]
    owner, log, api = job(a_request(on_nodes=OnNodes(Mode.NORMAL, a_plan(*names)))), KeptLog(), KubernetesApi(None)  # type: ignore[arg-type]
    owner["metadata"] |= {"uid": "job-uid"}
    runs = NodeRuns(JobContext(api, a_launched_job(), log), owner)
    for is_suspended in (True, True, False):
        for name in names:
            body = manifest.run_job(owner, Start(name, 0), 600)
            body["metadata"] |= {"uid": f"uid-{name}", "creationTimestamp": "2026-01-01T00:00:00Z"}
            body["spec"]["suspend"] = is_suspended
            runs._take((Kind.JOB, Change(board.kept_job(body, with_output=True))))
    assert sum("is suspended; waiting for it to be resumed" in line for line in log.notes) == noted
    assert sum("is resumed" in line for line in log.notes) == noted


async def test_the_record_of_a_deleted_job_is_kept_on_the_owner() -> None:
    """A cleaner may delete Jobs that have ended: the next follower reads the record there (R1, R2)."""
    owner, body = an_owner_and_a_run(runs=2)
    with stand_in() as server:
        server.answers(f"{JOBS}/load", json.dumps(owner).encode())
        async with api_of(server) as api:
            runs = NodeRuns(JobContext(api, a_launched_job(may_be_marked=True), KeptLog()), owner)
            runs._take((Kind.JOB, Change(board.kept_job(body, with_output=True))))
            runs.board.end(FIRST, a_failed_record(0), 1.0)
            async with runs._tasks:
                runs._take((Kind.JOB, Change(board.kept_job(body, with_output=True), deleted=True)))
        (change,) = [json.loads(one.body) for one in server.requests if one.method == "PATCH"]
    assert dict(of_owner({"metadata": change["metadata"]})) == {"node-1": a_failed_record(0).without_output()}


@pytest.mark.parametrize("holds_lines", [False, True])
async def test_a_trigger_that_holds_lines_quotes_none(holds_lines: bool) -> None:
    """The number that does not fit may be a secret, which only a worker masks (R26, R35)."""
    number, log = "98765432109876543210987", KeptLog()
    owner, body = an_owner_and_a_run()
    body["metadata"]["creationTimestamp"] = datetime.now(UTC).isoformat()
    launched = a_launched_job(limits=some_limits(grace_period=0), get_logs=False, holds_lines=holds_lines)
    with stand_in() as server:
        server.answers(f"{JOBS}/{body['metadata']['name']}", json.dumps(body).encode())
        server.answers(f"{PODS}/load-x1/log", f'2026-01-01T00:00:01.000000000Z {{"id": {number}}}\n'.encode())
        async with api_of(server) as api:
            runs = NodeRuns(JobContext(api, launched, log), owner)
            runs._take((Kind.JOB, Change(board.kept_job(body, with_output=True))))
            runs.board.take_pod(board.kept_pod(its_pod(body, exit_code=0)), time.monotonic())
            ((run, verdict),) = runs.board.due(time.monotonic(), None)
            run.is_concluding = True
            await runs._conclude(run, verdict)
    (note,) = [line for line in log.notes if "64 bits" in line]
    assert (number in note) != holds_lines


async def test_a_log_is_read_while_a_deadline_is_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pod goes meanwhile; of a run that goes on after all, nothing is kept (R5, R13)."""
    owner, body = an_owner_and_a_run()
    body["metadata"]["creationTimestamp"] = datetime.now(UTC).isoformat()
    early: list[int] = []

    async def goes_on(runs: NodeRuns, *_: Any) -> tuple[None, str]:
        early.append(len(runs._lines.early))
        return None, ""

    monkeypatch.setattr(NodeRuns, "_confirmed", goes_on)
    with stand_in() as server:
        async with api_of(server) as api:
            runs = NodeRuns(JobContext(api, a_launched_job(), KeptLog()), owner)
            runs._take((Kind.JOB, Change(board.kept_job(body, with_output=True))))
            runs.board.take_pod(board.kept_pod(its_pod(body, exit_code=143, being_deleted=True)), time.monotonic())
            (run,) = runs.board.runs.values()
            await runs._conclude(run, Verdict(Cause.DEADLINE, run.seen.view.last_pod))
    assert (early, runs._lines.early) == ([1], [])


@pytest.mark.parametrize(
    ("record", "runs", "is_retried", "alone", "is_marked"),
    [
        (a_record(0), 1, True, True, False),
        (a_record(0), 1, False, True, True),
        (a_record(0), 1, False, False, False),
        (a_record(0), 2, True, True, True),
        (a_failed_record(0), 1, True, True, True),
        (None, 1, True, True, True),
    ],
    ids=["success", "no other try", "task of code", "not all runs", "failure", "none"],
)
async def test_an_owner_is_not_marked_while_a_success_is_not_written(
    monkeypatch: pytest.MonkeyPatch,
    record: RunRecord | None,
    runs: int,
    is_retried: bool,
    alone: bool,
    is_marked: bool,
) -> None:
    """The next try would run the script again where it has succeeded; only the Job of its run tells that (R1, R2)."""
    monkeypatch.setattr(client, "CALL_PATIENCE", 0.0)
    away = a_refusal(503, "ServiceUnavailable", "the server is away")
    (owner, _), log = an_owner_and_a_run(runs=runs), KeptLog()
    owner["metadata"] |= {"creationTimestamp": "2026-01-01T00:00:00Z"}
    with stand_in() as server:
        server.answers(f"{JOBS}/load-node-1-0", away)
        server.answers(
            f"{JOBS}/load", *([an_object()] if record is None or (alone and not is_retried) else [away, an_object()])
        )
        async with api_of(server) as api:
            following = NodeRuns(JobContext(api, a_launched_job(), log), owner)
            if record is not None:
                run = following.board.begin(FIRST, "load-node-1-0", 0.0)
                run.uid = "uid-run"
                await following._close(run, record, Verdict(Cause.SCRIPT_SUCCEEDED))
            assert await NodesTask(api, log, None, alone)._close(following, a_task(), is_retried=is_retried)
        bodies = [json.loads(one.body) for one in server.requests if one.path == f"{JOBS}/load"]
    assert any(READ_ANNOTATION in body["metadata"]["annotations"] for body in bodies) == is_marked
    not_marked = "The success on node-1 could not be written. So that the script does not run there again, Job etl/load"
    assert (not_marked in "\n".join(log.notes)) != is_marked
