"""Looking for the Job of an earlier try, from an API server that answers as it likes."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from airflow_script_provider import exceptions
from airflow_script_provider.api import client as calls
from airflow_script_provider.jobs import reattach
from airflow_script_provider.jobs.answers import doubt, left_scripts
from airflow_script_provider.jobs.begin import begin
from airflow_script_provider.jobs.reattach import ReattachedJob
from airflow_script_provider.kube.job import termination
from airflow_script_provider.kube.job.follow_state import FollowState, JobEnd, Kept
from airflow_script_provider.kube.job.launched import JobRef
from airflow_script_provider.kube.job.manifest import NO_OTHER_POD, job, pod_template
from airflow_script_provider.kube.job.verdict import Cause, Verdict
from airflow_script_provider.kube.labels import CONTROLLER_LABEL, END_ANNOTATION, READ_ANNOTATION
from airflow_script_provider.kube.logs.pod_lines import LogPosition
from airflow_script_provider.kube.nodes.manifest import owner_request
from airflow_script_provider.kube.nodes.plan import Mode, OnNodes
from tests.builders import REQUEST_DIGEST, a_plan, a_pod, a_request, a_task, a_view
from tests.kept_log import KeptLog
from tests.servers import Answer, WebServer
from tests.stand_in_api import CONFLICT, EXISTS, a_refusal, an_object, api_of, requests, stand_in

JOBS = "/apis/batch/v1/namespaces/etl/jobs"
PODS = "/api/v1/namespaces/etl/pods"
RETRY = a_request(task=a_task(try_number=2))


def a_list(*items: dict[str, Any]) -> Answer:
    """A list of these objects as an answer."""
    return Answer(json.dumps({"items": items}).encode(), headers={"Content-Type": "application/json"})


def a_running_job(request: str = REQUEST_DIGEST) -> dict[str, Any]:
    """The Job that the first try has launched."""
    first = a_request(task=a_task())
    left = job(replace(first, identity=replace(first.identity, request=request)))
    left["metadata"] |= {"uid": "uid-1", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return left | {"status": {"active": 1}}


def a_left_pod(**state: Any) -> dict[str, Any]:
    """The pod of that Job."""
    pod = a_pod(**state)
    template = pod_template(a_request(task=a_task()))["metadata"]
    pod["metadata"] |= template | {"labels": template["labels"] | {CONTROLLER_LABEL: "uid-1"}}
    return pod


@pytest.fixture
def server() -> Iterator[WebServer]:
    """What is asked as the API server."""
    with stand_in() as server:
        yield server


async def found(server: WebServer, log: KeptLog) -> ReattachedJob | None:
    """The Job that a second try takes over."""
    async with api_of(server) as api:
        return await reattach.find(api, RETRY, log, alone=True)


@pytest.mark.parametrize("ahead", [-90, 0, 90])
async def test_the_age_of_a_job_is_told_by_the_servers_clock(server: WebServer, ahead: int) -> None:
    """A worker whose clock is wrong ends no healthy Job for not starting (R5)."""
    now = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=ahead)
    left = job(a_request(task=a_task()))
    created = (now - timedelta(seconds=10)).isoformat()
    left["metadata"] |= {"uid": "uid-1", "creationTimestamp": created}
    server.answers(JOBS, Answer(json.dumps({"items": [left]}).encode(), headers={"Date": format_datetime(now, True)}))
    before = time.time()
    earlier = await found(server, KeptLog())
    assert earlier is not None
    assert earlier.clock is not None
    asked = before - 1, time.time() + 1  # the server's clock has whole seconds
    assert asked[0] - 10 <= earlier.launched_at <= asked[1] - 10
    assert asked[0] - 10 <= earlier.clock <= asked[1] - 10


@pytest.mark.parametrize(("env", "shown"), [({"KEY": "new-token"}, "ValueError: …"), ({}, "ValueError: old-token")])
async def test_of_a_job_with_unknown_values_only_the_errors_name_is_shown(
    server: WebServer, env: dict[str, str], shown: str
) -> None:
    """The values may have changed since another try launched it, and cannot be read (R26)."""
    left = job(a_request(task=a_task(), env=dict.fromkeys(env, "old-token")))
    left["metadata"] |= {"uid": "uid-1", "creationTimestamp": "2026-01-01T00:00:00Z"}
    ended = {"type": "Failed", "status": "True", "lastTransitionTime": "2026-01-01T00:01:00Z"}
    server.answers(JOBS, json.dumps({"items": [left | {"status": {"conditions": [ended]}}]}).encode())
    async with api_of(server) as api:
        context, _ = await begin(api, a_request(task=a_task(try_number=2), env=env), KeptLog(), alone=True)
    assert context.hide is not None
    assert context.hide("ValueError: old-token") == shown
    assert context.has_values is not bool(env)


ENDED = {"status": {"conditions": [{"type": "Failed", "status": "True", "lastTransitionTime": "2026-01-01T00:01:00Z"}]}}


@pytest.mark.parametrize(
    ("change", "pods", "deletes"),
    [
        ({}, [], 1),
        ({}, [a_left_pod(exit_code=1, phase="Failed"), a_left_pod()], 1),
        ({}, [a_left_pod(exit_code=0, phase="Succeeded")], 0),
        (ENDED, [], 0),
        ({"spec": NO_OTHER_POD}, [], 0),
    ],
    ids=["may start a pod", "another attempt", "its end is not reported yet", "has ended", "starts no pod"],
)
async def test_a_job_that_was_read_starts_no_pod_beside_the_next_try(
    server: WebServer, change: dict[str, Any], pods: list[dict[str, Any]], deletes: int
) -> None:
    """Its deletion failed when its outcome was read, and no try follows it any more (R2, R5)."""
    left = a_running_job() | change
    left["metadata"]["annotations"] |= {READ_ANNOTATION: "2026-01-01T00:00:30Z"}
    server.answers(JOBS, a_list(left))
    server.answers(PODS, a_list(*pods), a_list())
    server.answers(f"{JOBS}/{left['metadata']['name']}", an_object())
    log = KeptLog()
    assert await found(server, log) is None
    assert requests(server, "DELETE") == deletes
    assert any("was read but has not ended" in note for note in log.notes) is (deletes > 0)


async def test_no_try_begins_beside_a_job_that_was_read_and_stays(server: WebServer) -> None:
    """It may start its pod at any moment (R2, R5)."""
    left = a_running_job()
    left["metadata"]["annotations"] |= {READ_ANNOTATION: "2026-01-01T00:00:30Z"}
    server.answers(JOBS, a_list(left))
    server.answers(PODS, a_list())
    server.answers(f"{JOBS}/{left['metadata']['name']}", a_refusal(422, "Invalid", "no"))
    with pytest.raises(exceptions.KubernetesApiError, match="No other Job is created beside it"):
        await found(server, KeptLog())


@pytest.mark.parametrize("recovers", [False, True])
async def test_a_script_whose_end_is_on_its_job_is_not_followed_again(server: WebServer, recovers: bool) -> None:
    """The worker that was to resume its task was lost; the pod is gone, and the Job has no end of its own (R1, R2)."""
    verdict, shown = Verdict(Cause.SCRIPT_SUCCEEDED, "uid-load-x1", delete_job=True), LogPosition(complete=True)
    state, kept = FollowState({("uid-load-x1", "script"): shown}), Kept("[1]\n", 4, is_whole=True, shown=4)
    end = JobEnd(verdict, a_view(a_pod(exit_code=0)), 2.0, state, kept)
    left = a_running_job()
    left["metadata"]["annotations"] |= {END_ANNOTATION: end.to_text()}
    server.answers(JOBS, a_list(left))
    request, log = RETRY if not recovers else a_request(task=a_task()), KeptLog()
    async with api_of(server) as api:
        _, start = await begin(api, request, log, alone=True, recovers=recovers)
    assert isinstance(start, JobEnd)
    assert (start.state.logs, start.kept.shown, start.is_of_other_log) == ({}, 0, True)  # this log has no line of it
    assert (start.verdict, start.seconds) == (end.verdict, 2.0)
    assert "has ended: its outcome counts. It does not run again" in log.notes[0]
    assert {one.method for one in server.requests} == {"GET"}


async def test_what_is_taken_over_keeps_its_names(server: WebServer) -> None:
    """Its ConfigMap and Secret are those that its pod mounts."""
    left = job(a_request(task=a_task()))
    left["metadata"] |= {"uid": "uid-1", "creationTimestamp": "2026-01-01T00:00:00Z", "name": "script-load-0123456789"}
    server.answers(JOBS, json.dumps({"items": [left]}).encode())
    earlier = await found(server, KeptLog())
    assert earlier is not None
    assert (earlier.ref.name, earlier.ref.uid, earlier.try_number) == ("script-load-0123456789", "uid-1", 1)
    assert earlier.request.identity.config_map_name == "script-load-0123456789-script"


NO_RIGHT = a_refusal(403, "Forbidden", 'User "me" cannot list resource "jobs"')


async def test_without_the_right_to_list_nothing_is_launched(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Job of an earlier try may run, so the error names the right (R2, R17)."""
    monkeypatch.setattr(doubt, "REFUSAL_PATIENCE", 0.0)
    server.answers(JOBS, NO_RIGHT)
    with pytest.raises(exceptions.ApiForbiddenError, match="kubectl auth can-i list jobs -n etl"):
        await found(server, KeptLog())


