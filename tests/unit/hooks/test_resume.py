"""Resuming a task whose trigger has seen how the script ended."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from airflow_script_provider._airflow import AirflowNotFoundException, AirflowTaskTimeout
from airflow_script_provider.clusters.access import ClusterAccess, ClusterRef
from airflow_script_provider.exceptions import ApiUnreachableError, ConnectionFieldError, KubernetesApiError
from airflow_script_provider.hooks import _task_run
from airflow_script_provider.hooks.script import ScriptTaskRun
from airflow_script_provider.jobs import conclude, launching, read_mark
from airflow_script_provider.kube.job.follow_state import FollowState, JobEnd, Kept, to_event
from airflow_script_provider.kube.job.outcomes import Outcome
from airflow_script_provider.kube.job.verdict import Cause, Verdict
from airflow_script_provider.kube.labels import END_ANNOTATION, SCRIPT_CONTAINER
from airflow_script_provider.kube.logs.pod_lines import LogPosition
from airflow_script_provider.kube.names import TaskIdentity
from tests.builders import a_launched_job, a_pod, a_task, a_view
from tests.kept_log import KeptLog
from tests.patience import LONG
from tests.servers import Answer
from tests.stand_in_api import access_to, an_object, requests, stand_in

NO_TRY_LEFT = a_task(try_number=3)


def an_event(
    exit_code: int = 0, kept: str = "", *, server: str | None = None, job_deleted: bool = False
) -> dict[str, Any]:
    """A trigger's event of a script that has ended, with what the trigger kept of its output."""
    view = a_view(a_pod(exit_code=exit_code), job_deleted=job_deleted)
    cause = Cause.SCRIPT_FAILED if exit_code else Cause.SCRIPT_SUCCEEDED
    state = FollowState({("uid-load-x1", SCRIPT_CONTAINER): LogPosition(complete=True)})
    end = JobEnd(Verdict(cause, "uid-load-x1"), view, 1.0, state, Kept(kept, len(kept)))
    event: dict[str, Any] = json.loads(json.dumps(to_event(a_launched_job().to_dict(), end)))
    return event | {"server": server}


def handed_back() -> dict[str, Any]:
    """The event of a triggerer that could not look at the Job."""
    event = to_event(a_launched_job().to_dict(), FollowState(is_final=False), "no answer")
    stored: dict[str, Any] = json.loads(json.dumps(event))
    return stored


def a_job_with_its_end(exit_code: int = 0) -> Answer:
    """The Job on which an earlier triggerer has saved this end with all of its output. It starts no other pod."""
    verdict = Verdict(Cause.SCRIPT_FAILED if exit_code else Cause.SCRIPT_SUCCEEDED, "uid-load-x1", delete_job=True)
    kept = Kept('{"rows": 3}\n', 12, is_whole=True, shown=12)
    end = JobEnd(verdict, a_view(a_pod(exit_code=exit_code)), 2.0, FollowState(), kept)
    return an_object(name="load", uid="job-uid", annotations={END_ANNOTATION: end.to_text()}, spec={"parallelism": 0})


def a_run() -> ScriptTaskRun:
    """A run as an operator holds it."""
    return ScriptTaskRun(ClusterRef(None, config_file="/none"), logging.getLogger(__name__))


def resumed(
    access: ClusterAccess | BaseException,
    event: dict[str, Any],
    task: TaskIdentity | None = NO_TRY_LEFT,
    run: ScriptTaskRun | None = None,
) -> tuple[Outcome, list[str], list[Outcome]]:
    """The outcome with this access, our lines, and what was handed over."""
    run, log = run or a_run(), KeptLog()
    handed_over: list[Outcome] = []

    def resolve(_: ClusterRef) -> ClusterAccess:
        if isinstance(access, BaseException):
            raise access
        return access

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClusterRef, "resolve", resolve)
        patch.setattr(ScriptTaskRun, "run_log", lambda *_, **__: log)
        patch.setattr(_task_run, "LOAD_PATIENCE", 0.0)
        return run.resume(event, task=task, on_outcome=handed_over.append), log.notes, handed_over


