"""Decisions about runs on nodes that rest on what did not happen: the API server is asked before."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_script_provider import exceptions
from airflow_script_provider.api.watch import Change
from airflow_script_provider.jobs.answers import doubt
from airflow_script_provider.jobs.answers.doubt import Doubt
from airflow_script_provider.jobs.changes import Item, Kind
from airflow_script_provider.jobs.nodes import looks
from airflow_script_provider.jobs.nodes.looks import confirmed, lacks_end, look
from airflow_script_provider.kube.job.verdict import Cause, Verdict, Wait
from airflow_script_provider.kube.nodes.board import Board, NodeRun
from airflow_script_provider.kube.nodes.plan import Start
from airflow_script_provider.kube.nodes.progress import Lost
from tests.builders import a_job, a_plan, a_pod, some_limits
from tests.servers import Answer, WebServer
from tests.stand_in_api import api_of, stand_in

START = Start("a", 0)
SUCCEEDED = Verdict(Cause.SCRIPT_SUCCEEDED, "uid-load-x1")
OF_THE_JOB = Verdict(Cause.JOB_SUCCEEDED)
TIMED_OUT = Verdict(Cause.DEADLINE, reason="DeadlineExceeded")
DELETED = Verdict(Cause.JOB_DELETED)
LATE = Verdict(Cause.STARTUP_TIMEOUT, "uid-load-x1", delete_job=True)
SILENT = Verdict(Cause.SILENCE, "uid-load-x1", delete_job=True)
LOST = Lost("unreachable", None, "load-x1", "silent", is_confirmed=False)
EXPIRED = Verdict(Cause.DEADLINE, delete_job=True)
AWAY = exceptions.ApiUnreachableError("no answer")
FORBIDDEN = exceptions.ApiForbiddenError("forbidden", status=403)


@pytest.mark.parametrize(
    ("decision", "answer", "again", "expected"),
    [
        (SUCCEEDED, FORBIDDEN, Wait(), SUCCEEDED),
        (LATE, AWAY, LATE, None),
        (LATE, FORBIDDEN, LATE, None),
        (LATE, None, LATE, LATE),
        (LATE, None, Wait(), None),
        (LOST, AWAY, LOST, None),
        (LOST, None, SUCCEEDED, SUCCEEDED),
        (SILENT, None, SUCCEEDED, SUCCEEDED),
        (SILENT, None, Wait(), None),
        (SILENT, AWAY, SILENT, SILENT),
        (EXPIRED, AWAY, Wait(), EXPIRED),
        (EXPIRED, None, Wait(), EXPIRED),
        (EXPIRED, None, SUCCEEDED, SUCCEEDED),
    ],
)
async def test_silence_decides_nothing_while_the_api_server_is_away(
    decision: Any, answer: Exception | None, again: Any, expected: Any
) -> None:
    """A dead watch looks like a pod that does not start, or like a node that is dead (R10, R15)."""

    async def ask() -> None:
        if answer is not None:
            raise answer

    assert await confirmed(decision, ask, lambda: again, Doubt()) == expected


@pytest.mark.parametrize("decision", [LATE, LOST])
async def test_a_refusal_counts_after_a_while(monkeypatch: pytest.MonkeyPatch, decision: Any) -> None:
    """A right may be missing for good (R15)."""

    async def ask() -> None:
        raise FORBIDDEN

    doubts = Doubt()
    assert await confirmed(decision, ask, lambda: decision, doubts) is None
    for name in ("REFUSAL_PATIENCE", "NEWS_PATIENCE"):
        monkeypatch.setattr(doubt, name, 0.0)
    assert await confirmed(decision, ask, lambda: decision, doubts) == decision


@pytest.mark.parametrize(
    ("is_unseen", "answer", "again", "expected"),
    [
        (True, None, SUCCEEDED, SUCCEEDED),
        (True, None, Wait(), OF_THE_JOB),
        (True, AWAY, SUCCEEDED, None),
        (True, FORBIDDEN, SUCCEEDED, None),
        (False, AssertionError("nothing is to be asked"), SUCCEEDED, OF_THE_JOB),
    ],
)
async def test_a_pod_that_no_watch_brought_is_looked_for(
    is_unseen: bool, answer: Exception | None, again: Any, expected: Any
) -> None:
    """The Job's word alone has no exit code and no output (R13, R21)."""

    async def ask() -> None:
        if answer is not None:
            raise answer

    assert await confirmed(OF_THE_JOB, ask, lambda: again, Doubt(), is_unseen=is_unseen) == expected


