"""The end of a run: in which order its Job goes and its outcome is saved."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from airflow_script_provider import exceptions
from airflow_script_provider._airflow import AirflowTaskTimeout
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.jobs import conclude, launching, read_mark
from airflow_script_provider.jobs.context import JobContext, Known
from airflow_script_provider.kube.hiding import Hide, hider, name_of_error
from airflow_script_provider.kube.job.follow_state import FollowState, JobEnd, Kept
from airflow_script_provider.kube.job.launched import LaunchedJob
from airflow_script_provider.kube.job.outcomes import Outcome
from airflow_script_provider.kube.job.verdict import Cause, Verdict
from airflow_script_provider.kube.kill import EarlyEnd
from airflow_script_provider.kube.labels import SCRIPT_CONTAINER
from airflow_script_provider.kube.logs.pod_lines import LogPosition
from airflow_script_provider.kube.names import TaskIdentity
from airflow_script_provider.run_log import NoRunLog
from tests.builders import a_container, a_launched_job, a_pod, a_task, a_view, some_limits
from tests.kept_log import KeptLog
from tests.stand_in_api import an_object, api_of, requests, stand_in

KEPT = Kept("[1]\n", 4)
READ = FollowState({("uid-load-x1", SCRIPT_CONTAINER): LogPosition(complete=True)})
JOB = "/apis/batch/v1/namespaces/etl/jobs/load"


@pytest.mark.parametrize(
    ("exit_code", "task", "deletes_before"),
    [
        (0, a_task(), 0),
        (0, a_task(try_number=3), 1),
        (0, None, 1),
        (1, a_task(), 1),
        (4, a_task(), 0),
        (5, a_task(), 0),
    ],
    ids=["success", "in the last try", "without a task", "failure", "final", "skipped"],
)
async def test_a_job_with_a_sidecar_is_kept_while_a_next_try_may_need_its_outcome(
    exit_code: int, task: TaskIdentity | None, deletes_before: int
) -> None:
    """A worker may be lost before it has saved the outcome; a retry of a failure needs none (R1, R2)."""
    pod = a_pod(exit_code=exit_code, phase="Running", others=[a_container(name="proxy", running=True)])
    cause = Cause.SCRIPT_FAILED if exit_code else Cause.SCRIPT_SUCCEEDED
    end = JobEnd(Verdict(cause, "uid-load-x1", delete_job=True), a_view(pod), 1.0)
    job = a_launched_job(get_logs=False, limits=some_limits(final_codes=frozenset({4, 5})))
    job = replace(job, skip_codes=frozenset({5}))
    deletes: list[int] = []
    with stand_in() as server:
        server.answers(JOB, an_object())

        def save(outcome: Outcome) -> None:
            deletes.append(requests(server, "DELETE", JOB))

        async with api_of(server) as api:
            await conclude.conclude(JobContext(api, job, NoRunLog()), end, task=task, on_outcome=save)
        deletes.append(requests(server, "DELETE", JOB))
    assert deletes == [deletes_before, 1]


@pytest.mark.parametrize(
    ("exit_code", "failing", "calls"),
    [
        (0, 0, ["saved", "delete", "mark"]),
        (0, 1, ["saved", "delete", "end", "delete"]),
        (1, 0, ["delete", "saved", "mark"]),
        (1, 1, ["delete", "saved", "delete", "mark"]),
        (1, 2, ["delete", "saved", "delete", "end", "delete"]),
    ],
)
async def test_a_job_that_cannot_be_deleted_is_not_only_marked(
    exit_code: int, failing: int, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An API server that is away for seconds leaves no sidecar, and no Job that starts a pod (R2, R5, R12)."""
    pod = a_pod(exit_code=exit_code, phase="Running", others=[a_container(name="proxy", running=True)])
    cause = Cause.SCRIPT_FAILED if exit_code else Cause.SCRIPT_SUCCEEDED
    end = JobEnd(Verdict(cause, "uid-load-x1", delete_job=True), a_view(pod), 1.0)
    asked: list[str] = []

    async def delete_within(*_: object) -> None:
        asked.append("delete")
        if asked.count("delete") <= failing:
            raise exceptions.ApiUnreachableError("no answer from the API server", status=0)

    async def mark_read(*_: object, starts_nothing: bool, deadline: int | None) -> None:
        asked.append("end" if starts_nothing else "mark")

    monkeypatch.setattr(launching, "delete_within", delete_within)
    monkeypatch.setattr(read_mark, "mark_read", mark_read)
    with stand_in() as server:
        async with api_of(server) as api:
            job = JobContext(api, a_launched_job(get_logs=False), NoRunLog())
            await conclude.conclude(job, end, task=a_task(), on_outcome=lambda _: asked.append("saved"))
    assert asked == calls


