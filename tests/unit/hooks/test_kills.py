"""Runs that are killed while no guard protects their Jobs, and what becomes of these."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_script_provider._airflow import AirflowTaskTimeout, masked
from airflow_script_provider.clusters.access import ClusterAccess, ClusterRef
from airflow_script_provider.exceptions import ApiUnreachableError, LaunchError, RunKilledError
from airflow_script_provider.hooks import _task_run
from airflow_script_provider.hooks._task_run import JobTaskRun
from airflow_script_provider.hooks.node import node_arguments
from airflow_script_provider.hooks.script import ScriptTaskRun
from airflow_script_provider.kube.job.follow_state import FollowState, to_event
from airflow_script_provider.kube.job.launched import JobRef
from airflow_script_provider.kube.job.manifest import job
from airflow_script_provider.kube.kill import TIMED_OUT, meaning_of_kill
from airflow_script_provider.kube.labels import READ_ANNOTATION
from airflow_script_provider.kube.names import TaskIdentity
from airflow_script_provider.kube.request.inputs import ScriptInputs
from tests.builders import a_launched_job, a_request, a_task
from tests.kept_log import KeptLog
from tests.servers import Answer, WebServer
from tests.stand_in_api import access_to, an_object, requests, stand_in
from tests.task_runs import a_nodes_run, a_script_run, inputs_and_options

JOBS = "/apis/batch/v1/namespaces/etl/jobs"
JOB = f"{JOBS}/load"
EVENT = to_event(a_launched_job().to_dict(), FollowState(), "")
LAST_TRY = a_task(try_number=3)

Resolve = Callable[[ClusterRef], ClusterAccess]


@pytest.fixture
def server() -> Iterator[WebServer]:
    """What is asked as the API server. It has the Job."""
    with stand_in() as server:
        server.answers(JOB, an_object(name="load", uid="job-uid"))
        yield server


@pytest.fixture(params=[a_script_run, a_nodes_run], ids=["script", "nodes"])
def run(request: pytest.FixtureRequest) -> Any:
    """A run of each kind of Job."""
    return request.param()


@pytest.mark.parametrize(
    ("state", "task", "is_left"),
    [
        ("running", a_task(), True),
        ("up_for_retry", a_task(), True),
        ("failed", a_task(), False),
        ("running", LAST_TRY, False),
        ("running", None, False),
    ],
    ids=["worker ends", "given up", "marked by a user", "last try", "no task"],
)
def test_a_kill_while_a_deferred_task_is_resumed(
    server: WebServer,
    run: JobTaskRun,
    state: str,
    task: TaskIdentity | None,
    is_left: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A script that has succeeded must not run again: only a user's kill deletes its Job (R1, R2, R3)."""

    def killed_meanwhile(_: ClusterRef) -> ClusterAccess:
        run.kill()
        return access_to(server)

    monkeypatch.setattr(ClusterRef, "resolve", killed_meanwhile)
    monkeypatch.setattr(_task_run, "task_state", lambda _: state)
    with pytest.raises(RunKilledError) as killed:
        run.resume(EVENT, task=task)  # type: ignore[attr-defined]  # both kinds have it
    assert requests(server, "DELETE", JOB) == (not is_left)
    fate = meaning_of_kill(state).left("etl/load") if is_left else "Job etl/load is deleted."
    assert str(killed.value).endswith(fate)


