"""What a trigger fires."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import formatdate
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, create_autospec

import pytest
from airflow.triggers.base import DiscrimatedTriggerEvent
from pydantic import TypeAdapter

from airflow_script_provider import exceptions
from airflow_script_provider.jobs.answers import doubt
from airflow_script_provider.jobs.follow import Followed, Follower
from airflow_script_provider.kube.job.diagnosis import Case, diagnose
from airflow_script_provider.kube.job.follow_state import FollowState, JobEnd, Kept
from airflow_script_provider.kube.job.launched import LaunchedJob
from airflow_script_provider.kube.job.observed.pruning import pruned_job
from airflow_script_provider.kube.job.observed.view import View
from airflow_script_provider.kube.job.verdict import Cause, Verdict
from airflow_script_provider.kube.kill import NO_STATE
from airflow_script_provider.kube.labels import END_ANNOTATION, FOLLOW_STATE_ANNOTATION, READ_ANNOTATION
from airflow_script_provider.kube.logs.output import Output
from airflow_script_provider.kube.logs.pod_lines import LogPosition
from airflow_script_provider.triggers import _base, script
from airflow_script_provider.triggers._base import JobEvent, JobTrigger
from airflow_script_provider.triggers.node import NodeScriptTrigger
from airflow_script_provider.triggers.script import ScriptTrigger
from tests.builders import a_container, a_job, a_launched_job, a_pod, a_view, some_limits
from tests.kept_log import KeptLog
from tests.patience import PATIENCE
from tests.servers import Answer, WebServer
from tests.stand_in_api import a_refusal, an_object, api_of, requests, stand_in

PAYLOAD: dict[str, Any] = {
    "job": {"ref": {"namespace": "etl", "name": "script-load-7f3c", "uid": "1"}},
    "ended": {"pods": ["…"]},
}


def test_an_event_is_a_few_words_in_the_log() -> None:
    """Airflow writes it into the task's log, between the script's lines."""
    assert repr(JobEvent(PAYLOAD)) == "Job etl/script-load-7f3c"


def test_an_event_reaches_the_worker_whole() -> None:
    """The triggerer's two processes hand it on as JSON (R4)."""
    adapter: TypeAdapter[Any] = TypeAdapter(DiscrimatedTriggerEvent)
    assert adapter.validate_json(adapter.dump_json(JobEvent(PAYLOAD))).payload == PAYLOAD


ODD = {"message": "a\0\ud800", "pods": {"__example__": 2**70}}
PLAIN = {"message": "a\ufffd?", "pods": {"example": str(2**70)}}


def test_an_event_can_be_stored_whatever_is_in_it() -> None:
    """An event that Airflow cannot store would never reach the worker (R35)."""
    assert JobEvent(PAYLOAD | ODD).payload == PAYLOAD | PLAIN


@pytest.mark.parametrize("kind", [ScriptTrigger, NodeScriptTrigger])
def test_a_trigger_can_be_stored_whatever_is_in_it(kind: type[JobTrigger]) -> None:
    """A task could not be deferred otherwise, with its Job already running (R35)."""
    assert kind(job=a_launched_job().to_dict(), handover=ODD).serialize()[1]["handover"] == PLAIN


@pytest.mark.parametrize("kind", [ScriptTrigger, NodeScriptTrigger])
def test_a_trigger_takes_the_arguments_of_a_later_version(kind: type[JobTrigger]) -> None:
    """A triggerer may be older than its workers: Airflow would fail the task otherwise (R4)."""
    trigger = kind(job=a_launched_job().to_dict(), of_tomorrow=1)
    assert "of_tomorrow" not in trigger.serialize()[1]