async def test_a_refusal_of_the_list_is_doubted(server: WebServer) -> None:
    """An API server that restarts may refuse what it grants later: the Job goes on (R2, R14)."""
    server.answers(JOBS, NO_RIGHT, NO_RIGHT, a_list(a_running_job()))
    earlier = await found(server, KeptLog())
    assert earlier is not None
    assert earlier.ref.uid == "uid-1"


@pytest.mark.parametrize("answer", [a_refusal(403, "Forbidden"), Answer(b"{}", 503)], ids=["403", "503"])
@pytest.mark.parametrize("is_over", [False, True])
async def test_an_obsolete_job_that_cannot_be_deleted(
    server: WebServer, monkeypatch: pytest.MonkeyPatch, answer: Answer, is_over: bool
) -> None:
    """If its script may run, no other Job is created beside it (R2); how to delete it is said in any case (R22)."""
    monkeypatch.setattr(doubt, "REFUSAL_PATIENCE", 0.0)
    monkeypatch.setattr(calls, "CALL_PATIENCE", 0.0)
    ended = {"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T00:01:00Z"}
    obsolete, log = a_running_job(request="0000000000"), KeptLog()
    obsolete["status"] = {"conditions": [ended]} if is_over else {}
    server.answers(JOBS, a_list(obsolete))
    server.answers(f"{JOBS}/{obsolete['metadata']['name']}", answer)
    server.answers(PODS, a_list())
    with contextlib.nullcontext() if is_over else pytest.raises(exceptions.KubernetesApiError) as error:
        assert await found(server, log) is None
    first_line = log.notes[0] if is_over else str(error and error.value).splitlines()[0]
    assert "could not be deleted. Run: kubectl -n etl delete job script-load-0123456789" in first_line