@pytest.mark.parametrize("verdict", [TIMED_OUT, DELETED])
@pytest.mark.parametrize("again", [Wait(640.0), SUCCEEDED, TIMED_OUT])
async def test_a_look_may_bring_a_pod_that_still_ends(verdict: Verdict, again: Any) -> None:
    """Its script has a grace period after the timeout or the deletion, which the run waits for (R5, R9, R10)."""

    async def ask() -> None:
        """The pod is there."""

    expected = None if isinstance(again, Wait) else again
    assert await confirmed(verdict, ask, lambda: again, Doubt(), is_unseen=True) == expected


@pytest.mark.parametrize(
    ("pods", "uid", "expected"),
    [
        ((), None, True),
        ((a_pod(running=True),), "uid-load-x1", True),
        ((a_pod(exit_code=0),), "uid-load-x1", False),
        ((a_pod(exit_code=1, phase="Failed"),), None, True),
    ],
)
def test_an_end_that_was_not_seen(pods: tuple[dict[str, Any], ...], uid: str | None, expected: bool) -> None:
    """A pod that was last seen running may have ended, or another one may have succeeded (R21)."""
    assert lacks_end(a_run(*pods), Verdict(Cause.JOB_SUCCEEDED, uid)) is expected


def of_run(thing: dict[str, Any]) -> dict[str, Any]:
    """A Job or a pod of the run."""
    marks = {"annotations": {"airflow-script-provider/node": "a"}, "labels": {"airflow-script-provider/run": "0"}}
    return thing | {"metadata": thing["metadata"] | marks}


def a_run(*pods: dict[str, Any]) -> NodeRun:
    """A run whose Job and pods were seen."""
    board = Board(a_plan("a"), some_limits())
    board.take_job(of_run(a_job()), 0.0, 0.0)
    for pod in pods:
        board.take_pod(of_run(pod), 0.0)
    return board.runs[START]


def has(server: WebServer, job: dict[str, Any] | None, *pods: dict[str, Any]) -> None:
    """What the API server has."""
    as_json = {"Content-Type": "application/json"}
    listed = {"kind": "PodList", "metadata": {"resourceVersion": "1"}, "items": [of_run(pod) for pod in pods]}
    server.answers("/api/v1/namespaces/etl/pods", Answer(json.dumps(listed).encode(), headers=as_json))
    if job is not None:
        body = json.dumps({"kind": "Job", **of_run(job)}).encode()
        server.answers("/apis/batch/v1/namespaces/etl/jobs/load", Answer(body, headers=as_json))


@pytest.mark.parametrize("is_there", [True, False])
async def test_a_look_brings_what_the_watch_missed(is_there: bool) -> None:
    """A pod that came or went, and the end of the Job (R10)."""
    with stand_in() as server:
        has(server, a_job("Complete") if is_there else None, a_pod("load-x2", running=True))
        async with api_of(server) as api:
            items = await look(api, "etl", a_run(a_pod("load-x1")), with_output=True)
    found = [(kind, change.object["metadata"]["name"], change.deleted) for kind, change in items]
    assert found == [(Kind.POD, "load-x1", True), (Kind.POD, "load-x2", False), (Kind.JOB, "load", not is_there)]


@pytest.mark.parametrize("is_known", [True, False], ids=["before the look", "during the look"])
async def test_a_look_is_not_newer_than_a_deletion_meanwhile(monkeypatch: pytest.MonkeyPatch, is_known: bool) -> None:
    """A pod that was reported as deleted before is found again: it has only lost its label (R1, R10)."""
    run = a_run(a_pod("load-x1", running=True))
    taken: list[Item] = []

    def report_deletion() -> None:
        run.seen = run.seen.with_pod(of_run(a_pod("load-x1", running=True)), 1.0, deleted=True)

    async def answer(*_: Any, **__: Any) -> Any:
        if not is_known:
            report_deletion()
        return [(Kind.POD, Change(of_run(a_pod("load-x1", running=True)))), (Kind.JOB, Change(of_run(a_job())))]

    if is_known:
        report_deletion()
    monkeypatch.setattr(looks, "look", answer)
    with stand_in() as server:
        async with api_of(server) as api:
            await looks.Looks(api, "etl", taken.append, with_output=True).look(run)
    assert [kind for kind, _ in taken] == ([Kind.POD, Kind.JOB] if is_known else [Kind.JOB])