@pytest.mark.parametrize("has_time", [True, False])
async def test_a_known_end_is_concluded_as_it_is(has_time: bool) -> None:
    """Also after ``execution_timeout``; its Job may look as if nothing had run (R1, R5)."""
    end = JobEnd(Verdict(Cause.SCRIPT_SUCCEEDED, "uid-load-x1"), a_view(a_pod(exit_code=0)), 1.0, kept=KEPT, state=READ)
    with stand_in() as server:
        server.answers(JOB, an_object())
        async with api_of(server) as api:
            context = JobContext(api, a_launched_job(), NoRunLog())
            if has_time:
                found: object = await conclude.conclude_or_defer(context, end, 0.0, task=a_task())
            else:
                found = await conclude.after_timeout(context, end, task=a_task())
    assert isinstance(found, Outcome)
    assert (found.diagnosis, found.value.value, found.result.execution_time) == (None, [1], 1.0)


def interrupted_once(monkeypatch: pytest.MonkeyPatch, module: Any, step: str) -> None:
    """Let the task's time be over when this step was done for the first time."""
    do, done = getattr(module, step), []

    async def then_interrupted(*arguments: Any, **named: Any) -> Any:
        result = await do(*arguments, **named)
        done.append(result)
        if len(done) == 1:
            raise asyncio.CancelledError
        return result

    monkeypatch.setattr(module, step, then_interrupted)


def saver(saved: list[Outcome], *, is_interrupted: bool) -> Callable[[Outcome], None]:
    """Keeps outcomes; the task's time may be over in the middle of the first one."""
    interruptions = [AirflowTaskTimeout()] if is_interrupted else []

    def save(outcome: Outcome) -> None:
        if interruptions:
            raise interruptions.pop()
        saved.append(outcome)

    return save


@pytest.mark.parametrize("task", [a_task(), a_task(try_number=3), None], ids=["tries left", "last try", "no task"])
@pytest.mark.parametrize("step", ["delete_secret", "delete_within", "on_outcome", "close"])
async def test_a_known_outcome_outlasts_the_tasks_time(
    step: str, task: TaskIdentity | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its Job is gone, or goes: neither may the success be lost, nor may the script run again (R1, R2, R5)."""
    pod = a_pod(exit_code=0, phase="Running", others=[a_container(name="proxy", running=True)])
    end = JobEnd(Verdict(Cause.SCRIPT_SUCCEEDED, "uid-load-x1", delete_job=True), a_view(pod), 1.0, kept=KEPT)
    if step != "on_outcome":
        interrupted_once(monkeypatch, read_mark if step == "close" else launching, step)
    saved: list[Outcome] = []
    save, known = saver(saved, is_interrupted=step == "on_outcome"), Known[Outcome]()
    with stand_in() as server:  # which has no Job
        async with api_of(server) as api:
            context = JobContext(api, a_launched_job(secret_name="load-env"), KeptLog(), known=known)
            with pytest.raises((asyncio.CancelledError, AirflowTaskTimeout)):
                await conclude.conclude(context, end, task=task, on_outcome=save)
            found = await conclude.after_timeout(replace(context), task=task, on_outcome=save)
    assert found is not None
    assert (found.diagnosis, found.value.value) == (None, [1])
    assert saved == [found], "it is handed over once"


@pytest.mark.parametrize(
    ("kept", "exit_code", "is_said"),
    [
        (Kept("bye\n", 4), 0, False),
        (Kept("bye\n", 5000), 0, True),
        (Kept("bye\n", 4, lacks_start=True), 0, True),
        (Kept("[1]\n", 5000), 0, False),
        (Kept("bye\n", 5000), 3, False),
    ],
    ids=["whole", "cut", "read by another process before", "with a value", "failure"],
)
def test_a_value_may_be_in_the_part_that_is_gone(kept: Kept, exit_code: int, is_said: bool) -> None:
    """Without a warning it would look as if the script had printed none (R21)."""
    cause, log = Cause.SCRIPT_FAILED if exit_code else Cause.SCRIPT_SUCCEEDED, KeptLog()
    end = JobEnd(Verdict(cause, "uid-load-x1"), a_view(a_pod(exit_code=exit_code)), 1.0, READ, kept)
    conclude.conclude_without_cluster(a_launched_job(), end, log, why="No credentials.")
    assert any("may lack its value" in note for note in log.notes) == is_said


class Interrupted:
    """Changes whose follower is interrupted before it has seen one."""

    @asynccontextmanager
    async def subscribe(self, *_: object) -> AsyncIterator[Any]:
        """Be killed."""
        raise asyncio.CancelledError
        yield


@pytest.mark.parametrize("is_left", [True, False])
async def test_a_kill_at_the_look_after_the_tasks_time(is_left: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script may have succeeded: only a kill that ends the task for good deletes its Job (R1, R2, R5)."""

    async def meaning(_: BaseException) -> EarlyEnd:
        return EarlyEnd("Its worker is ending", leaves_job=is_left)

    monkeypatch.setattr(conclude, "OwnChanges", lambda *_, **__: Interrupted())
    with stand_in() as server:
        server.answers(JOB, an_object(uid="job-uid"))
        async with api_of(server) as api:
            context = JobContext(api, a_launched_job(), NoRunLog())
            with pytest.raises(asyncio.CancelledError):
                await conclude.after_timeout(context, task=a_task(), meaning_of_kill=meaning)
        assert requests(server, "DELETE", JOB) == (not is_left)


LOG = "/api/v1/namespaces/etl/pods/load-x1/log"


async def ended_with(kept: Kept, *, state: FollowState = READ, **how: Any) -> tuple[Outcome, KeptLog, int]:
    """The outcome of an end with a pod that is gone, the log, and how often the pod's log was asked for."""
    end, log = (
        JobEnd(Verdict(Cause.SCRIPT_SUCCEEDED, "uid-load-x1"), a_view(a_pod(exit_code=0)), 1.0, state, kept),
        KeptLog(),
    )
    is_of_other_log = how.pop("is_of_other_log", False)
    with stand_in() as server:
        server.answers(JOB, an_object())
        async with api_of(server) as api:
            end = end.for_other_log() if is_of_other_log else end
            outcome = await conclude.conclude(JobContext(api, a_launched_job(**how), log), end)
        return outcome, log, requests(server, "GET", LOG)


@pytest.mark.parametrize("text", ["", "[1]\n"])
async def test_an_output_that_is_kept_whole_is_not_read_again(text: str) -> None:
    """A pod that the trigger had to end is gone: there is nothing to warn of (R21, R22)."""
    outcome, log, asked = await ended_with(Kept(text, len(text), is_whole=True))
    assert (outcome.result.output, asked) == (text, 0)
    assert outcome.value.value == ([1] if text else None)
    assert log.lines == [log.notes[-1]]
    assert log.lines[0].startswith("Job etl/load completed")


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        (Kept(), "is gone, so the result has no output"),
        (Kept(), "The end of the log could not be read, so the result may lack its value"),
        (Kept("bye\n", 4), "is gone, so the result has the end of its output that the triggerer has kept"),
        (Kept("bye\n", 5000), "Only the end of the output was kept, so the result may lack its value"),
    ],
)
async def test_what_a_result_lacks_is_said(kept: Kept, words: str) -> None:
    """Without a warning it would look as if the script had printed nothing (R21, R22)."""
    _, log, asked = await ended_with(kept)
    assert any(words in note for note in log.notes)
    assert asked == 1


