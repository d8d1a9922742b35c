"""The end of the scripts on nodes, which another run or another try waits for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from airflow_script_provider import exceptions
from airflow_script_provider.api import client
from airflow_script_provider.jobs.nodes import ending
from airflow_script_provider.jobs.nodes.ending import Endings, after_its_pods, wait_for_scripts
from airflow_script_provider.jobs.nodes.records import AT_ONCE, Reasons, RecordWriter
from airflow_script_provider.kube.job import termination
from airflow_script_provider.kube.job.verdict import Cause, Verdict
from airflow_script_provider.kube.nodes.board import NodeRun
from airflow_script_provider.kube.nodes.plan import Start
from airflow_script_provider.kube.nodes.progress import Lost
from airflow_script_provider.kube.nodes.record import RunRecord
from airflow_script_provider.result import Category
from tests.builders import a_job, a_launched_job, a_pod, some_limits, some_output
from tests.patience import PATIENCE
from tests.servers import Answer, Request, WebServer
from tests.stand_in_api import a_refusal, an_object, api_of, requests, stand_in

PODS = "/api/v1/namespaces/etl/pods"
OVER = a_launched_job(limits=some_limits(grace_period=0))


@pytest.fixture(autouse=True)
def without_a_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the time for the end of a pod be over at once."""
    monkeypatch.setattr(termination, "MARGIN", 0.0)


@pytest.mark.parametrize(
    ("pods", "left"),
    [
        ([], None),
        ([a_pod(exit_code=143, being_deleted=True)], None),
        ([a_pod(node=None, being_deleted=True)], None),
        ([a_pod(node=None)], "load-x1"),
        ([a_pod(running=True, being_deleted=True)], "load-x1"),
        ([a_pod(waiting="ContainerCreating")], "load-x1"),
    ],
)
async def test_a_script_that_does_not_end_is_not_tried_again(pods: list[dict[str, Any]], left: str | None) -> None:
    """Another try would begin beside it; the pod is named (R5, R10)."""
    refused = contextlib.nullcontext() if left is None else pytest.raises(exceptions.NodesFailedError, match=left)
    with stand_in() as server:
        server.answers(PODS, json.dumps({"metadata": {}, "items": pods}).encode())
        async with api_of(server) as api:
            with refused as error:
                await wait_for_scripts(api, OVER)
        assert requests(server, "GET", f"{PODS}?labelSelector=airflow-script-provider") == 1
    assert error is None or not error.value.retryable


RUN = "/apis/batch/v1/namespaces/etl/jobs/load-node-1-0"
WAITS = a_pod(waiting="ContainerCreating")
NOT_STARTED = Verdict(Cause.STARTUP_TIMEOUT, "uid-load-x1", delete_job=True)


async def ended(
    verdict: Verdict, *then: dict[str, Any], may_be_marked: bool = True, before: dict[str, Any] = WAITS
) -> tuple[Verdict | Lost, RunRecord, list[Request]]:
    """The decision and the record of a run whose pod takes these states once its Job was ended; all requests."""
    run = NodeRun(Start("node-1", 0), "load-node-1-0", OVER.limits, 0.0, uid="uid-load")
    run.seen = run.seen.with_job(a_job(), 0.0).with_pod(before, 0.0)
    coming = list(then)

    async def look() -> None:
        """Take in the next state of the pod."""
        if coming:
            run.seen = run.seen.with_pod(coming.pop(0), time.monotonic())

    with stand_in() as server:
        server.answers(RUN, an_object())
        async with api_of(server) as api:
            writer = RecordWriter(api, a_launched_job(may_be_marked=may_be_marked))
            decision = await after_its_pods(run, verdict, writer, look, 0, Endings())
            assert decision is not None
            record = writer.of(run, decision, some_output(), 0, await writer.reasons(run, decision))
        return decision, record, server.requests