WEBHOOKS = {"policy/injected": "1"}
"""The annotations that a webhook leaves."""


@pytest.mark.parametrize("is_pod_bare", [True, False])
async def test_a_running_job_whose_annotations_a_webhook_has_replaced(server: WebServer, is_pod_bare: bool) -> None:
    """A retry follows it; the script does not run twice (R2)."""
    left, pod = a_running_job(), a_left_pod(running=True)
    left["metadata"]["annotations"] = WEBHOOKS
    pod["metadata"] |= {"annotations": WEBHOOKS} if is_pod_bare else {}
    server.answers(JOBS, a_list(left))
    server.answers(PODS, a_list(pod))
    earlier = await found(server, KeptLog())
    assert earlier is not None
    assert (earlier.ref.uid, earlier.try_number) == ("uid-1", 1)


async def test_a_script_whose_pod_lacks_its_annotations_is_waited_for(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its Job was deleted, and a webhook has replaced the annotations of the pod (R2, R8)."""
    monkeypatch.setattr(left_scripts, "LIST_INTERVAL", 0.01)
    pod, log = a_left_pod(running=True), KeptLog()
    pod["metadata"]["annotations"] = WEBHOOKS
    server.answers(JOBS, a_list())
    server.answers(PODS, *[a_list(pod)] * 3, a_list())
    assert await found(server, log) is None
    assert requests(server, "GET", PODS) == 4
    assert sum("load-x1 of try 1" in note for note in log.notes) == 1


@pytest.mark.parametrize("is_obsolete", [True, False])
async def test_a_script_of_an_earlier_try_is_waited_for(
    server: WebServer, monkeypatch: pytest.MonkeyPatch, is_obsolete: bool
) -> None:
    """After the deletion of its Job, here or by a clear, it has its grace period; one line says so (R2, R8)."""
    monkeypatch.setattr(left_scripts, "LIST_INTERVAL", 0.01)
    obsolete, log = a_running_job(request="0000000000"), KeptLog()
    server.answers(JOBS, a_list(*[obsolete] * is_obsolete))
    server.answers(f"{JOBS}/{obsolete['metadata']['name']}", an_object())
    server.answers(PODS, *[a_list(a_left_pod(running=True))] * 3, a_list())
    assert await found(server, log) is None
    assert requests(server, "GET", PODS) == 4
    assert [note for note in log.notes if "load-x1" in note] == [
        "Waiting for pod load-x1 of try 1, whose Job is not followed: its script has not ended"
    ]


async def test_a_script_of_an_earlier_try_that_does_not_end(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing runs beside it; the next try waits for it as well (R2)."""
    monkeypatch.setattr(left_scripts, "LIST_INTERVAL", 0.01)
    monkeypatch.setattr(termination, "MARGIN", 0.1)
    server.answers(JOBS, a_list())
    server.answers(PODS, a_list(a_left_pod(running=True)))
    retry = a_request(task=a_task(try_number=2), termination_grace_period=0)
    async with api_of(server) as api:
        with pytest.raises(exceptions.LaunchError, match="may still run in load-x1") as error:
            await reattach.find(api, retry, KeptLog(), alone=True)
    assert error.value.retryable


@pytest.mark.parametrize("listed", [[], [a_pod(exit_code=1)]], ids=["none", "ended"])
async def test_a_retry_after_an_end_waits_for_nothing(server: WebServer, listed: list[dict[str, Any]]) -> None:
    """It asks once for the pods (R2)."""
    log = KeptLog()
    server.answers(JOBS, a_list())
    server.answers(PODS, a_list(*listed))
    assert await found(server, log) is None
    assert (requests(server, "GET"), log.notes) == (2, [])


async def test_a_first_try_asks_nothing(server: WebServer) -> None:
    """There is no earlier try."""
    async with api_of(server) as api:
        assert await reattach.find(api, a_request(task=a_task()), KeptLog(), alone=True) is None
    assert server.requests == []


async def test_without_an_answer_nothing_is_launched(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """To go on could run the script twice (R2)."""
    monkeypatch.setattr(calls, "CALL_PATIENCE", 0.0)
    server.answers(JOBS, Answer(b"{}", 503))
    with pytest.raises(exceptions.KubernetesApiError):
        await found(server, KeptLog())


@pytest.mark.parametrize(("answers", "creates"), [([a_refusal(409, *EXISTS)], 1), ([a_refusal(409, *CONFLICT)] * 2, 3)])
async def test_what_the_lost_worker_did_not_create(server: WebServer, answers: list[Answer], creates: int) -> None:
    """A ConfigMap that exists stays; after a conflict it does not exist, and is created (R34)."""
    log, path = KeptLog(), "/api/v1/namespaces/etl/configmaps"
    server.answers(path, *answers, *([an_object("ConfigMap", 201)] if creates > 1 else []))
    ref = JobRef("etl", "script-load-1", "uid-1")
    earlier = ReattachedJob(RETRY, ref, 1, launched_at=0.0, clock=None, has_ended=False)
    async with api_of(server) as api:
        await reattach.complete(api, earlier, log)
    assert (requests(server, "POST", path), log.notes) == (creates, [])


async def test_a_try_finds_the_job_that_it_has_launched(server: WebServer) -> None:
    """A worker follows it where no trigger could, whatever the script has become since (R2, R4)."""
    earlier, own = a_running_job(), job(a_request(task=a_task(try_number=2)))
    own["metadata"] |= {"name": "own", "uid": "uid-2", "creationTimestamp": "2026-01-01T00:01:00Z"}
    server.answers(JOBS, a_list(own, earlier))
    async with api_of(server) as api:
        found = await reattach.of_this_try(api, RETRY)
        assert (found.ref, found.try_number) == (JobRef("etl", "own", "uid-2"), 2)


ON_NODES = OnNodes(Mode.NORMAL, a_plan("node-1"))
COMPLETE = {"conditions": [{"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T00:01:00Z"}]}
OTHER = "0000000000"


@pytest.mark.parametrize(
    ("request_of_job", "status", "on_nodes", "is_found"),
    [
        (REQUEST_DIGEST, {"active": 1}, None, True),
        (REQUEST_DIGEST, COMPLETE, None, True),
        (REQUEST_DIGEST, {"active": 1}, ON_NODES, True),
        (OTHER, {"active": 1}, None, True),
        (OTHER, COMPLETE, None, False),
    ],
    ids=["running", "ended", "on nodes", "its script was changed", "of another that has ended"],
)
async def test_a_try_finds_the_job_that_it_has_reattached_to(
    server: WebServer, request_of_job: str, status: dict[str, Any], on_nodes: OnNodes | None, is_found: bool
) -> None:
    """That has the number of an earlier try; its script may have ended while no trigger followed it (R1, R2, R4)."""
    first = a_request(task=a_task())
    first = replace(first, identity=replace(first.identity, request=request_of_job))
    left = job(first if on_nodes is None else owner_request(first, on_nodes))
    left["metadata"] |= {"uid": "uid-1", "creationTimestamp": "2026-01-01T00:00:00Z"}
    server.answers(JOBS, a_list(left | {"status": status}))
    async with api_of(server) as api:
        if not is_found:
            with pytest.raises(exceptions.LaunchError, match="no unread Job of this try"):
                await reattach.of_this_try(api, RETRY)
            return
        found = await reattach.of_this_try(api, RETRY)
    assert (found.ref.uid, found.try_number) == ("uid-1", 1)
