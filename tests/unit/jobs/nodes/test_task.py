"""A script on nodes in a task that may run others, too."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_script_provider import exceptions
from airflow_script_provider.jobs import launching
from airflow_script_provider.jobs.answers import doubt
from airflow_script_provider.jobs.context import JobContext
from airflow_script_provider.jobs.nodes import choice as node_choice
from airflow_script_provider.jobs.nodes import ending, task
from airflow_script_provider.jobs.nodes.creating import JobCreator
from airflow_script_provider.jobs.nodes.runs import NodeRuns
from airflow_script_provider.jobs.nodes.task import NodesTask
from airflow_script_provider.kube import hiding
from airflow_script_provider.kube.job import termination
from airflow_script_provider.kube.job.manifest import job
from airflow_script_provider.kube.labels import NODE_ANNOTATION, OUTCOME_ANNOTATION, REQUEST_LABEL
from airflow_script_provider.kube.nodes import manifest
from airflow_script_provider.kube.nodes.board import NodeRun
from airflow_script_provider.kube.nodes.plan import Mode, OnNodes, Start
from airflow_script_provider.kube.nodes.selection import NodeChoice
from tests.builders import REQUEST_DIGEST, a_launched_job, a_node, a_plan, a_pod, a_request, a_task, some_limits
from tests.kept_log import KeptLog
from tests.servers import WebServer
from tests.stand_in_api import a_refusal, an_object, api_of, requests, stand_in

JOBS = "/apis/batch/v1/namespaces/etl/jobs"
PODS = "/api/v1/namespaces/etl/pods"
SECRET = "/api/v1/namespaces/etl/secrets/load-env"
NO_RIGHT = 'jobs.batch is forbidden: User "x" cannot use resource "jobs"'
ON_NODES = OnNodes(Mode.NORMAL, a_plan("node-1"))
OF_THE_OWNER = {"uid": "job-uid", "creationTimestamp": "2026-01-01T00:00:00Z"}


def an_owner(call: str | None = None, **changes: Any) -> dict[str, Any]:
    """The owner that a try has launched, for a call with such a digest."""
    request = a_request(task=a_task(**changes), on_nodes=ON_NODES)
    owner: dict[str, Any] = job(replace(request, identity=replace(request.identity, call=call)))
    return owner


def left_owners(server: WebServer, call: str | None = None, **labels: str) -> None:
    """Let the server have an owner that the first try has left."""
    left = an_owner(call)
    left["metadata"] |= {"uid": "uid-1", "name": "left", "creationTimestamp": "2026-01-01T00:00:00Z"}
    left["metadata"]["labels"] |= labels
    server.answers(JOBS, json.dumps({"kind": "JobList", "metadata": {}, "items": [left]}).encode())


@pytest.mark.parametrize(("alone", "deletes"), [(True, 1), (False, 0)])
async def test_the_runs_of_another_request_stay_in_a_task_of_code(alone: bool, deletes: int) -> None:
    """A later run of the try may repeat it; an operator runs nothing more (R2)."""
    with stand_in() as server:
        left_owners(server, **{REQUEST_LABEL: "0000000000"})
        async with api_of(server) as api:
            request = a_request(task=a_task(try_number=2), on_nodes=ON_NODES)
            with contextlib.suppress(exceptions.ScriptProviderError):
                choice = NodeChoice(nodes=["node-1"])
                await NodesTask(api, KeptLog(), None, alone).begin(request, ON_NODES, choice, retry_failed_only=False)
        assert requests(server, "GET", JOBS) >= 1
        assert requests(server, "DELETE", JOBS) == deletes


@pytest.mark.parametrize(
    ("values", "digits", "shown"),
    [
        (["s3cr3t-1"], hiding.check_digits(["s3cr3t-1"]), "KeyError: ***"),
        (["s3cr3t-2"], hiding.check_digits(["s3cr3t-1"]), "KeyError: …"),
        (["s3cr3t-1"], "", "KeyError: …"),
        ([], "", "KeyError: s3cr3t-1"),
        (None, "", "KeyError: …"),
    ],
)
def test_a_line_is_shown_without_the_values_of_the_launch(values: Any, digits: str, shown: str) -> None:
    """Only its error's name where these are unknown: of another try, or changed since (R26, R37)."""
    assert hiding.hider_of_launched(digits, values)("KeyError: s3cr3t-1") == shown