async def test_a_run_is_ended_before_its_end_is_waited_for() -> None:
    """Until then, its record says that its script may still run: the next follower starts no run there (R5, R10)."""
    _, _, asked = await ended(NOT_STARTED)
    (patch,) = (json.loads(one.body) for one in asked if one.method == "PATCH")
    (text,) = patch["metadata"]["annotations"].values()
    assert patch["spec"] == {"activeDeadlineSeconds": 1, "parallelism": 0}
    assert json.loads(text)["category"] == "NoAnswer"


AWAY = a_refusal(503, "ServiceUnavailable", "the server is away")
FORBIDDEN = a_refusal(403, "Forbidden", 'jobs.batch is forbidden: User "x" cannot delete resource "jobs"')
UNSCHEDULED = Verdict(Cause.SCHEDULE_TIMEOUT, delete_job=True)


@pytest.mark.parametrize(
    ("verdict", "answers", "patience", "category", "asked"),
    [
        (UNSCHEDULED, [an_object()], 60.0, Category.SCHEDULE_TIMEOUT, ["PATCH"]),
        (UNSCHEDULED, [AWAY, an_object()], 60.0, Category.SCHEDULE_TIMEOUT, ["PATCH", "DELETE"]),
        (UNSCHEDULED, [AWAY], 60.0, None, ["PATCH", "DELETE"]),
        (UNSCHEDULED, [AWAY], 0.0, Category.NO_ANSWER, ["PATCH", "DELETE"]),
        (UNSCHEDULED, [FORBIDDEN], 60.0, Category.NO_ANSWER, ["PATCH", "DELETE"]),
        (Verdict(Cause.SCRIPT_SUCCEEDED, delete_job=True), [AWAY], 60.0, Category.SCHEDULE_TIMEOUT, []),
    ],
    ids=["ended", "deleted", "neither", "neither for long", "forbidden", "no silence"],
)
async def test_a_run_ends_by_silence_only_when_its_job_has_ended(
    monkeypatch: pytest.MonkeyPatch,
    verdict: Verdict,
    answers: list[Answer],
    patience: float,
    category: Category | None,
    asked: list[str],
) -> None:
    """Its pod may come later, beside that of another run; if it may, the node gets no other run (R1, R10)."""
    monkeypatch.setattr(client, "CALL_PATIENCE", 0.0)
    monkeypatch.setattr(ending, "END_PATIENCE", patience)
    monkeypatch.setattr("airflow_script_provider.jobs.nodes.records.ABANDON_TIMEOUT", PATIENCE)
    monkeypatch.setattr("airflow_script_provider.jobs.launching.doubting", lambda call, _: call())
    run = NodeRun(Start("node-1", 0), "load-node-1-0", OVER.limits, 0.0, uid="uid-load")
    run.seen = run.seen.with_job(a_job(), 0.0)

    async def look() -> None:
        """Nothing new is there."""

    with stand_in() as server:
        server.answers(RUN, *answers)
        async with api_of(server) as api:
            writer = RecordWriter(api, a_launched_job(may_be_marked=True))
            decision = await after_its_pods(run, verdict, writer, look, 0, endings := Endings())
            record = writer.of(run, UNSCHEDULED, some_output(), 0, Reasons())
        assert [one.method for one in server.requests if one.path == RUN] == asked
    assert decision == (None if category is None else verdict)
    assert record.category == (category or Category.SCHEDULE_TIMEOUT)
    left = " Job etl/load-node-1-0 could not be deleted. Run: kubectl -n etl delete job load-node-1-0"
    assert endings.doubt(run, "etl") == (left if category is Category.NO_ANSWER else "")


