"""Creating the objects of a run, on an API server that answers as it likes."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from airflow_script_provider import exceptions
from airflow_script_provider.api import client as calls
from airflow_script_provider.jobs import launching
from airflow_script_provider.kube.job import manifest
from airflow_script_provider.kube.job.launched import JobRef
from airflow_script_provider.kube.job.manifest import NO_OTHER_POD
from airflow_script_provider.kube.labels import END_ANNOTATION, LAUNCH_LABEL
from airflow_script_provider.kube.names import TaskIdentity
from tests.builders import a_request, a_task
from tests.kept_log import KeptLog
from tests.patience import PATIENCE
from tests.servers import Answer, Request, WebServer
from tests.stand_in_api import CONFLICT, EXISTS, NOT_FOUND, a_refusal, an_object, api_of, requests, stand_in

REQUEST = a_request(env={"KEY": "value"})
NAMES = REQUEST.identity
CORE, BATCH = "/api/v1/namespaces/etl", "/apis/batch/v1/namespaces/etl"
JOBS, SECRETS, CONFIG_MAPS = f"{BATCH}/jobs", f"{CORE}/secrets", f"{CORE}/configmaps"
SPEC = manifest.job(REQUEST)["spec"]
OURS = an_object(labels={LAUNCH_LABEL: NAMES.launch_id}, spec=SPEC)
MADE = an_object(status=201, spec=SPEC)
REMOVED = an_object("Status")
LOST = Answer(reset=True)
QUOTA = a_refusal(403, "Forbidden", 'jobs.batch "x" is forbidden: exceeded quota: q, requested: count/jobs.batch=1')
DOWN = a_refusal(503, "ServiceUnavailable", "restarting")


@pytest.fixture
def server() -> Iterator[WebServer]:
    """An API server that grants everything."""
    with stand_in() as server:
        for path in (JOBS, SECRETS, CONFIG_MAPS):
            server.answers(path, MADE)
        server.answers(f"{JOBS}/{NAMES.job_name}", OURS)
        server.answers(f"{CONFIG_MAPS}/{NAMES.config_map_name}", REMOVED)
        server.answers(f"{SECRETS}/{NAMES.secret_name}", REMOVED)
        yield server


@pytest.mark.parametrize("path", [JOBS, SECRETS, CONFIG_MAPS])
async def test_a_conflict_is_not_an_existing_object(server: WebServer, path: str) -> None:
    """After a conflict nothing exists, so the create is repeated until it is granted (R34)."""
    server.answers(path, a_refusal(409, *CONFLICT), a_refusal(409, *CONFLICT), MADE)
    async with api_of(server) as api:
        await launching.launch(api, REQUEST, KeptLog())
    assert requests(server, "POST", path) == 3
    assert requests(server, "DELETE") == 0


@pytest.mark.parametrize("path", [JOBS, SECRETS, CONFIG_MAPS])
async def test_conflicts_without_an_end(server: WebServer, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A launch never succeeds without one of its objects; the Job goes again (R6, R34)."""
    monkeypatch.setattr(calls, "CALL_PATIENCE", 0.0)
    server.answers(path, a_refusal(409, *CONFLICT))
    async with api_of(server) as api:
        with pytest.raises(exceptions.ApiConflictError, match="resourcequotas"):
            await launching.launch(api, REQUEST, KeptLog())
    assert requests(server, "DELETE", f"{JOBS}/") == (path != JOBS)


async def test_what_exists_is_made_again(server: WebServer) -> None:
    """A ConfigMap of a create whose answer was lost, and its successor's answer as well (R6)."""
    server.answers(CONFIG_MAPS, a_refusal(409, *EXISTS))
    async with api_of(server) as api:
        await launching.launch(api, REQUEST, KeptLog())
    assert [one.method for one in server.requests if one.path.startswith(CONFIG_MAPS)] == ["POST", "DELETE", "POST"]


async def test_what_does_not_go_away_is_not_ours(server: WebServer) -> None:
    """A finalizer keeps an old ConfigMap: the pod must not wait for one that is never made (R6)."""
    server.answers(
        CONFIG_MAPS, a_refusal(409, "AlreadyExists", 'object is being deleted: configmaps "x" already exists')
    )
    async with api_of(server) as api:
        with pytest.raises(exceptions.ApiAlreadyExistsError, match="is being deleted"):
            await launching.launch(api, REQUEST, KeptLog())
    assert requests(server, "DELETE", f"{JOBS}/") == 1