@pytest.mark.parametrize(
    ("alone", "request_digest", "marked"), [(True, "0" * 10, 1), (False, "0" * 10, 0), (False, REQUEST_DIGEST, 1)]
)
async def test_a_success_ends_the_owners_of_its_earlier_tries(alone: bool, request_digest: str, marked: int) -> None:
    """Not those of other launches: their runs may still be under way (R2)."""
    with stand_in() as server:
        left_owners(server, **{REQUEST_LABEL: request_digest})
        server.answers(f"{JOBS}/left", an_object())
        owner = job(a_request(task=a_task(try_number=2), on_nodes=ON_NODES))
        runs: Any = SimpleNamespace(job=a_launched_job(), owner=owner)
        async with api_of(server) as api:
            await NodesTask(api, KeptLog(), None, alone)._mark_earlier(runs)
        assert requests(server, "PATCH", f"{JOBS}/left") == marked


@pytest.mark.parametrize("is_retried", [True, False])
@pytest.mark.parametrize(("within", "why"), [(4.0, r"refused to delete secrets .*"), (0.0, "no answer")])
async def test_an_owner_is_marked_also_if_its_secret_stays(
    monkeypatch: pytest.MonkeyPatch, within: float, why: str, is_retried: bool
) -> None:
    """Otherwise the next try would take over its failure, and run nothing (R1, R2)."""
    monkeypatch.setattr(launching, "ABANDON_TIMEOUT", within)
    owner, log, launched = an_owner(), KeptLog(), a_launched_job(secret_name="load-env")
    owner["metadata"] |= OF_THE_OWNER
    with stand_in() as server:
        server.answers(f"{JOBS}/load", json.dumps(owner).encode())
        server.answers(SECRET, a_refusal(403, "Forbidden", NO_RIGHT))
        async with api_of(server) as api:
            runs = NodeRuns(JobContext(api, launched, log), owner)
            await NodesTask(api, log)._close(runs, a_task(), is_retried=is_retried)
        assert requests(server, "PATCH", f"{JOBS}/load") == 1
    how = r"Run: kubectl -n etl delete secret load-env"
    assert re.fullmatch(rf"Secret load-env stays until its Job is deleted: .*{why}\. {how}", "\n".join(log.notes))


@pytest.mark.parametrize(("theirs", "marked"), [("day-2", 1), (None, 1), ("day-1", 0)])
async def test_a_success_ends_no_owner_of_other_values(theirs: str | None, marked: int) -> None:
    """A try that skips a launch counts anew: the same number may be another call's, which is still to come (R2)."""
    with stand_in() as server:
        left_owners(server, theirs)
        server.answers(f"{JOBS}/left", an_object())
        runs: Any = SimpleNamespace(job=a_launched_job(), owner=an_owner("day-2", try_number=2))
        async with api_of(server) as api:
            await NodesTask(api, KeptLog(), None, alone=False)._mark_earlier(runs)
        assert requests(server, "PATCH", f"{JOBS}/left") == marked


@pytest.mark.parametrize(("theirs", "found"), [("day-2", ["node-1"]), (None, ["node-1"]), ("day-1", [])])
async def test_a_result_has_no_record_of_other_values(theirs: str | None, found: list[str]) -> None:
    """The same node has runs of another call with the same number (R1)."""
    left = an_owner(theirs)
    left["metadata"]["annotations"] |= {
        NODE_ANNOTATION: "node-1",
        OUTCOME_ANNOTATION: '{"index": 0, "status": "completed"}',
    }
    plan = replace(ON_NODES.plan, earlier=("node-1",))
    owner = an_owner("day-2", try_number=2)
    runs: Any = SimpleNamespace(job=a_launched_job(), owner=owner, plan=plan, seconds_left=None)
    with stand_in() as server:
        server.answers(JOBS, json.dumps({"metadata": {}, "items": [left]}).encode())
        async with api_of(server) as api:
            records = await NodesTask(api, KeptLog(), None, alone=False)._records_of_earlier(runs)
    assert list(records) == found
    assert f"task-instance%3D{a_task().digest}" in server.requests[0].path