@pytest.mark.parametrize(
    ("shown", "how", "lines"),
    [
        (0, {}, []),
        (4, {"holds_lines": True}, ["two"]),
        (0, {"holds_lines": True}, ["one", "two"]),
        (8, {"is_of_other_log": True}, ["one", "two"]),
    ],
    ids=["shown by the trigger", "held in part", "held", "another try"],
)
async def test_lines_that_are_kept_are_shown_once(shown: int, how: dict[str, Any], lines: list[str]) -> None:
    """A log has each line of its try once (R19, R26)."""
    _, log, _ = await ended_with(Kept("one\ntwo\n", 8, is_whole=True, shown=shown), **how)
    assert [line for line in log.lines if line not in log.notes] == lines


@pytest.mark.parametrize("holds_lines", [False, True])
async def test_lines_that_a_trigger_has_held_are_shown_where_the_log_is_gone(holds_lines: bool) -> None:
    """A trigger shows no lines of a script that knows secrets; the pod may go before a worker comes (R22, R26)."""
    pod = a_pod(exit_code=1)
    end = JobEnd(Verdict(Cause.SCRIPT_FAILED, "uid-load-x1"), a_view(pod), 1.0, kept=Kept("one\n::group::two\n", 16))
    log = KeptLog()
    with stand_in() as server:
        server.answers(JOB, an_object())
        async with api_of(server) as api:
            job = a_launched_job(holds_lines=holds_lines)
            outcome = await conclude.conclude(JobContext(api, job, log), end)
    assert outcome.result.output == "one\n::group::two\n"
    shown = [line for line in log.lines if line not in log.notes]
    assert shown == (["one", "::group::two", "::endgroup::"] if holds_lines else [])


@pytest.mark.parametrize(
    ("job", "hide", "is_quoted"),
    [
        (a_launched_job(), None, True),
        (a_launched_job(holds_lines=True), None, False),
        (a_launched_job(holds_lines=True), name_of_error, False),
        (a_launched_job(holds_lines=True), hider(["a value"]), True),
    ],
    ids=["no secret", "a trigger", "other values", "a worker"],
)
def test_a_value_is_only_quoted_where_its_secrets_are_masked(
    job: LaunchedJob, hide: Hide | None, is_quoted: bool
) -> None:
    """A trigger masks nothing, and a worker may know another value than the script (R26)."""
    number, log = "98765432109876543210987", KeptLog()
    kept = Kept(json.dumps({"id": int(number), "__key__": 1}) + "\n", 50)
    end = JobEnd(Verdict(Cause.SCRIPT_SUCCEEDED, "uid-load-x1"), a_view(a_pod(exit_code=0)), 1.0, READ, kept)
    conclude.conclude_without_cluster(job, end, log, hide=hide, why="No credentials.")
    notes = "\n".join(log.notes)
    assert (number in notes, "__key__" in notes) == (is_quoted, is_quoted)
    assert ("integers do not fit into 64 bits" in notes) != is_quoted
    assert JobContext(KubernetesApi(None), job, log, hide).may_quote == is_quoted  # type: ignore[arg-type]