def a_plugin_that_fails() -> ClusterAccess:
    """The access of a kubeconfig whose plugin has a bad moment."""
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/false"}}
    clusters = [{"name": "a", "cluster": {"server": "https://a:6443"}}]
    contexts = [{"name": "a", "context": {"cluster": "a", "user": "a"}}]
    users = [{"name": "a", "user": user}]
    return ClusterAccess(config={"current-context": "a", "clusters": clusters, "contexts": contexts, "users": users})


BAD_FIELD = ConnectionFieldError("connection x: not a valid field")
NO_CONNECTION = AirflowNotFoundException("The conn_id `x` isn't defined")
OF_A_BACKEND = RuntimeError("process returned 1")


@pytest.mark.parametrize(
    ("access", "task", "event", "value", "words"),
    [
        (a_plugin_that_fails(), NO_TRY_LEFT, an_event(kept='{"rows": 3}\n'), {"rows": 3}, "only the output that"),
        (a_plugin_that_fails(), NO_TRY_LEFT, an_event(), None, "the result has no output and no value"),
        (a_plugin_that_fails(), None, an_event(), None, "the result has no output and no value"),
        (BAD_FIELD, a_task(), an_event(), None, "the result has no output and no value"),
        (NO_CONNECTION, NO_TRY_LEFT, an_event(), None, "conn_id `x` isn't defined"),
        (OF_A_BACKEND, NO_TRY_LEFT, an_event(), None, "process returned 1"),
    ],
    ids=["output kept", "no output kept", "without a task", "not tried again", "no connection", "backend fails"],
)
def test_a_known_success_needs_no_credentials(
    access: ClusterAccess | Exception, task: TaskIdentity | None, event: dict[str, Any], value: Any, words: str
) -> None:
    """In the last try it would fail for good; what is left of the Job is said (R1, R16)."""
    outcome, notes, handed_over = resumed(access, event, task)
    assert (outcome.diagnosis, outcome.value.value, handed_over) == (None, value, [outcome])
    assert words in notes[0]
    assert notes[1].endswith("is not removed. Run: kubectl -n etl delete job load")
    assert "could not be deleted" not in "".join(notes)


def test_a_known_failure_without_credentials_says_why_the_script_failed() -> None:
    """Not why the cluster could not be asked (R16, R22)."""
    outcome, notes, _ = resumed(a_plugin_that_fails(), an_event(3))
    assert outcome.result.exit_code == 3
    assert "process returned 1" in notes[0]


WITHOUT_CREDENTIALS = pytest.mark.parametrize(
    "access", [a_plugin_that_fails(), OF_A_BACKEND], ids=["no credentials", "no connection"]
)


@WITHOUT_CREDENTIALS
def test_without_credentials_a_next_try_reads_the_outcome_from_the_job(access: ClusterAccess | Exception) -> None:
    """It finds output and value there (R2, R16)."""
    with pytest.raises((ApiUnreachableError, RuntimeError), match="process returned 1"):
        resumed(access, an_event(), a_task())


@WITHOUT_CREDENTIALS
@pytest.mark.parametrize("exit_code", [0, 3])
def test_a_next_try_would_find_no_outcome_of_a_deleted_job(access: ClusterAccess | Exception, exit_code: int) -> None:
    """It would run a script again that has succeeded (R1, R2, R16)."""
    event = an_event(exit_code, '{"rows": 3}\n', job_deleted=True)
    outcome, notes, handed_over = resumed(access, event, a_task())
    assert (outcome.result.exit_code, outcome.value.value, handed_over) == (exit_code, {"rows": 3}, [outcome])
    assert "process returned 1" in notes[0]
    assert "is not removed" not in "".join(notes)


@WITHOUT_CREDENTIALS
def test_without_an_end_the_cluster_is_needed(access: ClusterAccess | Exception) -> None:
    """A Job that no trigger could follow must be followed (R16)."""
    event = to_event(a_launched_job().to_dict(), FollowState())
    with pytest.raises((ApiUnreachableError, RuntimeError), match="process returned 1"):
        resumed(access, event)