def its_pod(node: str = "node-1", **changes: Any) -> dict[str, Any]:
    """A pod of the first try in which the script runs."""
    owner, pod = an_owner(**changes), a_pod(running=True)
    owner["metadata"]["uid"] = "uid-1"
    template = manifest.run_job(owner, Start(node, 0), 600)["spec"]["template"]["metadata"]
    pod["metadata"] |= {"labels": template["labels"], "annotations": template["annotations"]}
    return pod


@pytest.mark.parametrize(("left", "retry_failed_only"), [([], True), ([], False), ([an_owner()], True)])
async def test_a_retry_looks_for_a_script_that_may_still_run(left: list[Any], retry_failed_only: bool) -> None:
    """The records of its try may be gone, as after ``execution_timeout`` (R1, R10)."""
    request = a_request(task=a_task(try_number=2), on_nodes=ON_NODES)
    with stand_in() as server:
        server.answers(JOBS, json.dumps({"metadata": {}, "items": left}).encode())
        server.answers(PODS, json.dumps({"metadata": {}, "items": [its_pod(), its_pod(max_tries=5)]}).encode())
        async with api_of(server) as api:
            task = NodesTask(api, KeptLog())
            found = await task._earlier(request, ON_NODES.plan, retry_failed_only=retry_failed_only)
    assert list(found.running) == ["node-1"]
    assert found.others == (frozenset({"node-1"}) if left else frozenset())


async def test_a_retry_sees_a_pod_without_its_annotations() -> None:
    """A webhook may have replaced them: the script may still run there (R1, R10)."""
    request, pod, other = a_request(task=a_task(try_number=2), on_nodes=ON_NODES), its_pod(), its_pod()
    for one in (pod, other):
        one["metadata"]["annotations"] = {"sidecar/injected": "true"}
    other["metadata"]["labels"] = other["metadata"]["labels"] | {REQUEST_LABEL: "0000000000"}
    other["spec"] = other["spec"] | {"nodeName": "node-2"}
    with stand_in() as server:
        server.answers(JOBS, json.dumps({"metadata": {}, "items": []}).encode())
        server.answers(PODS, json.dumps({"metadata": {}, "items": [pod, other]}).encode())
        async with api_of(server) as api:
            found = await NodesTask(api, KeptLog())._earlier(request, ON_NODES.plan, retry_failed_only=False)
    assert list(found.running) == ["node-1"]


def ready_for_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the grace period of a script be over at once."""
    monkeypatch.setattr(termination, "MARGIN", -some_limits().grace_period)


async def test_after_its_owner_no_retry_begins_beside_a_script(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another may have deleted the owner: its pods are then in their grace period (R1, R10)."""
    ready_for_a_wait(monkeypatch)
    with stand_in() as server:
        server.answers(PODS, json.dumps({"metadata": {}, "items": [its_pod()]}).encode())
        async with api_of(server) as api:
            with pytest.raises(exceptions.NodesFailedError, match=r"outcome unknown; .* on node-1 \(pod") as error:
                await NodesTask(api, KeptLog()).owner(a_launched_job())
    assert not error.value.retryable


