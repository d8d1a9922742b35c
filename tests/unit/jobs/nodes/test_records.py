"""Where the record of a run on a node is written."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_script_provider.api import client
from airflow_script_provider.jobs.nodes import records
from airflow_script_provider.jobs.nodes.records import Reasons, RecordWriter
from airflow_script_provider.kube.job.verdict import Cause, Verdict
from airflow_script_provider.kube.labels import ENDED_ANNOTATION_PREFIX, OUTCOME_ANNOTATION, PLAN_ANNOTATION
from airflow_script_provider.kube.nodes.board import NodeRun
from airflow_script_provider.kube.nodes.plan import Start
from airflow_script_provider.kube.nodes.progress import Lost
from airflow_script_provider.result import Category
from tests.builders import (
    a_container,
    a_failed_record,
    a_job,
    a_launched_job,
    a_node,
    a_plan,
    a_pod,
    a_record,
    an_event,
    some_limits,
    some_output,
)
from tests.patience import PATIENCE
from tests.servers import Answer, WebServer
from tests.stand_in_api import NOT_FOUND, a_refusal, an_object, api_of, stand_in

OWNER = "/apis/batch/v1/namespaces/etl/jobs/load"


def a_refused_run(index: int) -> NodeRun:
    """A run whose Job cannot be created."""
    return NodeRun(Start("node-1", index), f"load-node-1-{index}", some_limits(), 0.0)


async def written(server: WebServer, *indexes: int) -> list[dict[str, Any]]:
    """The changes of the owner's annotations, after refusals of these runs."""
    async with api_of(server) as api:
        writer = RecordWriter(api, a_launched_job(may_be_marked=True))
        for index in indexes:
            why = {"category": Category.EXCEEDED_QUOTA, "error": "exceeded quota"}
            record = a_failed_record(index, exit_code=None, output="", **why)
            assert await writer.write(a_refused_run(index), record, None) is None
    return [json.loads(request.body)["metadata"]["annotations"] for request in server.requests]


async def test_an_owner_keeps_the_history_of_a_node() -> None:
    """A run that is no longer history gives its place to the next one (R25)."""
    with stand_in() as server:
        server.answers(OWNER, an_object(annotations={PLAN_ANNOTATION: a_plan("node-1", history_limit=2).to_text()}))
        first, second, third = await written(server, 0, 1, 2)
    assert third.items() > dict.fromkeys(first).items()
    assert all(text is not None for text in second.values())
    assert len(third) == 2


async def test_a_full_owner_gets_records_without_details() -> None:
    """It has room for how a thousand runs ended, and not for what Kubernetes said of each (R11, R25)."""
    with stand_in() as server:
        server.answers(OWNER, an_object(annotations={f"{ENDED_ANNOTATION_PREFIX}0123456789": "x" * 100_000}))
        first, second = (next(iter(change.values())) for change in await written(server, 0, 1))
    assert json.loads(first)["error"] == "exceeded quota"
    assert json.loads(second) == {
        "index": 1, "status": "failed", "category": "ExceededQuota", "reason": "Error", "failures": 1, "node": "node-1"
    }  # fmt: skip


def listed(*found: dict[str, Any]) -> Answer:
    """A list of objects as an answer."""
    return Answer(json.dumps({"items": found}).encode(), headers={"Content-Type": "application/json"})