@pytest.mark.parametrize("kind", [ScriptTrigger, NodeScriptTrigger])
async def test_a_triggerer_leaves_a_task_that_is_tried_alone(
    kind: type[JobTrigger], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``airflow tasks test`` awaits the trigger itself, and calls the task queued, which looks like a user's clear."""
    trigger = kind(job=a_launched_job().to_dict(), kubernetes_conn_id=None, in_one_process=True)
    found_by_a_triggerer: Any = SimpleNamespace(task_id="load")
    trigger.task_instance = found_by_a_triggerer
    monkeypatch.setattr(_base, "shared_access", lambda ref: pytest.fail("the cluster was asked"))
    monkeypatch.setattr(trigger, "_state_of_task", lambda: pytest.fail("Airflow was asked"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await anext(trigger.run())
    await trigger.on_kill()


@pytest.mark.parametrize("kind", [ScriptTrigger, NodeScriptTrigger])
async def test_a_row_that_cannot_be_read_is_handed_back(
    kind: type[JobTrigger], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that lacks something must not end the trigger without an event: a worker then says what is wrong (R4)."""

    @asynccontextmanager
    async def no_cluster(access: Any) -> AsyncIterator[Any]:
        yield SimpleNamespace(api=None)

    async def no_access(ref: Any) -> None:
        return None

    monkeypatch.setattr(_base, "shared_access", no_access)
    monkeypatch.setattr(_base, "shared_cluster", no_cluster)
    trigger = kind(job={"ref": {"namespace": "etl", "name": "load"}}, kubernetes_conn_id=None)
    events = [event async for event in trigger.run()]
    assert [repr(event) for event in events] == ["Job etl/load"]
    assert events[0].payload["reason"] == "the stored Job has no 'limits'"


@asynccontextmanager
async def a_killed_trigger(
    kind: type[JobTrigger], state: str | None, answers: Sequence[Answer], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[WebServer, list[str]]]:
    """A user has acted on a task of this state, for whose Job the server answers so; its requests and our lines."""

    async def answer(trigger: JobTrigger) -> str | None:
        return state

    async def no_access(ref: Any) -> None:
        return None

    with stand_in() as server:
        server.answers("/apis/batch/v1/namespaces/etl/jobs/load", *answers)
        async with api_of(server) as api:

            @asynccontextmanager
            async def the_cluster(access: Any) -> AsyncIterator[Any]:
                yield SimpleNamespace(api=api)

            monkeypatch.setattr(_base, "shared_access", no_access)
            monkeypatch.setattr(_base, "shared_cluster", the_cluster)
            monkeypatch.setattr(kind, "_state_of_task", answer)
            trigger = kind(job=a_launched_job().to_dict(), kubernetes_conn_id=None)
            log = KeptLog()
            monkeypatch.setattr(trigger, "_run_log", log)
            await trigger.on_kill()
            yield server, log.notes


@pytest.mark.parametrize("kind", [ScriptTrigger, NodeScriptTrigger])
@pytest.mark.parametrize(
    ("state", "is_read", "deletes"),
    [
        *((state, False, 0) for state in (None, "deferred", "scheduled", "queued", "running", "up_for_retry")),
        ("success", True, 0),
        *((state, False, 1) for state in ("failed", "success", "gone", NO_STATE)),
    ],
)
async def test_a_kill_deletes_the_job_only_if_no_worker_is_to_go_on(
    kind: type[JobTrigger], state: str | None, is_read: bool, deletes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A triggerer that was frozen wakes up after another one has handed the Job back to a worker (R3, R4)."""
    annotations = {READ_ANNOTATION: "2026-01-01T00:00:00+00:00"} if is_read else {}
    async with a_killed_trigger(kind, state, [an_object(annotations=annotations)], monkeypatch) as (server, _):
        assert requests(server, "DELETE") == deletes


@pytest.mark.parametrize("kind", [ScriptTrigger, NodeScriptTrigger])
async def test_a_kill_counts_before_the_api_server_has_answered(
    kind: type[JobTrigger], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before 3.3, Airflow calls ``cleanup`` only, perhaps while a connection is still looked up (R3)."""
    killed: list[JobTrigger] = []

    async def waits(ref: Any) -> None:
        await asyncio.Event().wait()

    async def delete(trigger: JobTrigger) -> None:
        killed.append(trigger)

    monkeypatch.setattr(_base, "HAS_ON_KILL", False)
    monkeypatch.setattr(_base, "shared_access", waits)
    monkeypatch.setattr(kind, "_delete_in_time", delete)
    trigger = kind(job=a_launched_job().to_dict(), kubernetes_conn_id=None)
    await trigger.cleanup()
    assert killed == []
    following = asyncio.ensure_future(anext(trigger.run()))
    await asyncio.sleep(0)
    following.cancel()
    await asyncio.wait({following})
    await trigger.cleanup()
    assert killed == [trigger]


FORBIDDEN = a_refusal(403, "Forbidden", "jobs is forbidden")
UNREAD = an_object(name="load", uid="job-uid")


@pytest.mark.parametrize("kind", [ScriptTrigger, NodeScriptTrigger])
@pytest.mark.parametrize(
    ("answers", "is_deleted"),
    [([FORBIDDEN, UNREAD], True), ([UNREAD, FORBIDDEN, UNREAD], True), ([FORBIDDEN] * 50, False)],
    ids=["read refused once", "delete refused once", "always refused"],
)
async def test_a_kill_is_not_lost_on_a_refusal(
    kind: type[JobTrigger], answers: list[Answer], is_deleted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that restarts may refuse what it grants later; the task's log has what fails (R3, R14)."""
    monkeypatch.setattr(doubt, "REFUSAL_PATIENCE", 10.0 if is_deleted else 0.1)
    async with a_killed_trigger(kind, "failed", answers, monkeypatch) as (_, notes):
        assert ("Job etl/load is deleted." in notes[-1]) == is_deleted
        assert ("kubectl -n etl delete job load" in notes[-1]) == (not is_deleted)


WAITING = a_pod("load-x2", unschedulable="0/2 nodes are available: 2 Insufficient cpu.")


async def expired(pod: dict[str, Any], trigger: ScriptTrigger, cause: Cause = Cause.DEADLINE) -> tuple[JobEnd, int]:
    """The end of a Job whose task has no time left, with this pod as its last; and the number of deletes."""
    view = a_view(a_pod("load-x1", unschedulable="no"), pod)
    follower: Any = create_autospec(Follower, instance=True, view=view, state=FollowState())
    follower.kept_for.return_value = Kept()
    with stand_in() as server:
        async with api_of(server) as api:
            at_the_end = Verdict(cause, view.last_pod, delete_job=True)
            ended = await trigger._ended(api, follower, Followed(at_the_end, view, Output(0)))
        return ended, requests(server, "DELETE")


@pytest.mark.parametrize("pod", [WAITING, a_pod("load-x2", exit_code=1)], ids=["waiting", "failed"])
async def test_the_end_of_the_tasks_time_is_about_the_last_pod(pod: dict[str, Any]) -> None:
    """The Job goes at once, so that no other attempt starts (R5)."""
    ended, deletes = await expired(pod, ScriptTrigger(job=a_launched_job().to_dict(), execution_timeout=60))
    assert (ended.verdict.pod_uid, deletes) == ("uid-load-x2", 1)


@pytest.mark.parametrize("get_logs", [True, False])
@pytest.mark.parametrize("is_running", [True, False])
@pytest.mark.parametrize("code", [0, 3])
async def test_a_job_with_a_running_sidecar_goes_before_a_worker_has_a_slot(
    code: int, is_running: bool, get_logs: bool
) -> None:
    """A drain in between would run the script again, also where no log is wanted (R1, R7)."""
    sidecar = a_container(name="proxy", running=is_running, exit_code=None if is_running else 1)
    pod = a_pod("load-x2", exit_code=code, phase="Running", others=[sidecar])
    trigger = ScriptTrigger(job=a_launched_job(get_logs=get_logs).to_dict())
    ended, deletes = await expired(pod, trigger, Cause.SCRIPT_FAILED if code else Cause.SCRIPT_SUCCEEDED)
    assert deletes == is_running
    assert ended.view.job_deleted == (deletes > 0), "the worker knows that no next try finds the Job"


SIDECAR = a_container(name="proxy", running=True)
WHOLE = Kept("one\n[1]\n", 8, is_whole=True)
MARK: dict[str, Any] = {"annotations": {END_ANNOTATION: "the end"}}


async def ended_beside_a_sidecar(
    exit_code: int,
    monkeypatch: pytest.MonkeyPatch,
    *answers: Answer,
    deadline: int | None = 600,
    ahead: float = 0.0,
) -> list[dict[str, Any]]:
    """What a trigger changes of a Job that it saw end so; empty for a delete. The worker's clock may be ahead."""
    monkeypatch.setattr(JobEnd, "to_text", lambda _: "the end")
    started = datetime.fromtimestamp(time.time() - 90, UTC).isoformat()
    of_cluster = a_job(deadline=deadline, started=started)
    view = a_view(a_pod(exit_code=exit_code, phase="Running", others=[SIDECAR]), job=of_cluster)
    follower: Any = create_autospec(Follower, instance=True, view=view, state=FollowState())
    follower.kept_for.return_value = WHOLE
    cause = Cause.SCRIPT_FAILED if exit_code else Cause.SCRIPT_SUCCEEDED
    verdict = Verdict(cause, view.last_pod, delete_job=True, by_silence=bool(exit_code))
    job = a_launched_job(limits=some_limits(final_codes=frozenset({4})), launched_at=time.time() + ahead - 90)
    with stand_in() as server:
        server.answers("/apis/batch/v1/namespaces/etl/jobs/load", *answers)
        async with api_of(server) as api:
            trigger = ScriptTrigger(job=job.to_dict())
            ended = await trigger._ended(api, follower, Followed(verdict, view, Output(0)))
        changes = [json.loads(one.body) if one.method == "PATCH" else {} for one in server.requests]
    assert not (changes[-1] and ended.view.job_deleted), "the next try finds this Job"
    return changes


@pytest.mark.parametrize(("exit_code", "is_left"), [(0, True), (4, True), (3, False)])
async def test_an_outcome_that_is_not_tried_again_stays_on_its_job(
    exit_code: int, is_left: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker that resumes may be lost before it has saved it; no other pod may start meanwhile (R1, R2, R7)."""
    changes = await ended_beside_a_sidecar(exit_code, monkeypatch, an_object(spec={"parallelism": 0}, **MARK))
    kept = {"metadata": {"uid": "job-uid", **MARK}, "spec": {"parallelism": 0}}
    assert changes == [kept if is_left else {}]


@pytest.mark.parametrize(
    "answer",
    [
        a_refusal(403, "Forbidden", "jobs is forbidden"),
        an_object(spec={"parallelism": 0}),
        an_object(spec={"parallelism": 1}, **MARK),
    ],
    ids=["refused", "without the annotation", "another pod may start"],
)
async def test_an_outcome_that_cannot_stay_on_its_job_goes_with_it(
    answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the right to patch Jobs, or with a webhook that drops a part, no other pod may start either (R1, R7)."""
    changes = await ended_beside_a_sidecar(0, monkeypatch, answer)
    assert changes[0].keys() == {"metadata", "spec"}
    assert changes[-1] == {}


LOG = "/api/v1/namespaces/etl/pods/load-x1/log"
JOB = "/apis/batch/v1/namespaces/etl/jobs/load"
PRINTED = Answer(b"2026-01-01T00:00:01.000000001Z one\n2026-01-01T00:00:02.000000001Z [1]\n")
NO_LOG = a_refusal(403, "Forbidden", "pods/log is forbidden")
SCRIPT = ("uid-load-x1", "script")
NOTHING, ALL_UNREAD = Kept(), FollowState()
HALF_SHOWN = FollowState({SCRIPT: LogPosition("2026-01-01T00:00:01.000000001Z", (0,))})


async def before_its_pod_goes(
    log: Sequence[Answer],
    *,
    kept: Kept = NOTHING,
    state: FollowState = ALL_UNREAD,
    exit_code: int = 0,
    **job: Any,
) -> tuple[JobEnd, list[str], KeptLog]:
    """The end of a script beside a sidecar, the requests, and the task's log; the follower has kept that much."""
    view = a_view(a_pod(exit_code=exit_code, phase="Running", others=[SIDECAR]), job=a_job(deadline=600))
    follower: Any = create_autospec(Follower, instance=True, view=view, state=state)
    follower.kept_for.return_value = kept
    cause = Cause.SCRIPT_FAILED if exit_code else Cause.SCRIPT_SUCCEEDED
    verdict = Verdict(cause, view.last_pod, delete_job=True, by_silence=bool(exit_code))
    trigger, shown = ScriptTrigger(job=a_launched_job(**job).to_dict(), handover=state.to_dict()), KeptLog()
    trigger._follower, trigger._run_log = follower, shown  # type: ignore[assignment]
    with stand_in() as server:
        server.answers(LOG, *log)
        server.answers(JOB, an_object(spec={"parallelism": 0}, **MARK))
        async with api_of(server) as api:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(JobEnd, "to_text", lambda _: "the end")
                end = await trigger._ended(api, follower, Followed(verdict, view, Output(0)))
        asked = {one.path.partition("?")[0]: one.method for one in server.requests}
    return end, ["log" if path == LOG else method for path, method in asked.items()], shown


@pytest.mark.parametrize("exit_code", [0, 3])
@pytest.mark.parametrize("get_logs", [True, False])
@pytest.mark.parametrize(
    ("kept", "state"),
    [
        (NOTHING, ALL_UNREAD),
        (Kept(lacks_end=True), ALL_UNREAD),
        (Kept(), FollowState({SCRIPT: LogPosition("2026-01-01T00:00:02.000000001Z", (0,), complete=True)})),
        (Kept("[1]\n", 4, lacks_start=True), HALF_SHOWN),
        (Kept("one\n", 4, lacks_end=True), HALF_SHOWN),
    ],
    ids=["not read", "not readable before", "read by the worker", "read in part by the worker", "without its end"],
)
async def test_an_output_is_kept_before_its_pod_goes(
    kept: Kept, state: FollowState, get_logs: bool, exit_code: int
) -> None:
    """The value and the reason of a failure would be lost with the pod (R12, R21, R22)."""
    end, asked, _ = await before_its_pod_goes([PRINTED], kept=kept, state=state, get_logs=get_logs, exit_code=exit_code)
    assert end.kept == replace(WHOLE, shown=end.kept.shown)
    assert asked == ["log", "DELETE" if exit_code else "PATCH"]


async def test_an_output_that_is_kept_whole_is_not_read_again() -> None:
    """The Job ends at once (R1, R31)."""
    end, asked, _ = await before_its_pod_goes([PRINTED], kept=WHOLE)
    assert (end.kept, asked) == (WHOLE, ["PATCH"])


@pytest.mark.parametrize(
    ("log", "exit_code", "asked"),
    [
        ([NO_LOG] * 50, 0, ["log"]),
        ([NO_LOG] * 50, 3, ["log"]),
        ([a_refusal(404, "NotFound", "pods not found")], 0, ["log", "PATCH"]),
        ([a_refusal(404, "NotFound", "pods not found")], 3, ["log", "DELETE"]),
    ],
    ids=["success, refused", "failure, refused", "success, pod gone", "failure, pod gone"],
)
async def test_a_log_that_only_a_worker_may_read_stays_until_then(
    log: list[Answer], exit_code: int, asked: list[str]
) -> None:
    """A pod that is gone has nothing to wait for, so no other one may start (R1, R12, R17, R21)."""
    _, found, shown = await before_its_pod_goes(log, exit_code=exit_code)
    assert found == asked
    assert ("so Job etl/load is left to a worker" in shown.notes[-1]) == (asked == ["log"])


@pytest.mark.parametrize(("state", "notes"), [(ALL_UNREAD, 2), (HALF_SHOWN, 1)], ids=["not read", "read before"])
async def test_why_a_log_cannot_be_read_is_said_once(state: FollowState, notes: int) -> None:
    """The follower has reported it of a log that it has begun (R17)."""
    _, _, shown = await before_its_pod_goes([NO_LOG] * 50, state=state)
    assert len(shown.notes) == notes
    assert ("403" in shown.notes[0]) == (notes == 2)


@pytest.mark.parametrize(
    ("holds_lines", "state", "lines", "left"),
    [
        (False, ALL_UNREAD, ["one", "[1]"], ""),
        (False, HALF_SHOWN, ["[1]"], ""),
        (True, ALL_UNREAD, [], "one\n[1]\n"),
        (True, HALF_SHOWN, [], "[1]\n"),
    ],
)
async def test_lines_that_no_process_has_shown_are_shown_once(
    holds_lines: bool, state: FollowState, lines: list[str], left: str
) -> None:
    """By the trigger, or by the worker if only that may show them (R19, R20, R26)."""
    end, _, shown = await before_its_pod_goes([PRINTED], state=state, holds_lines=holds_lines)
    if holds_lines:
        assert end.kept.text[end.kept.shown :] == left
        assert end.state.logs == state.logs
    else:
        assert shown.lines == lines
        assert end.state.logs[SCRIPT].complete


async def test_a_job_without_a_deadline_gets_one_with_its_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would stay for ever if no worker came (R6)."""
    changes = await ended_beside_a_sidecar(0, monkeypatch, an_object(), deadline=None, ahead=7200)
    assert changes[0]["spec"]["activeDeadlineSeconds"] >= 90 + script.UNREAD_TIMEOUT


async def test_a_position_of_a_triggerer_that_has_not_looked_at_the_job_is_not_final(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An earlier triggerer may have gone on from it (R4, R19)."""

    async def no_connection(ref: Any) -> None:
        raise exceptions.ApiUnreachableError("no answer")

    monkeypatch.setattr(_base, "shared_access", no_connection)
    trigger = ScriptTrigger(job=a_launched_job().to_dict(), handover=FollowState().to_dict())
    events = [event.payload async for event in trigger.run()]
    assert (events[0]["handed_back"]["is_final"], events[0]["reason"]) == (False, "no answer")


async def test_the_next_triggerer_reports_the_end_that_the_last_one_saved() -> None:
    """The last one may be killed before its event; the pod is gone by then (R1, R4)."""
    end = JobEnd(Verdict(Cause.SCRIPT_SUCCEEDED, "uid-load-x1", delete_job=True), a_view(a_pod(exit_code=0)), 2.0)

    async def job(ref: Any) -> dict[str, Any]:
        return pruned_job(a_job() | {"metadata": {"annotations": {END_ANNOTATION: end.to_text()}}})

    cluster: Any = SimpleNamespace(changes_in=lambda namespace: SimpleNamespace(job=job))
    event = await ScriptTrigger(job=a_launched_job().to_dict())._follow(cluster)
    assert event["ended"]["verdict"] == end.to_dict()["verdict"]


@pytest.mark.parametrize("cause", [Cause.STARTUP_TIMEOUT, Cause.REFUSED, Cause.SCRIPT_SUCCEEDED])
@pytest.mark.parametrize("is_deleted", [True, False])
async def test_a_silence_is_no_end_while_the_job_is_there(
    cause: Cause, is_deleted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script may begin before a worker has a slot, which then follows the Job (R2, R4, R5)."""

    async def job(ref: Any) -> dict[str, Any]:
        return a_job(started="2026-01-01T00:00:00Z")

    async def ended(*_: object) -> JobEnd:
        return JobEnd(Verdict(cause, None, delete_job=True), a_view(job_deleted=is_deleted), 2.0)

    monkeypatch.setattr(ScriptTrigger, "_followed", AsyncMock())
    monkeypatch.setattr(ScriptTrigger, "_ended", ended)
    with stand_in() as server:
        async with api_of(server) as api:
            changes = SimpleNamespace(job=job)
            cluster: Any = SimpleNamespace(api=api, slots=None, changes_in=lambda namespace: changes)
            event = await ScriptTrigger(job=a_launched_job().to_dict())._follow(cluster)
    is_end = is_deleted or cause is Cause.SCRIPT_SUCCEEDED
    assert ("ended" in event, "handed_back" in event) == (is_end, not is_end)
    # Without a command: the worker ends the Job, or finds that its script has begun.
    assert is_end or event["reason"] == f"{cause.value}: Job etl/load could not be deleted"


@pytest.mark.parametrize(
    ("cause", "is_gone", "requests_made"),
    [
        (Cause.REFUSED, False, []),
        (Cause.SCHEDULE_TIMEOUT, False, []),
        (Cause.SCHEDULE_TIMEOUT, True, ["DELETE"]),
    ],
    ids=["the next pod is denied", "the Job is suspended", "its pod went with the suspension"],
)
async def test_an_attempt_that_has_ended_is_no_doubt_about_what_ends_the_run(
    cause: Cause, is_gone: bool, requests_made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker would find no Job, or one that the change of its limit has ended (R5, R11, R12, R21)."""
    view = a_view(a_pod(exit_code=1, phase="Failed"), job=a_job(failed=1))
    view = view.with_pod(a_pod(exit_code=1, phase="Failed"), 0.0, deleted=True) if is_gone else view
    verdict = Verdict(cause, view.last_pod, delete_job=True)
    follower: Any = create_autospec(Follower, instance=True, view=view, state=FollowState())
    follower.kept_for.return_value = WHOLE

    async def job(ref: Any) -> dict[str, Any]:
        return a_job(started="2026-01-01T00:00:00Z")

    monkeypatch.setattr(ScriptTrigger, "_new_follower", lambda *_: follower)
    monkeypatch.setattr(ScriptTrigger, "_followed", AsyncMock(return_value=Followed(verdict, view, Output(0))))
    with stand_in() as server:
        server.answers("/apis/batch/v1/namespaces/etl/jobs/load", an_object())
        async with api_of(server) as api:
            changes = SimpleNamespace(job=job)
            cluster: Any = SimpleNamespace(api=api, slots=None, changes_in=lambda namespace: changes)
            event = await ScriptTrigger(job=a_launched_job().to_dict())._follow(cluster)
        asked = [one.method for one in server.requests if one.method != "PATCH"]
    assert (event["ended"]["verdict"]["cause"], asked) == (cause.value, requests_made)


async def test_a_position_is_saved_while_the_output_is_read_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The triggerer may end then: the next one shows no line twice (R4, R19)."""
    is_reading = asyncio.Event()

    async def job(ref: Any) -> dict[str, Any]:
        return a_job(started="2026-01-01T00:00:00Z")

    async def followed(trigger: ScriptTrigger, *_: object) -> None:
        trigger._run_log.output(["a line"])

    async def reads(trigger: ScriptTrigger, *_: object) -> None:
        is_reading.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(ScriptTrigger, "_followed", followed)
    monkeypatch.setattr(ScriptTrigger, "_ended", reads)
    with stand_in() as server:
        server.answers(JOB, an_object())
        async with api_of(server) as api:
            changes = SimpleNamespace(job=job)
            cluster: Any = SimpleNamespace(api=api, slots=None, changes_in=lambda namespace: changes)
            following = asyncio.ensure_future(ScriptTrigger(job=a_launched_job().to_dict())._follow(cluster))
            async with asyncio.timeout(PATIENCE):
                await is_reading.wait()
            following.cancel()
            await asyncio.wait({following})
        saved = json.loads(server.requests[-1].body)["metadata"]["annotations"][FOLLOW_STATE_ANNOTATION]
    assert FollowState.from_dict(json.loads(saved)).is_final


async def test_a_script_that_did_not_begin_in_the_tasks_time_says_what_was_in_the_way() -> None:
    """A pod that waits for a node was created (R5, R11)."""
    trigger = ScriptTrigger(job=a_launched_job().to_dict(), execution_timeout=60)
    ended, _ = await expired(WAITING, trigger)
    cause = diagnose(Case("etl/load", ended.verdict, ended.view, trigger._launched.limits)).cause
    assert cause.startswith("did not start within its execution_timeout of 60 s (DeadlineExceeded): Unschedulable: 0/2")


class EndGivenError(Exception):
    """The moment at which a follower is to end its Job."""


@pytest.mark.parametrize("worker", [-7200.0, 0.0, 7200.0])
@pytest.mark.parametrize("here", [-7200.0, 0.0, 7200.0])
async def test_no_clock_that_is_wrong_ends_a_script(
    worker: float, here: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker gives the end of ``execution_timeout`` by its own clock; the triggerer has another one (R4, R5)."""
    now, clock = time.time(), time.time
    created = {"creationTimestamp": datetime.fromtimestamp(now - 600, UTC).isoformat()}
    found = a_job() | {"metadata": {"name": "load", "uid": "job-uid"} | created}

    async def job(ref: Any) -> dict[str, Any]:
        return await api.get("jobs", ref.namespace, ref.name)

    async def follow_or_end(follower: Follower, until: float) -> Followed:
        raise EndGivenError(until)

    monkeypatch.setattr(Follower, "follow_or_end", follow_or_end)
    monkeypatch.setattr(time, "time", lambda: clock() + here)
    launched = a_launched_job(launched_at=now + worker - 600, get_logs=False)
    trigger = ScriptTrigger(job=launched.to_dict(), expires_at=now + worker + 3600)
    with stand_in() as server:
        server.answers(JOB, Answer(json.dumps(found).encode(), headers={"Date": formatdate(now, usegmt=True)}))
        async with api_of(server) as api:
            changes = SimpleNamespace(job=job)
            cluster: Any = SimpleNamespace(api=api, slots=None, changes_in=lambda namespace: changes)
            with pytest.raises(EndGivenError) as given:
                await trigger._follow(cluster)
    assert given.value.args[0] - time.monotonic() == pytest.approx(3600, abs=PATIENCE)


class WaitingFollower:
    """A follower of a script that begins last, and at each look has waited so long for a node."""

    def __init__(self, trigger: ScriptTrigger, waits: list[float]) -> None:
        self._trigger, self._waits = trigger, list(waits)

    @property
    def state(self) -> FollowState:
        """How far it is now, also for the trigger."""
        state = FollowState(waited=self._waits.pop(0))
        follower: Any = SimpleNamespace(state=state)
        self._trigger._follower = follower
        return state

    @property
    def view(self) -> View:
        """What it has seen now."""
        return a_view() if self._waits else a_view(a_pod(running=True))


@pytest.mark.parametrize(
    ("waits", "saved"),
    [
        ([30.0, 60.0, 0.0], [30.0, 60.0, 0.0]),
        ([0.0], []),
        ([0.0, 0.0, 30.0, 0.0], [30.0, 0.0]),
        ([30.0, 0.0, 0.0, 20.0, 0.0], [30.0, 0.0, 20.0, 0.0]),
    ],
    ids=["without a node", "with a node", "suspended first", "suspended in between"],
)
async def test_a_wait_for_a_node_is_saved_for_the_next_triggerer(
    waits: list[float], saved: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for one after a kill; the node that comes at last ends the wait there as well (R4, R5, R10)."""
    monkeypatch.setattr(script, "SAVE_INTERVAL", 0.0)
    trigger = ScriptTrigger(job=a_launched_job(limits=some_limits(schedule_timeout=0)).to_dict())
    follower: Any = WaitingFollower(trigger, waits)
    with stand_in() as server:
        server.answers("/apis/batch/v1/namespaces/etl/jobs/load", an_object())
        async with api_of(server) as api:
            await trigger._save_waits(api, follower)
        annotations = [json.loads(one.body)["metadata"]["annotations"] for one in server.requests]
    states = [FollowState.from_text(one[FOLLOW_STATE_ANNOTATION]) for one in annotations]
    assert [state and state.waited for state in states] == saved


@pytest.mark.parametrize(
    ("job", "shows_lines", "says_so"),
    [
        (a_launched_job(), True, False),
        (a_launched_job(holds_lines=True), False, True),
        (a_launched_job(holds_lines=True, get_logs=False), False, False),
    ],
    ids=["no secrets", "secrets", "secrets, and no log wanted"],
)
def test_a_trigger_shows_no_lines_that_only_a_worker_masks(
    job: LaunchedJob,
    shows_lines: bool,
    says_so: bool,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The triggerer knows none of the task's secrets (R26)."""
    monkeypatch.setattr(ScriptTrigger, "log", logging.getLogger("trigger"))
    trigger = ScriptTrigger(job=job.to_dict())
    with caplog.at_level("INFO"):
        log = trigger._open_log()
    assert (log.lines is not None) == shows_lines
    assert ("a worker shows its lines when it has ended" in caplog.text) == says_so


@pytest.mark.parametrize("holds_lines", [False, True])
async def test_held_lines_are_left_to_the_worker(holds_lines: bool) -> None:
    """A worker shows what comes after the lines that a worker has shown before (R22, R26)."""
    shown, read = LogPosition(unstamped=1), LogPosition(unstamped=9, complete=True)
    given = FollowState({("uid", "script"): shown})
    trigger = ScriptTrigger(job=a_launched_job(holds_lines=holds_lines).to_dict(), handover=given.to_dict())
    follower: Any = SimpleNamespace(state=FollowState({("uid", "script"): read}))
    trigger._follower = follower
    assert trigger._position().position("uid", "script").unstamped == (1 if holds_lines else 9)