@pytest.mark.parametrize(
    ("expires_at", "may_be_marked", "raises"), [(1.0, True, True), (None, False, True), (None, True, False)]
)
async def test_without_records_no_retry_begins_beside_a_script(
    monkeypatch: pytest.MonkeyPatch, expires_at: float | None, may_be_marked: bool, raises: bool
) -> None:
    """Where the owner is deleted with the records, a retry could not know of it (R1, R10)."""

    async def followed(_: NodeRuns) -> None:
        """Nothing is left to follow."""

    ready_for_a_wait(monkeypatch)
    monkeypatch.setattr(NodeRuns, "follow", followed)
    owner = job(a_request(on_nodes=OnNodes(Mode.NORMAL, a_plan("node-1", expires_at=expires_at))))
    owner["metadata"] |= OF_THE_OWNER
    launched = a_launched_job(may_be_marked=may_be_marked)
    not_ended = pytest.raises(exceptions.NodesFailedError, match="may still run on node-1") if raises else None
    with stand_in() as server:
        server.answers(f"{JOBS}/load", json.dumps(owner).encode())
        server.answers(PODS, json.dumps({"metadata": {}, "items": [its_pod()]}).encode())
        async with api_of(server) as api:
            with not_ended or contextlib.nullcontext() as error:
                await NodesTask(api, KeptLog()).see_through(launched, a_task(), None)
        assert requests(server, "DELETE", f"{JOBS}/load") == raises
    assert error is None or (not error.value.retryable and error.value.result["nodes"])


@pytest.mark.parametrize("is_killed", [False, True])
async def test_what_ends_the_wait_does_not_hide_the_result(monkeypatch: pytest.MonkeyPatch, is_killed: bool) -> None:
    """Pods that may not be listed are a warning, and a kill says what became of the owner (R1, R22)."""

    async def followed(_: NodeRuns) -> None:
        """Nothing is left to follow."""

    async def killed(*_: Any) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(NodeRuns, "follow", followed)
    monkeypatch.setattr(doubt, "REFUSAL_PATIENCE", 0.0)
    if is_killed:
        monkeypatch.setattr(ending, "wait_for_scripts", killed)
    owner = job(a_request(on_nodes=OnNodes(Mode.NORMAL, a_plan("node-1", expires_at=1.0))))
    owner["metadata"] |= OF_THE_OWNER
    with stand_in() as server:
        server.answers(f"{JOBS}/load", json.dumps(owner).encode())
        server.answers(PODS, a_refusal(403, "Forbidden", "pods are forbidden"))
        async with api_of(server) as api:
            following = NodesTask(api, KeptLog()).see_through(a_launched_job(), a_task(), None)
            if is_killed:
                with pytest.raises(asyncio.CancelledError) as error:
                    await following
                assert "Job etl/load" in str(error.value.__notes__)
            else:
                assert not (await following).is_success


@pytest.mark.parametrize(
    ("theirs", "ours", "is_complete", "patched"),
    [(1.0, 4e9, False, 1), (1.0, None, False, 1), (None, None, False, 0), (1.0, 4e9, True, 0)],
)
async def test_a_retry_that_reattaches_has_its_own_time(
    theirs: float | None, ours: float | None, is_complete: bool, patched: int
) -> None:
    """That of the lost try may be over; runs that are all over need none (R2, R5)."""
    left = job(a_request(task=a_task(), on_nodes=OnNodes(Mode.NORMAL, a_plan("node-1", expires_at=theirs))))
    left["metadata"] |= {"uid": "uid-1", "name": "load", "creationTimestamp": "2026-01-01T00:00:00Z"}
    left["spec"] |= manifest.COMPLETE if is_complete else {}
    on_nodes = OnNodes(Mode.NORMAL, a_plan(expires_at=ours))
    request, log = a_request(task=a_task(try_number=2), on_nodes=on_nodes), KeptLog()
    with stand_in() as server:
        server.answers(JOBS, json.dumps({"items": [left]}).encode())
        server.answers(f"{JOBS}/load", json.dumps(left).encode())
        async with api_of(server) as api:
            begun = await NodesTask(api, log).begin(request, on_nodes, NodeChoice(nodes=["x"]), retry_failed_only=True)
        patches = [json.loads(one.body) for one in server.requests if one.method == "PATCH"]
    assert begun.ref.uid == "uid-1"
    assert [manifest.plan_of(one).expires_at for one in patches] == [ours] * patched