@pytest.mark.parametrize("task", [a_task(), LAST_TRY], ids=["tries left", "last try"])
def test_a_resumed_task_without_access_names_its_job(
    run: JobTaskRun, task: TaskIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no try follows, the Job is left to the reader of the error (R3, R16)."""

    def refused(_: ClusterRef) -> ClusterAccess:
        raise ApiUnreachableError("no credentials for a Kubernetes cluster")

    monkeypatch.setattr(ClusterRef, "resolve", refused)
    with pytest.raises(ApiUnreachableError) as error:
        run.resume(EVENT, task=task)  # type: ignore[attr-defined]  # both kinds have it
    assert ("kubectl -n etl delete job load" in str(error.value)) == (task is LAST_TRY)


def test_a_resumed_task_masks_its_secrets_again(run: JobTaskRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process than the one that launched the script shows its lines (R26)."""

    def refused(_: ClusterRef) -> ClusterAccess:
        raise ApiUnreachableError("no credentials for a Kubernetes cluster")

    secret = f"secret-of-{type(run).__name__}"
    monkeypatch.setattr(ClusterRef, "resolve", refused)
    with pytest.raises(ApiUnreachableError):
        run.resume(EVENT, ScriptInputs(script="x", env={"API_KEY": secret}))  # type: ignore[attr-defined]  # both have it
    assert masked(f"the key is {secret}") == "the key is ***"


@pytest.mark.parametrize("inputs", [ScriptInputs(script="x"), None], ids=["known", "unknown"])
@pytest.mark.parametrize("holds_lines", [True, False])
def test_lines_with_secrets_that_are_not_known_are_not_shown(
    run: JobTaskRun, holds_lines: bool, inputs: ScriptInputs | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trigger has held them for a worker, which cannot mask them either (R26)."""

    def refused(_: ClusterRef) -> ClusterAccess:
        raise ApiUnreachableError("no credentials for a Kubernetes cluster")

    def a_log(_: JobTaskRun, *, get_logs: bool) -> KeptLog:
        shown.append(get_logs)
        return KeptLog()

    shown: list[bool] = []
    monkeypatch.setattr(ClusterRef, "resolve", refused)
    monkeypatch.setattr(JobTaskRun, "run_log", a_log)
    event = EVENT | {"job": a_launched_job(holds_lines=holds_lines).to_dict()}
    with pytest.raises(ApiUnreachableError):
        run.resume(event, inputs)  # type: ignore[attr-defined]  # both kinds have it
    assert shown == [inputs is not None or not holds_lines]


@pytest.mark.parametrize("outlasts_timeout", [True, False])
@pytest.mark.parametrize(
    ("seen", "stray"),
    [
        (AirflowTaskTimeout(), None),
        (BaseExceptionGroup("", [AirflowTaskTimeout()]), None),
        (asyncio.CancelledError(), AirflowTaskTimeout()),
    ],
    ids=["in the coroutine", "in a task of it", "outside"],
)
async def test_a_timeout_leaves_the_job_only_to_its_own_conclusion(
    outlasts_timeout: bool, seen: BaseException, stray: BaseException | None
) -> None:
    """Python may raise it wherever it happens to be, and then cancel the coroutine (R5)."""
    run = a_script_run()
    run.interruptible._stray.error = stray
    assert await run.meaning_of_kill(a_task(), seen, outlasts_timeout=outlasts_timeout) is None
    run._launched.job = a_launched_job()
    meaning = await run.meaning_of_kill(a_task(), seen, outlasts_timeout=outlasts_timeout)
    assert meaning is (TIMED_OUT if outlasts_timeout else None)


def listed(*jobs: dict[str, Any]) -> Answer:
    """These Jobs as the API server lists them."""
    return Answer(json.dumps({"items": list(jobs)}).encode(), headers={"Content-Type": "application/json"})


def a_left_job(name: str, try_number: int, **annotations: str) -> dict[str, Any]:
    """A Job of a try of the task."""
    left = job(a_request(task=a_task(try_number=try_number)))
    left["metadata"] |= {"name": name, "uid": f"uid-{name}", "creationTimestamp": "2026-01-01T00:00:00Z"}
    left["metadata"]["annotations"] |= annotations
    return left


@pytest.mark.parametrize(
    ("state", "try_number", "is_deleted"),
    [("failed", 2, True), ("running", 2, False), ("running", 3, True), ("failed", 1, False)],
    ids=["marked by a user", "worker ends", "last try", "first try"],
)
def test_a_kill_before_a_retry_reattaches(
    server: WebServer, run: Any, state: str, try_number: int, is_deleted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Job of a lost worker must not outlive a task that a user has ended (R2, R3)."""
    earlier, later = a_left_job("earlier", 1), a_left_job("later", try_number)
    server.answers(JOBS, listed(earlier, later, a_left_job("read", 1, **{READ_ANNOTATION: "2026-01-01T00:00:00Z"})))
    server.answers(f"{JOBS}/earlier", an_object(name="earlier", uid="uid-earlier"))
    monkeypatch.setattr(ClusterRef, "resolve", lambda _: access_to(server))
    monkeypatch.setattr(_task_run, "task_state", lambda _: state)
    task = a_task(try_number=try_number)
    run.kill()
    arguments: Any = {"script": "echo", "namespace": "etl"}
    is_of_a_script = isinstance(run, ScriptTaskRun)
    given = inputs_and_options(**arguments) if is_of_a_script else [node_arguments(nodes=["node-1"], **arguments)]
    with pytest.raises(RunKilledError) as killed:
        run.outcome(*given, task=task)
    assert requests(server, "DELETE", f"{JOBS}/earlier") == requests(server, "DELETE") == is_deleted
    assert ("Job etl/earlier is deleted, of try 1." in str(killed.value)) == is_deleted


def test_a_task_that_no_trigger_could_follow_launches_nothing(
    server: WebServer, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the Job of its try is gone, or its outcome was read, another try decides (R2, R4)."""
    read = a_left_job("read", 2, **{READ_ANNOTATION: "2026-01-01T00:00:00Z"})
    server.answers(JOBS, listed(a_left_job("earlier", 1), read))
    monkeypatch.setattr(ClusterRef, "resolve", lambda _: access_to(server))
    run.recovers = True
    arguments: Any = {"script": "echo", "namespace": "etl"}
    is_of_a_script = isinstance(run, ScriptTaskRun)
    given = inputs_and_options(**arguments) if is_of_a_script else [node_arguments(nodes=["node-1"], **arguments)]
    with pytest.raises(LaunchError, match="namespace etl has no unread Job of this try"):
        run.outcome(*given, task=a_task(try_number=2), alone=True)
    assert requests(server, "POST") == requests(server, "DELETE") == 0


@pytest.mark.parametrize(
    ("has_begun", "task", "is_deleted"),
    [(True, None, False), (False, None, True), (False, a_task(), False), (False, LAST_TRY, True)],
    ids=["in its conclusion", "no task", "tries left", "last try"],
)
def test_a_kill_after_a_timeout(
    has_begun: bool, task: TaskIdentity | None, is_deleted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may come before the Job's conclusion has begun, or while that hands a success over (R1, R2, R5)."""
    run, calls = a_script_run(), [AirflowTaskTimeout()]
    deleted: list[JobRef] = []

    async def concluded(*_: Any) -> None:
        raise RunKilledError("the run was killed. Job etl/load is left to the next try.")

    def in_a_session(_: Any, do: Callable[[Any], Any]) -> None:
        if calls:
            raise calls.pop()
        if has_begun:
            asyncio.run(do(None))
        run.kill()
        raise RunKilledError("the run was killed")

    monkeypatch.setattr(run, "run", in_a_session)
    monkeypatch.setattr(run, "delete", deleted.append)
    monkeypatch.setattr(_task_run, "task_state", lambda _: "running")
    run._launched.job = a_launched_job()
    with pytest.raises(AirflowTaskTimeout):
        run.outlasting_timeout(ClusterAccess(config={}), concluded, concluded, task, None)
    assert deleted == ([a_launched_job().ref] if is_deleted else [])