@pytest.mark.parametrize("is_over", [True, False], ids=["ended", "handed back"])
def test_a_job_that_this_server_does_not_have_fails_no_known_success(is_over: bool, tmp_path: Path) -> None:
    """A cluster may have several addresses, and its Job may be gone (R9, R16)."""
    event = an_event(kept='{"rows": 3}\n') if is_over else to_event(a_launched_job().to_dict(), FollowState())
    with stand_in() as server:
        access = access_to(server)
        if not is_over:
            with pytest.raises(KubernetesApiError, match="has no Job etl/load"):
                resumed(access, event | {"server": "https://other:6443"})
            return
        outcome, notes, _ = resumed(access, event | {"server": "https://other:6443"})
    assert (outcome.diagnosis, outcome.value.value) == (None, {"rows": 3})
    assert "has no Job etl/load, which the worker launched on https://other:6443. The triggerer has seen" in notes[0]


@pytest.mark.parametrize("has_session", [True, False])
@pytest.mark.parametrize("task", [NO_TRY_LEFT, a_task()], ids=["last try", "tries left"])
def test_an_outcome_that_was_handed_over_is_the_end_of_the_task(
    has_session: bool, task: TaskIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``execution_timeout`` while the Job is marked as read: its XComs are there, it may be gone (R1, R2, R5)."""

    async def interrupted(*_: Any, **__: Any) -> None:
        monkeypatch.undo()
        if not has_session:
            monkeypatch.setattr(_task_run, "in_session", refused)
        raise AirflowTaskTimeout

    async def refused(*_: Any) -> None:
        raise ApiUnreachableError("no answer")

    monkeypatch.setattr(read_mark, "close", interrupted)
    with stand_in() as server:
        outcome, _, handed_over = resumed(access_to(server), an_event(kept='{"rows": 3}\n'), task)
    assert (outcome.diagnosis, outcome.value.value, handed_over) == (None, {"rows": 3}, [outcome])


TOO_LATE = AirflowTaskTimeout("Timeout, PID: 1")


@pytest.mark.parametrize("of_the_session", [False, True])
@pytest.mark.parametrize("exit_code", [0, 3])
def test_a_known_end_outlasts_a_timeout_before_the_cluster_is_reached(
    of_the_session: bool, exit_code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``execution_timeout`` while a secrets backend or a plugin hangs, in the last try (R1, R5)."""
    answers: list[BaseException] = [TOO_LATE, ApiUnreachableError("no answer")]

    async def hangs(*_: Any) -> None:
        raise answers.pop(0)

    monkeypatch.setattr(_task_run, "in_session", hangs)
    access = ClusterAccess(config={}) if of_the_session else TOO_LATE
    outcome, notes, handed_over = resumed(access, an_event(exit_code, kept='{"rows": 3}\n'))
    assert (outcome.result.exit_code, outcome.value.value, handed_over) == (
        exit_code,
        {"rows": 3},
        [outcome],
    )
    assert notes[0].startswith("execution_timeout was over before the cluster had answered")
    assert len(answers) == (0 if of_the_session else 2), "no call deletes the Job"


def test_a_timeout_before_the_cluster_is_reached_leaves_a_known_end_to_the_next_try() -> None:
    """That reads the output too (R1, R2, R5)."""
    with pytest.raises(AirflowTaskTimeout):
        resumed(TOO_LATE, an_event(), a_task())


@pytest.mark.parametrize("task", [NO_TRY_LEFT, a_task()], ids=["last try", "tries left"])
def test_a_kill_after_an_outcome_was_handed_over_ends_the_task_with_it(
    task: TaskIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its XComs are there, and its Job is gone: no try takes it again (R1, R2, R3)."""
    run = a_run()

    async def killed(*_: Any, **__: Any) -> None:
        run.kill()
        await asyncio.sleep(LONG)

    monkeypatch.setattr(read_mark, "close", killed)
    with stand_in() as server:
        outcome, _, handed_over = resumed(access_to(server), an_event(kept='{"rows": 3}\n'), task, run)
        assert requests(server, "DELETE") == 1
    assert (outcome.diagnosis, handed_over) == (None, [outcome])


JOB = "/apis/batch/v1/namespaces/etl/jobs/load"


@pytest.mark.parametrize("exit_code", [0, 3])
def test_an_end_that_a_triggerer_saved_counts_where_the_next_one_hands_back(exit_code: int) -> None:
    """The Job has no pod and gets none: a success was a timeout after all of its ``timeout`` (R1, R2, R4)."""
    with stand_in() as server:
        server.answers(JOB, a_job_with_its_end(exit_code))
        outcome, notes, handed_over = resumed(access_to(server), handed_back())
        assert requests(server, "DELETE", JOB) == 1
    assert (outcome.result.exit_code, outcome.value.value, handed_over) == (exit_code, {"rows": 3}, [outcome])
    assert "could not follow the Job, so a worker does: no answer" in notes[0]
    assert "An earlier triggerer saw the script of Job etl/load end: that outcome counts" in notes[1]


def test_a_saved_end_counts_also_if_time_is_over_before_the_job_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """``execution_timeout`` while the connection or credentials are loaded, or no answer comes (R1, R4, R5)."""
    in_session = _task_run.in_session

    async def hangs(*_: Any) -> None:
        monkeypatch.setattr(_task_run, "in_session", in_session)
        raise TOO_LATE

    monkeypatch.setattr(_task_run, "in_session", hangs)
    with stand_in() as server:
        server.answers(JOB, a_job_with_its_end())
        outcome, _, handed_over = resumed(access_to(server), handed_back())
    assert (outcome.diagnosis, outcome.value.value, handed_over) == (None, {"rows": 3}, [outcome])


def interrupted_at(module: Any, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """``execution_timeout`` ends this step; after it, no credentials can be loaded."""

    async def interrupted(*_: Any, **__: Any) -> None:
        monkeypatch.setattr(_task_run, "in_session", refused)
        raise AirflowTaskTimeout

    async def refused(*_: Any) -> None:
        raise ApiUnreachableError("no credentials for a Kubernetes cluster", status=0)

    monkeypatch.setattr(module, step, interrupted)


@pytest.mark.parametrize("exit_code", [0, 3])
@pytest.mark.parametrize(
    ("task", "job_deleted", "is_result"),
    [(NO_TRY_LEFT, False, True), (a_task(), False, False), (a_task(), True, True)],
    ids=["last try", "tries left", "deleted"],
)
def test_a_known_end_outlasts_a_timeout_after_which_there_are_no_credentials(
    task: TaskIdentity, job_deleted: bool, is_result: bool, exit_code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log stalls to the end of the task's time: the end counts, unless a next try can read more (R1, R2, R5)."""
    interrupted_at(conclude, "_read_left", monkeypatch)
    event = an_event(exit_code, kept='{"rows": 3}\n', job_deleted=job_deleted)
    with stand_in() as server:
        if not is_result:
            with pytest.raises(AirflowTaskTimeout):
                resumed(access_to(server), event, task)
            return
        outcome, notes, handed_over = resumed(access_to(server), event, task)
    assert (outcome.result.exit_code, outcome.value.value, handed_over) == (exit_code, {"rows": 3}, [outcome])
    assert any(note.startswith("execution_timeout was over before the cluster had answered") for note in notes)


@pytest.mark.parametrize("task", [NO_TRY_LEFT, a_task()], ids=["last try", "tries left"])
def test_a_known_outcome_outlasts_a_timeout_after_which_there_are_no_credentials(
    task: TaskIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of its output was read before the timeout, so no next try is needed (R1, R2, R5)."""
    interrupted_at(launching, "delete_secret", monkeypatch)
    with stand_in() as server:
        outcome, notes, handed_over = resumed(access_to(server), an_event(kept='{"rows": 3}\n'), task)
    assert (outcome.diagnosis, outcome.value.value, handed_over) == (None, {"rows": 3}, [outcome])
    assert "only the output that the triggerer kept" not in "".join(notes)


@pytest.mark.parametrize("event", [an_event(), an_event(job_deleted=True)], ids=["last try", "deleted"])
def test_a_kill_after_a_timeout_hands_nothing_over(event: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The task was ended while the credentials were loaded again (R3, R5)."""
    run = a_run()

    async def interrupted(*_: Any, **__: Any) -> None:
        monkeypatch.setattr(_task_run, "in_session", killed)
        raise AirflowTaskTimeout

    async def killed(*_: Any) -> None:
        run.kill()
        await asyncio.sleep(LONG)

    monkeypatch.setattr(conclude, "_read_left", interrupted)
    monkeypatch.setattr(run, "delete", lambda _: True)
    with stand_in() as server, pytest.raises(AirflowTaskTimeout):
        resumed(access_to(server), event, NO_TRY_LEFT, run)