@pytest.mark.parametrize(
    ("answer", "goes_on"),
    [
        (listed(a_node()), True),
        (listed(a_node(ready="Unknown")), False),
        (listed(), False),
        (a_refusal(403, "Forbidden", "forbidden"), False),
    ],
)
async def test_an_eviction_is_no_loss_of_a_ready_node(answer: Answer, goes_on: bool) -> None:
    """An administrator's taint evicts pods of a node that is well; what is unknown stays a loss (R7, R10)."""
    run = NodeRun(Start("node-1", 0), "load-node-1-0", some_limits(), 0.0)
    lost = Lost("unreachable", "DeletionByTaintManager", "load-x1", "tainted", is_confirmed=True)
    run.seen = run.seen.with_job(a_job(), 0.0).with_pod(a_pod(running=True), 0.0, deleted=True)
    with stand_in() as server:
        server.answers("/api/v1/nodes", answer)
        async with api_of(server) as api:
            confirmed = await RecordWriter(api, a_launched_job()).confirmed(run, lost)
    assert confirmed == (None if goes_on else lost)
    assert run.seen.left_alive == ({"uid-load-x1"} if goes_on else set())


@pytest.mark.parametrize("reason", ["DeletionByTaintManager", None], ids=["evicted", "silent"])
async def test_a_node_is_not_lost_while_the_api_server_is_away(
    monkeypatch: pytest.MonkeyPatch, reason: str | None
) -> None:
    """It may be ready, and Kubernetes replaces the pod there (R10, R15)."""
    monkeypatch.setattr(client, "CALL_PATIENCE", 0.05)
    run = NodeRun(Start("node-1", 0), "load-node-1-0", some_limits(), 0.0)
    lost = Lost("unreachable", reason, "load-x1", "silent", is_confirmed=reason is not None)
    with stand_in() as server:
        server.answers("/api/v1/nodes", a_refusal(503, "ServiceUnavailable", "the server is away"))
        async with api_of(server) as api:
            assert await RecordWriter(api, a_launched_job()).confirmed(run, lost) is None
    assert run.seen.left_alive == set()


@pytest.mark.parametrize(("ready", "state"), [("True", "ready"), ("Unknown", "unreachable")])
async def test_a_silent_kubelet_of_a_ready_node(ready: str, state: str) -> None:
    """The run is lost in both cases, and the cause is true (R10, R22)."""
    run = NodeRun(Start("node-1", 0), "load-node-1-0", some_limits(), 0.0)
    lost = Lost("unreachable", None, "load-x1", "silent", is_confirmed=False)
    with stand_in() as server:
        server.answers("/api/v1/nodes", listed(a_node(ready=ready)))
        async with api_of(server) as api:
            confirmed = await RecordWriter(api, a_launched_job()).confirmed(run, lost)
    assert isinstance(confirmed, Lost)
    assert confirmed.state == state


async def test_how_a_run_ended_is_known_before_its_output() -> None:
    """The title of its lines needs no line of the script, and so no line is made safe (R25, R37)."""
    hidden: list[str] = []

    def hide(line: str) -> str:
        hidden.append(line)
        return line

    run = NodeRun(Start("node-1", 0), "load-node-1-0", some_limits(), 0.0)
    run.seen = run.seen.with_job(a_job(), 0.0).with_pod(a_pod(exit_code=3, message="partition 7 is corrupt"), 0.0)
    decision = Verdict(Cause.SCRIPT_FAILED, "uid-load-x1")
    with stand_in() as server:
        async with api_of(server) as api:
            writer = RecordWriter(api, a_launched_job(), hide)
            bare = writer.of(run, decision, None, 0, Reasons())
            assert (bare.why, hidden) == ("exit 3", [])
            whole = writer.of(run, decision, some_output("hi"), 0, Reasons())
    assert hidden == ["partition 7 is corrupt"]
    assert (whole.error, bare.category) == ("exit code 3: partition 7 is corrupt.", whole.category)


STOPPED = {"activeDeadlineSeconds": 1, "parallelism": 0}


