"""A script on nodes whose task has no time left."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from airflow_script_provider.jobs import launching
from airflow_script_provider.jobs.context import Known
from airflow_script_provider.jobs.nodes import task
from airflow_script_provider.jobs.nodes.runs import NodeRuns
from airflow_script_provider.jobs.nodes.task import NodesTask
from airflow_script_provider.kube.job import termination
from airflow_script_provider.kube.job.manifest import job
from airflow_script_provider.kube.nodes import manifest
from airflow_script_provider.kube.nodes.plan import Mode, OnNodes, Start
from airflow_script_provider.result import NodesResult, Status
from tests.builders import a_job, a_launched_job, a_plan, a_pod, a_request, a_task, some_limits
from tests.kept_log import KeptLog
from tests.patience import PATIENCE
from tests.servers import Answer, WebServer
from tests.stand_in_api import NOT_FOUND, a_refusal, an_object, api_of, requests, stand_in

JOBS = "/apis/batch/v1/namespaces/etl/jobs"
PODS = "/api/v1/namespaces/etl/pods"
OWNER = job(a_request(on_nodes=OnNodes(Mode.NORMAL, a_plan("node-1"))))
OWNER["metadata"] |= {"name": "load", "uid": "job-uid", "creationTimestamp": "2026-01-01T00:00:00Z"}
LAUNCHED = a_launched_job(limits=some_limits(grace_period=0))
RESULT = NodesResult(status=Status.COMPLETED, nodes={}, succeeded=1, failed=0, skipped=0, execution_time=1.0)
DOWN = a_refusal(503, "ServiceUnavailable", "restarting")


def a_list(*items: dict[str, Any]) -> Answer:
    """A list of these objects as an answer."""
    body = {"metadata": {"resourceVersion": "1"}, "items": items}
    return Answer(json.dumps(body).encode(), headers={"Content-Type": "application/json"})


def has_run(server: WebServer, pod: dict[str, Any], **condition: Any) -> None:
    """Let the server have the owner, and its only run, with this pod."""
    body = manifest.run_job(OWNER, Start("node-1", 0), 600)
    metadata = body["metadata"] | {"uid": "uid-run", "creationTimestamp": "2026-01-01T00:00:00Z"}
    run = body | {"metadata": metadata, "status": a_job(started="2026-01-01T00:00:00Z", **condition)["status"]}
    template = body["spec"]["template"]["metadata"]
    labels = template["labels"] | {"batch.kubernetes.io/controller-uid": "uid-run"}
    its_pod = pod | {"metadata": pod["metadata"] | template | {"labels": labels}}
    server.answers(f"{JOBS}/load", json.dumps(OWNER).encode())
    server.answers(f"{JOBS}/{metadata['name']}", json.dumps(run).encode())
    server.answers(JOBS, a_list(OWNER, run))
    server.answers(PODS, a_list(its_pod))
    server.answers(f"{PODS}/load-x1/log", b'2026-01-01T00:00:01.000000001Z {"rows": 1}\n')


@pytest.mark.parametrize(
    ("pod", "condition", "error"),
    [
        (a_pod(exit_code=0), {"condition": "Complete"}, None),
        (a_pod(exit_code=3), {"condition": "Failed", "reason": "BackoffLimitExceeded"}, "node-1 (exit 3)"),
        (a_pod(running=True), {}, "node-1"),
    ],
    ids=["success", "failure", "running"],
)
async def test_runs_that_have_ended_by_themselves_count_after_the_tasks_time(
    pod: dict[str, Any], condition: dict[str, Any], error: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task may have had no time for their logs; what still runs is ended, and all Jobs go (R1, R5)."""
    monkeypatch.setattr(termination, "MARGIN", 0.0)
    saved: list[NodesResult] = []
    with stand_in() as server:
        has_run(server, pod, **condition)
        async with api_of(server) as api, asyncio.timeout(PATIENCE):
            outcome = await NodesTask(api, KeptLog()).after_timeout(LAUNCHED, None, saved.append)
        assert requests(server, "DELETE", f"{JOBS}/load") == 1
        assert requests(server, "POST", JOBS) == 0
    assert saved == [outcome]
    assert outcome is not None
    assert (outcome.is_success, outcome.values["node-1"]) == (error is None, {"rows": 1})
    assert str(error) in str(outcome.error)


