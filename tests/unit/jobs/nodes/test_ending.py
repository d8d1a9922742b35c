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
from airflow_script_provider.jobs.nodes.ending import after_its_pods, wait_for_scripts
from airflow_script_provider.jobs.nodes.records import AT_ONCE, Reasons, RecordWriter
from airflow_script_provider.kube.job import termination
from airflow_script_provider.kube.job.verdict import Cause, Verdict
from airflow_script_provider.kube.nodes.board import NodeRun
from airflow_script_provider.kube.nodes.plan import Start
from airflow_script_provider.kube.nodes.progress import Lost
from airflow_script_provider.kube.nodes.record import RunRecord
from airflow_script_provider.result import Category
from tests.builders import a_job, a_launched_job, a_pod, some_limits, some_output
from tests.servers import Request, WebServer
from tests.stand_in_api import an_object, api_of, requests, stand_in

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
            decision = await after_its_pods(run, verdict, writer, look, 0)
            record = writer.of(run, decision, some_output(), 0, await writer.reasons(run, decision))
        return decision, record, server.requests


async def test_a_run_is_ended_before_its_end_is_waited_for() -> None:
    """Until then, its record says that its script may still run: the next follower starts no run there (R5, R10)."""
    _, _, asked = await ended(NOT_STARTED)
    (patch,) = (json.loads(one.body) for one in asked if one.method == "PATCH")
    (text,) = patch["metadata"]["annotations"].values()
    assert patch["spec"] == {"activeDeadlineSeconds": 1, "parallelism": 0}
    assert json.loads(text)["category"] == "NoAnswer"


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
    await asyncio.gather(*(after_its_pods(run, NOT_STARTED, writer, look, 0) for run in runs))
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
    assert await after_its_pods(run, verdict, writer, look, 0) == verdict