@pytest.mark.parametrize(
    ("decision", "has_sidecar", "change"),
    [
        (Verdict(Cause.SCRIPT_SUCCEEDED, "uid-load-x1"), False, None),
        (Verdict(Cause.SCRIPT_SUCCEEDED, "uid-load-x1"), True, {"parallelism": 0}),
        (Verdict(Cause.SCRIPT_SUCCEEDED, "uid-load-x1", delete_job=True), True, STOPPED),
        (Lost("unreachable", None, "load-x1", "silent", is_confirmed=False), False, STOPPED),
    ],
)
async def test_a_run_that_is_over_is_not_repeated(decision: Verdict | Lost, has_sidecar: bool, change: Any) -> None:
    """What Kubernetes would go on with ends in the request that writes the record (R2, R10)."""
    sidecars = [a_container(name="proxy", running=True)] if has_sidecar else []
    run = NodeRun(Start("node-1", 0), "load-node-1-0", some_limits(), 0.0)
    run.seen = run.seen.with_job(a_job(), 0.0).with_pod(a_pod(exit_code=0, sidecars=sidecars), 0.0)
    run.uid = "uid-run"
    with stand_in() as server:
        server.answers(f"{OWNER}-node-1-0", an_object())
        async with api_of(server) as api:
            writer = RecordWriter(api, a_launched_job(may_be_marked=True))
            assert await writer.write(run, a_failed_record(0), decision) is None
    (request,) = server.requests
    assert json.loads(request.body).get("spec") == change


@pytest.mark.parametrize(
    ("pod", "cause"), [("load-node-1-0-x8k2q", Cause.STOPPED), ("load-node-10-x8k2q", Cause.JOB_SUCCEEDED)]
)
async def test_events_tell_how_a_run_ended_whose_pod_was_never_seen(pod: str, cause: Cause) -> None:
    """A Job may be complete although the kubelet stopped its script; its own pods' events say so (R1, R25)."""
    run = NodeRun(Start("node-1", 0), "load-node-1-0", some_limits(), 0.0, uid="uid-run")
    concerned = {"kind": "Pod", "name": pod, "fieldPath": "spec.containers{script}"}
    killing = an_event("Killing", "Stopping container script") | {"involvedObject": concerned}
    with stand_in() as server:
        server.answers("/api/v1/namespaces/etl/events", listed(killing))
        async with api_of(server) as api:
            confirmed = await RecordWriter(api, a_launched_job()).confirmed(run, Verdict(Cause.JOB_SUCCEEDED, None))
    assert isinstance(confirmed, Verdict)
    assert confirmed.cause is cause


@pytest.mark.parametrize("is_stopped", [True, False])
async def test_an_exit_code_that_a_stopped_script_chose_is_not_the_runs(is_stopped: bool) -> None:
    """Only the Job's condition has the code, and only an event says that the kubelet stopped the script (R1, R25)."""
    run = NodeRun(Start("node-1", 0), "load-node-1-0", some_limits(), 0.0, uid="uid-run")
    code = "Container script for pod etl/load-node-1-0-x8k2q failed with exit code 42 matching FailJob rule at index 1"
    concerned = {"kind": "Pod", "name": "load-node-1-0-x8k2q", "fieldPath": "spec.containers{script}"}
    killing = an_event("Killing", "Stopping container script") | {"involvedObject": concerned}
    with stand_in() as server:
        server.answers("/api/v1/namespaces/etl/events", listed(*([killing] if is_stopped else [])))
        async with api_of(server) as api:
            writer = RecordWriter(api, a_launched_job())
            confirmed = await writer.confirmed(run, Verdict(Cause.JOB_FAILED, None, "PodFailurePolicy", code))
    assert isinstance(confirmed, Verdict)
    assert (confirmed.reason, confirmed.message) == (
        ("Killing", "Stopping container script") if is_stopped else ("PodFailurePolicy", code)
    )


RUN = f"{OWNER}-node-1-0"
AWAY = a_refusal(503, "ServiceUnavailable", "the server is away")
TOO_LONG = a_refusal(422, "Invalid", "metadata.annotations: Too long: may not be more than 262144 bytes")
REFUSED = a_refusal(403, "Forbidden", 'admission webhook "w" denied the request')
SUCCEEDED = Verdict(Cause.SCRIPT_SUCCEEDED, "uid-load-x1")