async def test_runs_that_take_too_long_to_read_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else bounds the task any more; the end of the scripts is waited for (R5, R10)."""

    async def endless(_: NodeRuns) -> None:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(termination, "MARGIN", 0.0)
    monkeypatch.setattr(task, "READ_TIMEOUT", 0.1)
    monkeypatch.setattr(NodeRuns, "follow", endless)
    saved: list[NodesResult] = []
    with stand_in() as server:
        has_run(server, a_pod(exit_code=0))
        server.answers(f"{JOBS}/load", json.dumps(OWNER).encode(), an_object())
        async with api_of(server) as api:
            assert await NodesTask(api, KeptLog()).after_timeout(LAUNCHED, a_task(), saved.append) is None
        assert requests(server, "DELETE", f"{JOBS}/load") == 1
        assert requests(server, "GET", PODS) == 1
    assert not saved


@pytest.mark.parametrize("is_handed_over", [True, False])
async def test_a_known_outcome_on_nodes_outlasts_the_tasks_time(
    is_handed_over: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner may be deleted by then, and with it all that another look could find (R1, R2, R5)."""

    async def interrupted(*_: Any, **__: Any) -> None:
        raise asyncio.CancelledError

    def refuse(_: NodesResult) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(NodesTask, "_close", interrupted)
    saved: list[NodesResult] = []
    known = Known[NodesResult]()
    with stand_in() as server:
        has_run(server, a_pod(exit_code=0), condition="Complete")
        async with api_of(server) as api, asyncio.timeout(PATIENCE):
            nodes = NodesTask(api, KeptLog(), known=known)
            with pytest.raises(asyncio.CancelledError):
                await nodes.see_through(LAUNCHED, None, saved.append if is_handed_over else refuse, has_time=False)
            server.answers(f"{JOBS}/load", NOT_FOUND)
            outcome = await NodesTask(api, KeptLog(), known=known).after_timeout(LAUNCHED, None, saved.append)
    assert outcome is not None
    assert saved == [outcome], "it is handed over once"
    assert (outcome.is_success, outcome.values["node-1"]) == (True, {"rows": 1})


@pytest.mark.parametrize("is_known", [True, False], ids=["known before", "read now"])
async def test_runs_are_deleted_as_long_as_any_call_is_repeated(
    is_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The few seconds until SIGKILL are those of a kill alone (R5, R14)."""
    monkeypatch.setattr(launching, "ABANDON_TIMEOUT", 0.01)
    with stand_in() as server:
        has_run(server, a_pod(exit_code=0), condition="Complete")
        deletes, answer_to = [DOWN, DOWN, NOT_FOUND], server.answer_to
        monkeypatch.setattr(
            server, "answer_to", lambda request: deletes.pop(0) if request.method == "DELETE" else answer_to(request)
        )
        async with api_of(server) as api, asyncio.timeout(PATIENCE):
            known = Known[NodesResult]()
            known.outcome = RESULT if is_known else None
            log = KeptLog()
            await NodesTask(api, log, known=known).after_timeout(LAUNCHED, None, lambda _: None)
        assert requests(server, "DELETE", f"{JOBS}/load") == 3
    assert "Job etl/load is deleted." in log.notes[-1]


@pytest.mark.parametrize(("exit_code", "deletes"), [(0, 1), (3, 0)], ids=["success", "another try follows"])
async def test_a_kill_after_the_result_was_handed_over_leaves_what_a_retry_needs(
    exit_code: int, deletes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The records of nodes that have succeeded: otherwise their scripts would run again (R2, R3)."""

    async def killed(*_: Any, **__: Any) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(NodesTask, "_close", killed)
    condition = {"condition": "Failed", "reason": "BackoffLimitExceeded"} if exit_code else {"condition": "Complete"}
    saved: list[NodesResult] = []
    with stand_in() as server:
        has_run(server, a_pod(exit_code=exit_code), **condition)
        async with api_of(server) as api, asyncio.timeout(PATIENCE):
            with pytest.raises(asyncio.CancelledError):
                await NodesTask(api, KeptLog()).see_through(LAUNCHED, a_task(), saved.append)
        assert requests(server, "DELETE", f"{JOBS}/load") == deletes
    assert [one.is_success for one in saved] == [not exit_code]