async def test_an_owner_that_a_new_server_refuses_is_read_again() -> None:
    """Its runs are over and recorded: one refusal does not make a failure of them (R1, R15)."""
    owner = an_owner()
    owner["metadata"]["uid"] = "job-uid"
    with stand_in() as server:
        server.answers(f"{JOBS}/load", a_refusal(403, "Forbidden", NO_RIGHT), json.dumps(owner).encode())
        async with api_of(server) as api:
            found = await NodesTask(api, KeptLog()).owner(a_launched_job())
    assert found["metadata"]["uid"] == "job-uid"


@pytest.mark.parametrize("expires_at", [None, 1.0])
async def test_a_result_does_without_the_records_of_earlier_tries(
    monkeypatch: pytest.MonkeyPatch, expires_at: float | None
) -> None:
    """They only add to a success, which a refusal or a slow answer must not lose (R1, R15)."""
    monkeypatch.setattr(doubt, "REFUSAL_PATIENCE", 60.0 if expires_at else 0.0)
    monkeypatch.setattr(task, "RESULT_MARGIN", 0.1)
    plan, log = replace(ON_NODES.plan, earlier=("node-1",), expires_at=expires_at), KeptLog()
    left = None if expires_at is None else -1.0
    runs: Any = SimpleNamespace(job=a_launched_job(), owner=an_owner(try_number=2), plan=plan, seconds_left=left)
    with stand_in() as server:
        server.answers(JOBS, a_refusal(403, "Forbidden", NO_RIGHT))
        async with api_of(server) as api:
            assert await NodesTask(api, log)._records_of_earlier(runs) == {}
    assert "The result lacks the runs of earlier tries" in str(log.lines)


@pytest.mark.parametrize(
    ("message", "creates"), [(None, 2), ("exceeded quota: q", 1), ('admission webhook "w" denied it', 1)]
)
async def test_a_create_that_a_new_server_refuses_is_sent_again(message: str | None, creates: int) -> None:
    """Not one that a quota or a policy refuses (R15, R16)."""
    owner = an_owner()
    owner["metadata"]["uid"] = "job-uid"
    refused = a_refusal(403, "Forbidden", message or NO_RIGHT)
    with stand_in() as server:
        server.answers(JOBS, refused, an_object())
        async with api_of(server) as api:
            run = NodeRun(Start("node-1", 0), "load-node-1-0", some_limits(), 0.0)
            with pytest.raises(exceptions.ApiForbiddenError) if message else contextlib.nullcontext():
                await JobCreator(api, owner).create(run, 600)
        assert requests(server, "POST", JOBS) == creates


@pytest.mark.parametrize(("answers", "names", "is_noted"), [(2, ["node-1"], False), (1, ["node-1", "node-2"], True)])
async def test_a_refusal_of_the_list_of_nodes_is_doubted(
    monkeypatch: pytest.MonkeyPatch, answers: int, names: list[str], is_noted: bool
) -> None:
    """A node that the author excludes is not taken for one refusal; unchecked ones are noted (R15, R22)."""
    if is_noted:
        monkeypatch.setattr(node_choice, "NAMED_PATIENCE", 0.0)
    found = json.dumps({"metadata": {}, "items": [a_node("node-1"), a_node("node-2", cordoned=True)]}).encode()
    plans, log = [], KeptLog()

    async def launched(_: NodesTask, request: Any, on_nodes: OnNodes, on_launch: Any) -> Any:
        plans.append(on_nodes.plan)

    monkeypatch.setattr(NodesTask, "_launch", launched)
    choice = NodeChoice(nodes=["node-1", "node-2"], include_cordoned=False)
    with stand_in() as server:
        server.answers("/api/v1/nodes", a_refusal(403, "Forbidden", NO_RIGHT), *[found] * (answers - 1))
        async with api_of(server) as api:
            await NodesTask(api, log).begin(a_request(on_nodes=ON_NODES), ON_NODES, choice, retry_failed_only=True)
    assert list(plans[0].nodes) == names
    assert ("Nodes may not be listed (403)" in str(log.notes)) is is_noted