def a_run_with_a_job() -> NodeRun:
    """A run whose script has ended with 0."""
    run = NodeRun(Start("node-1", 0), "load-node-1-0", some_limits(), 0.0, uid="uid-run")
    run.seen = run.seen.with_job(a_job(), 0.0).with_pod(a_pod(exit_code=0), 0.0)
    return run


def on_job(server: WebServer) -> list[dict[str, Any]]:
    """The records that were sent for the run's Job."""
    bodies = [json.loads(one.body) for one in server.requests if (one.method, one.path) == ("PATCH", RUN)]
    return [json.loads(body["metadata"]["annotations"][OUTCOME_ANNOTATION]) for body in bodies]


@pytest.mark.parametrize(
    ("of_job", "of_owner", "on_owner", "left", "asked"),
    [
        ([AWAY, an_object()], [an_object()], True, [], ["job", "job"]),
        ([AWAY], [an_object()], True, [], ["job", "job", "owner"]),
        ([AWAY], [an_object()], False, ["node-1"], ["job", "job"]),
        ([AWAY], [AWAY], True, ["node-1"], ["job", "job", "owner"]),
        ([REFUSED], [an_object()], True, [], ["job", "owner"]),
        ([REFUSED], [AWAY, an_object()], True, [], ["job", "owner", "job", "owner"]),
        ([NOT_FOUND], [AWAY, an_object()], True, [], ["job", "owner", "job", "owner"]),
        ([NOT_FOUND], [AWAY], True, [], ["job", "owner", "job", "owner"]),
    ],
    ids=["later", "owner", "trigger", "neither", "refused", "refused and away", "gone", "gone and away"],
)
async def test_a_record_that_cannot_be_written_is_written_again(
    monkeypatch: pytest.MonkeyPatch,
    of_job: list[Answer],
    of_owner: list[Answer],
    on_owner: bool,
    left: list[str],
    asked: list[str],
) -> None:
    """Its Job still tells how the run ended, with its output, unless it is gone (R1, R2, R15)."""
    monkeypatch.setattr(client, "CALL_PATIENCE", 0.0)
    with stand_in() as server:
        server.answers(RUN, *of_job)
        server.answers(OWNER, *of_owner)
        async with api_of(server) as api:
            writer = RecordWriter(api, a_launched_job(may_be_marked=True))
            problem = await writer.write(a_run_with_a_job(), a_record(0), SUCCEEDED)
            assert (problem is None) == (asked == ["job", "owner"])
            assert await writer.write_again(None, on_owner=on_owner, is_retried=True) == left
        assert [{RUN: "job", OWNER: "owner"}[one.path] for one in server.requests] == asked


async def test_a_task_that_is_not_tried_again_waits_for_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other try reads it, and its result is already known (R15)."""
    monkeypatch.setattr(client, "CALL_PATIENCE", 0.0)
    with stand_in() as server:
        server.answers(RUN, AWAY)
        async with api_of(server) as api:
            writer = RecordWriter(api, a_launched_job(may_be_marked=True))
            await writer.write(a_run_with_a_job(), a_record(0), SUCCEEDED)
            await writer.write_again(None, on_owner=True, is_retried=False)
        assert len(server.requests) == 1


@pytest.mark.parametrize("within", [None, 0.0])
async def test_records_are_not_written_again_for_ever(monkeypatch: pytest.MonkeyPatch, within: float | None) -> None:
    """The task has its result, and its own time may be over soon (R5, R15)."""
    monkeypatch.setattr(client, "CALL_PATIENCE", 0.0)
    monkeypatch.setattr(records, "WRITING_AGAIN", PATIENCE if within is not None else 0.0)
    with stand_in() as server:
        server.answers(RUN, AWAY)
        async with api_of(server) as api:
            writer = RecordWriter(api, a_launched_job(may_be_marked=True))
            await writer.write(a_run_with_a_job(), a_record(0), SUCCEEDED)
            assert await writer.write_again(within, on_owner=True, is_retried=True) == ["node-1"]


async def test_a_job_without_room_gets_a_record_without_output() -> None:
    """The author's annotations may need most of what Kubernetes allows; the output then counts as cut (R1, R25)."""
    with stand_in() as server:
        server.answers(RUN, TOO_LONG, an_object())
        async with api_of(server) as api:
            writer = RecordWriter(api, a_launched_job(may_be_marked=True))
            problem = await writer.write(a_run_with_a_job(), a_record(0, output="hi", value=7), SUCCEEDED)
            assert await writer.write_again(None, on_owner=True, is_retried=True) == []
        whole, kept = on_job(server)
        assert len(server.requests) == 2
    assert "The record of Job etl/load-node-1-0 has no room for the output" in str(problem)
    assert whole["output"] == "hi"
    assert (kept["output_truncated"], kept["value_truncated"], "output" in kept) == (True, True, False)