@pytest.mark.parametrize(("has_begun", "cause"), [(False, Cause.SCHEDULE_TIMEOUT), (True, Cause.JOB_DELETED)])
def test_a_deletion_whose_answer_was_lost_is_ours(has_begun: bool, cause: Cause) -> None:
    """The run ended by silence; if its script has begun meanwhile, its end is unknown (R1, R11)."""
    run, endings = NodeRun(Start("node-1", 0), "load-node-1-0", OVER.limits, 0.0, uid="uid-load"), Endings()
    deleted = Verdict(Cause.JOB_DELETED, delete_job=True)
    assert endings.of(run, deleted) == deleted
    endings.waits(run, UNSCHEDULED, exceptions.ApiUnreachableError("no answer", status=0))
    run.seen = run.seen.with_pod(a_pod(running=True), 1.0) if has_begun else run.seen
    assert endings.of(run, deleted).cause is cause


@pytest.mark.parametrize(
    ("moments", "waits"),
    [([0, 45, 89], True), ([0, 45, 90], False), ([0, 45, 91, 300], True), ([0, 300, 345, 391], False)],
)
def test_a_run_waits_a_minute_for_the_end_of_its_job(
    monkeypatch: pytest.MonkeyPatch, moments: list[float], waits: bool
) -> None:
    """Each round may take most of that time; a failure of long ago counts no more (R5, R10)."""
    run, endings = NodeRun(Start("node-1", 0), "load-node-1-0", OVER.limits, 0.0, uid="uid-load"), Endings()
    monkeypatch.setattr(ending, "END_PATIENCE", 90.0)
    left = list(moments)
    monkeypatch.setattr(time, "monotonic", lambda: left.pop(0))
    answers = [endings.waits(run, UNSCHEDULED, exceptions.ApiUnreachableError("no answer", status=0)) for _ in moments]
    assert answers[-1] is waits


@pytest.mark.parametrize(("within", "category"), [(PATIENCE, Category.SCHEDULE_TIMEOUT), (-1.0, Category.NO_ANSWER)])
async def test_after_a_long_wait_for_an_answer_a_run_is_looked_at_again(
    monkeypatch: pytest.MonkeyPatch, within: float, category: Category
) -> None:
    """The script may have begun while the API server was away, and runs until its kubelet has ended it (R1, R10)."""
    monkeypatch.setattr(ending, "ABANDON_TIMEOUT", within)
    run = NodeRun(Start("node-1", 0), "load-node-1-0", OVER.limits, 0.0, uid="uid-load")
    run.seen = run.seen.with_job(a_job(), 0.0)

    async def look() -> None:
        """A pod has come."""
        run.seen = run.seen.with_pod(a_pod(waiting="ContainerCreating"), time.monotonic())

    with stand_in() as server:
        server.answers(RUN, an_object())
        async with api_of(server) as api:
            writer = RecordWriter(api, a_launched_job(may_be_marked=True))
            assert await after_its_pods(run, UNSCHEDULED, writer, look, 0, Endings()) == UNSCHEDULED
            assert writer.of(run, UNSCHEDULED, some_output(), 0, Reasons()).category == category


async def test_without_the_right_to_patch_a_run_is_deleted() -> None:
    """Otherwise its pod would go on to start (R5)."""
    _, _, asked = await ended(NOT_STARTED, may_be_marked=False)
    assert [one.path for one in asked if one.method == "DELETE"] == [RUN]


async def test_hundreds_of_runs_that_end_at_once_ask_little_at_a_time() -> None:
    """The task's time is over for all of them in the same moment (R30)."""
    asking, most = 0, 0

    class Api:
        """An API server that counts who asks at the same time."""

        now = partial(datetime.now, UTC)

        async def _ask(self, *_: Any, **__: Any) -> dict[str, Any]:
            nonlocal asking, most
            asking += 1
            most = max(most, asking)
            await asyncio.sleep(0.001)
            asking -= 1
            return {"items": []}

        list = patch = _ask

    async def look() -> None:
        """Nothing new is there."""

    api: Any = Api()
    writer = RecordWriter(api, a_launched_job(may_be_marked=True))
    runs = [NodeRun(Start(f"node-{n}", 0), f"load-{n}-0", OVER.limits, 0.0, uid=f"uid-{n}") for n in range(100)]
    for run in runs:
        run.seen = run.seen.with_job(a_job(), 0.0).with_pod(WAITS, 0.0)
    await asyncio.gather(*(after_its_pods(run, NOT_STARTED, writer, look, 0, Endings()) for run in runs))
    assert 1 < most <= AT_ONCE