async def test_a_job_of_the_name_that_is_not_ours(server: WebServer) -> None:
    """It is not taken for ours, and not deleted (R6)."""
    server.answers(JOBS, a_refusal(409, *EXISTS))
    server.answers(f"{JOBS}/{NAMES.job_name}", an_object(labels={LAUNCH_LABEL: "another"}))
    async with api_of(server) as api:
        with pytest.raises(exceptions.LaunchError, match="exists that is not ours"):
            await launching.launch(api, REQUEST, KeptLog())
    assert requests(server, "DELETE") == 0


@pytest.mark.parametrize("answer", [OURS, a_refusal(403), an_object(labels={LAUNCH_LABEL: NAMES.launch_id}, spec={})])
async def test_a_request_that_was_launched_already(
    server: WebServer, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its Job is neither taken for a new one, nor changed or deleted, whatever it lacks (R2, R8)."""
    monkeypatch.setattr(launching, "_launched", {NAMES.launch_id})
    server.answers(JOBS, a_refusal(409, "AlreadyExists", f'jobs.batch "{NAMES.job_name}" already exists'))
    server.answers(f"{JOBS}/{NAMES.job_name}", answer)
    server.answers(CONFIG_MAPS, QUOTA)
    words = "already exists" if answer.status == 403 else f"Job etl/{NAMES.job_name} of this request was launched"
    async with api_of(server) as api:
        with pytest.raises((exceptions.LaunchError, exceptions.ApiAlreadyExistsError), match=words) as caught:
            await launching.launch(api, REQUEST, KeptLog())
    assert "kubectl" not in str(caught.value)
    assert [(one.method, one.path.partition("?")[0]) for one in server.requests] == [
        ("POST", JOBS),
        ("GET", f"{JOBS}/{NAMES.job_name}"),
    ]


@pytest.mark.parametrize("task", [a_task(), None], ids=["a task", "other code"])
async def test_a_job_that_this_process_has_not_launched_is_its_own(
    server: WebServer, task: TaskIdentity | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy sends a create twice, or Airflow starts a try again; a process launches a request once (R2)."""
    monkeypatch.setattr(launching, "_launched", set())
    server.answers(JOBS, a_refusal(409, "AlreadyExists", f'jobs.batch "{NAMES.job_name}" already exists'))
    server.answers(f"{JOBS}/{NAMES.job_name}", OURS)
    server.answers(CONFIG_MAPS, an_object("ConfigMap", 201))
    request = a_request(task=task)
    async with api_of(server) as api:
        assert (await launching.launch(api, request, KeptLog()))["metadata"]["uid"] == "uid-1"
        with pytest.raises(exceptions.LaunchError, match="of this request was launched already"):
            await launching.launch(api, request, KeptLog())
    assert requests(server, "DELETE") == 0


@contextmanager
def answering_late(server: WebServer, monkeypatch: pytest.MonkeyPatch, *methods: str) -> Iterator[threading.Event]:
    """The server answers these methods, or all, once the event is set: at the block's end at the latest."""
    may_answer, answer_to = threading.Event(), server.answer_to

    def late_answer(request: Request) -> Answer:
        if request.method in methods or not methods:
            may_answer.wait(PATIENCE)
        return answer_to(request)

    monkeypatch.setattr(server, "answer_to", late_answer)
    try:
        yield may_answer
    finally:
        may_answer.set()


async def notes_when_cancelled(server: WebServer, then: Callable[[], None] = lambda: None) -> list[str]:
    """What is noted of a launch that is cancelled while the API server has its create."""
    async with api_of(server) as api:
        launched = asyncio.ensure_future(launching.launch(api, REQUEST, KeptLog()))
        while not requests(server, "POST", JOBS):
            await asyncio.sleep(0.01)
        launched.cancel()
        then()
        with pytest.raises(asyncio.CancelledError) as caught:
            await launched
    return caught.value.__notes__


@pytest.mark.parametrize(
    ("answers", "deletes"),
    [
        ([a_refusal(409, *EXISTS)], 0),
        ([QUOTA], 0),
        ([LOST, a_refusal(409, *EXISTS)], 1),
        ([LOST, QUOTA], 1),
        ([MADE], 1),
    ],
)
async def test_a_launch_that_is_interrupted_deletes_what_it_has_created(
    server: WebServer, answers: list[Answer], deletes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Job of an earlier launch of the request goes on (R2, R3)."""
    monkeypatch.setattr(launching, "ABANDON_TIMEOUT", PATIENCE)
    server.answers(JOBS, *answers)
    with answering_late(server, monkeypatch) as may_answer:
        notes = await notes_when_cancelled(server, then=may_answer.set)
    assert requests(server, "DELETE", f"{JOBS}/") == deletes
    assert notes == ["Job etl/x is deleted." if deletes else "No Job was created."]


async def test_a_delete_that_conflicts_is_repeated(server: WebServer) -> None:
    """A Job counts as gone where it has another uid, not where another writer was faster (R34)."""
    ref = JobRef("etl", NAMES.job_name, "uid-1")
    uid = "the UID in the precondition (1) does not match the UID in record (2)"
    server.answers(f"{JOBS}/{NAMES.job_name}", a_refusal(409, *CONFLICT), REMOVED, a_refusal(409, "Conflict", uid))
    async with api_of(server) as api:
        assert await launching.delete(api, ref)
        assert not await launching.delete(api, ref)
    assert requests(server, "DELETE") == 3


@pytest.mark.parametrize("answers", [[a_refusal(403)], [a_refusal(403), a_refusal(403)]])
async def test_a_refused_delete_is_repeated(server: WebServer, answers: list[Answer]) -> None:
    """A server that restarts may refuse for a moment, and no other process removes the Job of a killed task (R5)."""
    server.answers(f"{JOBS}/{NAMES.job_name}", *answers, REMOVED)
    async with api_of(server) as api:
        assert await launching.abandon(api, JobRef("etl", NAMES.job_name, "uid-1"))
    assert requests(server, "DELETE") == len(answers) + 1


@pytest.mark.parametrize("end", ["remove", "launch", "end_attempts", "leave_ended"])
async def test_without_an_interruption_the_end_of_a_job_is_asked_for_as_long_as_any_call(
    server: WebServer, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The few seconds until SIGKILL are those of a kill alone (R5, R14)."""
    monkeypatch.setattr(launching, "ABANDON_TIMEOUT", 0.01)
    ref, limit = JobRef("etl", NAMES.job_name, "uid-1"), {"backoffLimit": 2}
    kept = an_object(spec=NO_OTHER_POD | limit, annotations={END_ANNOTATION: "the end"})
    server.answers(f"{JOBS}/{'x' if end == 'launch' else ref.name}", DOWN, DOWN, kept)
    server.answers(CONFIG_MAPS, a_refusal(403))
    async with api_of(server) as api:
        match end:
            case "remove":
                assert await launching.remove(api, ref)
            case "launch":
                with pytest.raises(exceptions.ApiForbiddenError):
                    await launching.launch(api, REQUEST, KeptLog())
            case "end_attempts":
                await launching.end_attempts(api, ref, 2)
            case _:
                assert await launching.leave_ended(api, ref, "the end", None)
    assert requests(server, "DELETE") + requests(server, "PATCH") == 3


async def test_a_create_that_is_still_under_way_may_make_a_job(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An admission webhook takes its time, and the run does not wait for it when it is killed (R3, R6)."""
    monkeypatch.setattr(launching, "ABANDON_TIMEOUT", 2.0)
    server.answers(f"{JOBS}/{NAMES.job_name}", NOT_FOUND)
    with answering_late(server, monkeypatch, "POST"):
        (note,) = await notes_when_cancelled(server)
    assert note.startswith(f"No Job etl/{NAMES.job_name} was found. If it appears later, run: kubectl")


async def test_a_delete_that_stays_refused_has_an_end(server: WebServer) -> None:
    """The note then says how to delete the Job (R5, R17)."""
    ref = JobRef("etl", NAMES.job_name, "uid-1")
    server.answers(f"{JOBS}/{NAMES.job_name}", a_refusal(403))
    async with api_of(server) as api:
        deleted = await launching.abandon(api, ref, within=0.5)
    assert launching.fate(ref, deleted=deleted).startswith(f"Job {ref} could not be deleted. Run: kubectl")


@pytest.mark.parametrize(
    ("finalizers", "policies"),
    [
        (["example.com/keep"], ["Background", "Foreground"]),
        (["example.com/keep", "foregroundDeletion"], ["Background", "Foreground"]),
        (["foregroundDeletion"], ["Background"]),
        (["orphan"], ["Background"]),
        ([], ["Background"]),
    ],
)
async def test_the_pods_of_a_job_that_a_finalizer_holds_are_deleted(
    server: WebServer, finalizers: list[str], policies: list[str]
) -> None:
    """In the background, Kubernetes deletes the pods of a Job only once the Job itself is gone (R3, R5)."""
    ref = JobRef("etl", NAMES.job_name, "uid-1")
    held = {"kind": "Job", "metadata": {"name": ref.name, "uid": "uid-1", "finalizers": finalizers}}
    server.answers(f"{JOBS}/{NAMES.job_name}", json.dumps(held).encode())
    async with api_of(server) as api:
        assert await launching.abandon(api, ref)
    bodies = [json.loads(request.body) for request in server.requests if request.method == "DELETE"]
    assert [body["propagationPolicy"] for body in bodies] == policies
    assert {body["preconditions"]["uid"] for body in bodies} == {"uid-1"}


async def test_a_held_job_that_is_gone_meanwhile_was_deleted(server: WebServer) -> None:
    """Its finalizer may be removed between the two deletes (R5)."""
    ref = JobRef("etl", NAMES.job_name, "uid-1")
    held = {"kind": "Job", "metadata": {"name": ref.name, "uid": "uid-1", "finalizers": ["example.com/keep"]}}
    server.answers(f"{JOBS}/{NAMES.job_name}", json.dumps(held).encode(), a_refusal(404, "NotFound"))
    async with api_of(server) as api:
        assert await launching.delete(api, ref)
        assert not await launching.delete(api, ref)


@pytest.mark.parametrize("answers", [[LOST], [DOWN], [LOST, QUOTA], [DOWN, a_refusal(409, *EXISTS)]])
async def test_a_job_whose_answers_are_lost_is_found(
    server: WebServer, answers: list[Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where its own existence refuses the repeated create: the launch goes on with it (R6)."""
    monkeypatch.setattr(calls, "CALL_PATIENCE", 0.0 if len(answers) == 1 else 30.0)
    server.answers(JOBS, *answers)
    async with api_of(server) as api:
        assert JobRef.of(await launching.launch(api, REQUEST, KeptLog())).uid == "uid-1"
    assert requests(server, "POST", CONFIG_MAPS) == 1


@pytest.mark.parametrize(
    ("found", "names"),
    [
        (NOT_FOUND, "No Job etl/{0} was found. If it appears later, run: kubectl -n etl delete job {0}"),
        (DOWN, "Whether Job etl/{0} was created is unknown. Run: kubectl -n etl delete job {0}"),
        (LOST, "Whether Job etl/{0} was created is unknown. Run: kubectl -n etl delete job {0}"),
        (an_object(labels={}), "No Job etl/{0} was found. If it appears later, run: kubectl -n etl delete job {0}"),
    ],
)
async def test_a_job_of_which_nothing_is_known_is_named(
    server: WebServer, found: Answer, names: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the second line, with the command that removes it; the first line is the cause (R6)."""
    monkeypatch.setattr(calls, "CALL_PATIENCE", 0.0)
    server.answers(JOBS, LOST)
    server.answers(f"{JOBS}/{NAMES.job_name}", found)
    async with api_of(server) as api:
        with pytest.raises(exceptions.ApiUnreachableError) as caught:
            await launching.launch(api, REQUEST, KeptLog())
    first, second = str(caught.value).splitlines()
    assert first.startswith(f"no answer from the API server {server.url}: ")
    assert second == names.format(NAMES.job_name)


async def test_a_refusal_leaves_no_doubt(server: WebServer) -> None:
    """Where no answer was lost no Job is looked for."""
    server.answers(JOBS, QUOTA)
    async with api_of(server) as api:
        with pytest.raises(exceptions.ApiForbiddenError, match="exceeded quota"):
            await launching.launch(api, REQUEST, KeptLog())
    assert requests(server, "GET") == 0


async def test_a_server_that_is_not_there_leaves_no_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that was never sent has created nothing: one line says so."""
    monkeypatch.setattr(calls, "CALL_PATIENCE", 0.0)
    with stand_in() as server:
        pass
    async with api_of(server) as api:
        with pytest.raises(exceptions.ApiUnreachableError) as caught:
            await launching.launch(api, REQUEST, KeptLog())
    assert len(str(caught.value).splitlines()) == 1


WITHOUT_POLICY = an_object(status=201, spec={name: SPEC[name] for name in SPEC if name != "podFailurePolicy"})
UNKNOWN_FIELD = a_refusal(400, "BadRequest", 'strict decoding error: unknown field "spec.podFailurePolicy"')


def a_version(text: str) -> Answer:
    """An answer of /version."""
    return Answer(json.dumps({"gitVersion": text}).encode(), 200, {"Content-Type": "application/json"})


@pytest.mark.parametrize(("answer", "deletes"), [(WITHOUT_POLICY, 1), (UNKNOWN_FIELD, 0)])
async def test_an_api_server_that_is_too_old(server: WebServer, answer: Answer, deletes: int) -> None:
    """Whether it refuses or drops a field: version found and needed in one line, and nothing is left (R6, R22)."""
    server.answers(JOBS, answer)
    server.answers("/version", a_version("v1.25.3-gke.7"))
    async with api_of(server) as api:
        with pytest.raises(exceptions.LaunchError) as caught:
            await launching.launch(api, REQUEST, KeptLog())
    first = f"the API server {server.url} runs Kubernetes 1.25.3-gke.7. 1.31 or newer is needed."
    assert str(caught.value).splitlines()[0] == first
    assert requests(server, "DELETE", f"{JOBS}/") == deletes
    assert requests(server, "POST", SECRETS) == requests(server, "POST", CONFIG_MAPS) == 0


async def test_a_new_api_server_that_drops_a_field(server: WebServer) -> None:
    """By a feature gate or a webhook: the field is named, and nothing is left (R6, R22)."""
    server.answers(JOBS, WITHOUT_POLICY)
    server.answers("/version", a_version("v1.34.4"))
    async with api_of(server) as api:
        with pytest.raises(exceptions.LaunchError, match=r"1\.34\.4, did not keep spec\.podFailurePolicy of the Job"):
            await launching.launch(api, REQUEST, KeptLog())
    assert requests(server, "DELETE", f"{JOBS}/") == 1


async def test_an_api_server_that_drops_a_field_of_the_pod(server: WebServer) -> None:
    """The script runs, and the log says what its pod does not have (R6, R22)."""
    kept = {name: value for name, value in SPEC["template"]["spec"].items() if name != "shareProcessNamespace"}
    server.answers(JOBS, an_object(status=201, spec={**SPEC, "template": {"spec": kept}}))
    server.answers("/version", a_version("v1.34.4"))
    log = KeptLog()
    async with api_of(server) as api:
        await launching.launch(api, REQUEST, log)
    (note,) = log.notes
    assert "Kubernetes 1.34.4, did not keep spec.template.spec.shareProcessNamespace of the Job." in note


async def test_a_refusal_of_a_new_api_server_stays_its_own(server: WebServer) -> None:
    """Its version is not the cause (R22)."""
    server.answers(JOBS, UNKNOWN_FIELD)
    server.answers("/version", a_version("v1.34.4"))
    async with api_of(server) as api:
        with pytest.raises(exceptions.KubernetesApiError, match="unknown field") as caught:
            await launching.launch(api, REQUEST, KeptLog())
    assert "is needed" not in str(caught.value)


@pytest.mark.parametrize("answer", [an_object(), a_refusal(403)])
async def test_no_attempt_follows_a_verdict(answer: Answer) -> None:
    """The Job stays to be read, and a server that refuses the change does not end the run (R12)."""
    with stand_in() as server:
        server.answers(f"{JOBS}/load", answer)
        async with api_of(server) as api:
            await launching.end_attempts(api, JobRef("etl", "load", "uid-1"), 2)
        asked = [(request.method, request.body) for request in server.requests]
    assert asked == [("PATCH", b'{"metadata": {"uid": "uid-1"}, "spec": {"backoffLimit": 2}}')]