async def test_an_owner_without_room_gets_a_record_without_details() -> None:
    """It must say on which nodes the script has succeeded (R2, R25)."""
    with stand_in() as server:
        server.answers(OWNER, TOO_LONG, an_object())
        async with api_of(server) as api:
            writer = RecordWriter(api, a_launched_job(may_be_marked=True))
            assert await writer.write(a_refused_run(0), a_record(0), None) is None
        first, second = (
            next(iter(json.loads(one.body)["metadata"]["annotations"].values())) for one in server.requests
        )
    assert ("job_name" in first, "job_name" in second) == (True, False)


async def test_a_record_whose_job_is_gone_is_kept_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cleaner deletes the Job while the owner cannot be changed (R2, R15)."""
    monkeypatch.setattr(client, "CALL_PATIENCE", 0.0)
    with stand_in() as server:
        server.answers(OWNER, AWAY, an_object())
        async with api_of(server) as api:
            writer = RecordWriter(api, a_launched_job(may_be_marked=True))
            await writer.keep("node-1", a_record(0))
            for _ in range(2):
                await writer.write_again(None, on_owner=True, is_retried=True)
        assert len(server.requests) == 2


@pytest.mark.parametrize("is_retried", [True, False])
@pytest.mark.parametrize(
    ("of_job", "is_ended", "asked"),
    [
        ([AWAY, an_object()], True, ["PATCH", "DELETE", "owner"]),
        ([TOO_LONG, TOO_LONG, an_object()], True, ["PATCH", "PATCH", "DELETE", "owner"]),
        ([AWAY, AWAY, an_object()], False, ["PATCH", "DELETE", "PATCH"]),
        ([REFUSED, AWAY, REFUSED, an_object()], False, ["PATCH", "DELETE", "PATCH", "DELETE", "owner"]),
    ],
    ids=["deleted", "deleted without room", "ended later", "deleted later"],
)
async def test_a_job_that_cannot_be_changed_is_deleted(
    monkeypatch: pytest.MonkeyPatch, of_job: list[Answer], is_ended: bool, asked: list[str], is_retried: bool
) -> None:
    """Otherwise its script could begin after the end of its run (R1, R10)."""
    monkeypatch.setattr(client, "CALL_PATIENCE", 0.0)
    late = Verdict(Cause.SCHEDULE_TIMEOUT, delete_job=True)
    with stand_in() as server:
        server.answers(RUN, *of_job)
        server.answers(OWNER, an_object())
        async with api_of(server) as api:
            writer = RecordWriter(api, a_launched_job(may_be_marked=True))
            problem = await writer.write(a_run_with_a_job(), a_failed_record(0), late)
            assert await writer.write_again(None, on_owner=True, is_retried=is_retried) == []
        assert ["owner" if one.path == OWNER else one.method for one in server.requests] == asked
    assert problem is None if is_ended else str(problem).startswith("Job etl/load-node-1-0 cannot be ended for now: ")