@pytest.mark.parametrize(
    ("then", "before", "category"),
    [
        (a_pod(exit_code=0), WAITS, None),
        (a_pod(exit_code=3), WAITS, Category.ERROR),
        (a_pod(exit_code=143, being_deleted=True), WAITS, Category.STARTUP_TIMEOUT),
        (a_pod(running=True, being_deleted=True), WAITS, Category.NO_ANSWER),
        (WAITS, WAITS, Category.NO_ANSWER),
        (a_pod(node=None), a_pod(node=None), Category.NO_ANSWER),
        (a_pod(node=None, being_deleted=True), a_pod(node=None), Category.UNSCHEDULABLE),
    ],
)
async def test_what_a_script_does_that_begins_as_its_run_ends(
    then: dict[str, Any], before: dict[str, Any], category: Category | None
) -> None:
    """Its own end counts; while it may still run, no other run follows on its node (R1, R5, R10)."""
    _, record, _ = await ended(NOT_STARTED, then, before=before)
    assert record.category == category
    assert record.is_lost == (category in (Category.NO_ANSWER, Category.UNSCHEDULABLE))


async def test_our_own_clock_does_not_end_a_script() -> None:
    """Kubernetes may be away, and has not ended the pod (R5, R10)."""
    by_our_clock = Verdict(Cause.DEADLINE, "uid-load-x1", delete_job=True)
    _, record, _ = await ended(by_our_clock, before=a_pod(running=True))
    assert record.category is Category.NO_ANSWER
    assert "the script may still run in load-x1, so no other run follows on that node" in str(record.error)


@pytest.mark.parametrize(
    ("name", "bound", "advice"),
    [
        ("timeout", "its timeout of 600 s", "Raise timeout."),
        ("execution_timeout", "the 600 s that were left of its execution_timeout", "Raise execution_timeout."),
        ("activeDeadlineSeconds", "its activeDeadlineSeconds of 600 s", "see what changes Jobs at admission."),
    ],
)
async def test_a_run_has_only_what_is_left_of_the_tasks_time(name: str, bound: str, advice: str) -> None:
    """The author has written another number, which the run does not have (R5, R11)."""
    run = NodeRun(Start("node-1", 0), "load-node-1-0", some_limits(deadline_name=name), 0.0, uid="uid-load")
    run.seen = run.seen.with_pod(a_pod(running=True), 0.0).with_pod(a_pod(exit_code=143, being_deleted=True), 1.0)
    async with api_of(WebServer()) as api:
        verdict = Verdict(Cause.DEADLINE, "uid-load-x1")
        record = RecordWriter(api, OVER).of(run, verdict, None, 0, Reasons())
    assert record.error == f"ran longer than {bound} (DeadlineExceeded)."
    assert record.advice.endswith(advice)


async def test_a_pod_that_ended_without_a_start_is_not_waited_for() -> None:
    """Its kubelet has reported its end, although its state is still the one of before (R5)."""
    run = NodeRun(Start("node-1", 0), "load-node-1-0", some_limits(), 0.0, uid="uid-load")
    over = run.seen.with_job(a_job("FailureTarget", reason="DeadlineExceeded"), 0.0).with_pod(WAITS, 0.0)
    run.seen = over.with_pod(a_pod(phase="Failed", being_deleted=True), 1.0)

    async def look() -> None:
        """Nothing is to be looked up."""
        pytest.fail("looked for a pod that has ended")

    writer: Any = None
    verdict = Verdict(Cause.DEADLINE, "uid-load-x1")
    assert await after_its_pods(run, verdict, writer, look, 0, Endings()) == verdict
