"""Following a Job: what its changes lead to, and what only the API server can confirm."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from airflow_script_provider import exceptions
from airflow_script_provider.api import client
from airflow_script_provider.api.watch import LISTED, Change
from airflow_script_provider.jobs import conclude, follow, launching
from airflow_script_provider.jobs.answers import doubt, endings, stops
from airflow_script_provider.jobs.changes import Item, Kind, Listener
from airflow_script_provider.jobs.context import JobContext
from airflow_script_provider.jobs.follow import Followed, Follower
from airflow_script_provider.kube.job import announcements, progress, termination
from airflow_script_provider.kube.job.follow_state import FollowState
from airflow_script_provider.kube.job.launched import JobRef
from airflow_script_provider.kube.job.outcomes import Outcome
from airflow_script_provider.kube.job.verdict import Cause
from airflow_script_provider.kube.names import TaskIdentity
from tests.builders import a_container, a_job, a_launched_job, a_pod, a_task, an_event, some_limits
from tests.kept_log import KeptLog
from tests.patience import PATIENCE, until
from tests.servers import Answer, WebServer
from tests.stand_in_api import a_refusal, api_of, requests, stand_in

EVENTS = "/api/v1/namespaces/etl/events"
PODS, JOB = "/api/v1/namespaces/etl/pods", "/apis/batch/v1/namespaces/etl/jobs/load"
LOG = f"{PODS}/load-x1/log"
AWAY = a_refusal(503, "ServiceUnavailable", "the server is away")
DENIED = 'Error creating: pods "load-" is forbidden: violates PodSecurity'
HOPELESS: dict[str, Any] = {"waiting": "ErrImagePull", "message": "python:9.99: not found"}
SIDECAR = [a_container(name="proxy", running=True)]
NO_PROGRAM: dict[str, Any] = {"waiting": "CreateContainerError", "message": "executable file `ruby` not found"}


class Silent:
    """A log that the test does not look at."""

    def note(self, text: str, level: int = logging.INFO) -> None:
        """A line of ours."""

    def output(self, lines: Sequence[str]) -> None:
        """Lines of the script."""


class Fed:
    """Changes that a test writes down: those at once, and those that come a moment later.

    ``then`` is called before the later ones.
    """

    def __init__(self, *items: Item, later: Sequence[Item] = (), after: float = 0.2) -> None:
        self.items, self.later, self.after = items, later, after
        self.then: Callable[[], object] = lambda: None

    @asynccontextmanager
    async def subscribe(self, ref: JobRef, listener: Listener) -> AsyncIterator[Any]:
        """Pass them on."""
        for kind, news in self.items:
            listener(kind, news)
        asyncio.get_running_loop().call_later(self.after, self.then)
        for kind, news in self.later:
            asyncio.get_running_loop().call_later(self.after, listener, kind, news)
        yield lambda *_: lambda: None


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    """What is asked as the API server, by a follower with little patience."""
    for module, name in ((client, "CALL_PATIENCE"), (follow, "DOUBT")):
        monkeypatch.setattr(module, name, 0.05)
    monkeypatch.setattr(follow, "LOOK_INTERVAL", 0.2)
    monkeypatch.setattr(endings, "ABANDON_TIMEOUT", 0.2)
    monkeypatch.setattr(launching, "REMOVAL_PATIENCE", 0.2)
    for name in ("REFUSAL_PATIENCE", "NEWS_PATIENCE"):
        monkeypatch.setattr(doubt, name, 0.2)
    for name in ("IMAGE_GRACE", "REFUSAL_GRACE", "CONFIRMATION", "NODE_PATIENCE"):
        monkeypatch.setattr(progress, name, 0.1)
    monkeypatch.setattr(termination, "MARGIN", 0.4)
    with stand_in() as server:
        yield server


async def followed(server: WebServer, changes: Fed, *, reads_logs: bool = True) -> Followed | None:
    """The Job ``etl/load`` followed for a second."""
    async with api_of(server) as api, asyncio.timeout(PATIENCE):
        limits = some_limits(schedule_timeout=0.3, startup_timeout=0.3, grace_period=0, backoff_limit=3)
        job = a_launched_job(limits=limits, launched_at=time.time(), get_logs=reads_logs)
        follower = Follower(JobContext(api, job, Silent()), changes, FollowState(), keeps_output=reads_logs)
        return await follower.follow_until(time.monotonic() + 1.0)


def ours(job: dict[str, Any]) -> Change:
    """The Job that is followed."""
    return Change(job | {"metadata": job["metadata"] | {"uid": "job-uid"}})


def ago(seconds: float) -> str:
    """A time of day in the past."""
    return (datetime.now(UTC) - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def has(server: WebServer, job: Change, *pods: dict[str, Any]) -> None:
    """What the API server has."""
    as_json = {"Content-Type": "application/json"}
    listed = {"kind": "PodList", "metadata": {"resourceVersion": "1"}, "items": list(pods)}
    server.answers(PODS, Answer(json.dumps(listed).encode(), headers=as_json))
    server.answers(JOB, Answer(json.dumps({"kind": "Job", **job.object}).encode(), headers=as_json))


def as_events(items: list[dict[str, Any]]) -> Answer:
    """Events as the API server lists them."""
    return Answer(json.dumps({"kind": "EventList", "metadata": {}, "items": items}).encode())


SILENCES: dict[Cause, list[Item]] = {
    Cause.IMAGE: [(Kind.POD, Change(a_pod(**HOPELESS)))],
    Cause.NOT_CREATED: [(Kind.POD, Change(a_pod(**NO_PROGRAM)))],
    Cause.REFUSED: [(Kind.EVENT, Change(an_event("FailedCreate", DENIED, kind="Job", name="load")))],
    Cause.STARTUP_TIMEOUT: [(Kind.POD, Change(a_pod()))],
    Cause.UNREACHABLE: [(Kind.POD, Change(a_pod(running=True, being_deleted=True)))],
    Cause.SCRIPT_FAILED: [(Kind.POD, Change(a_pod(exit_code=1, phase="Running", sidecars=SIDECAR)))],
    Cause.STOPPED: [(Kind.POD, Change(a_pod(exit_code=0, phase="Running", sidecars=SIDECAR, being_deleted=True)))],
}


@pytest.mark.parametrize(("cause", "items"), SILENCES.items(), ids=[cause.name for cause in SILENCES])
async def test_nothing_is_ended_for_its_silence_while_the_api_server_is_away(
    server: WebServer, cause: Cause, items: list[Item]
) -> None:
    """The image may have been pulled, the policy changed, or the script begun or ended meanwhile (R10, R15)."""
    server.answers(LOG, b"")
    changes = Fed((Kind.JOB, ours(a_job())), *items, (Kind.POD, LISTED))
    server.unknown = AWAY
    assert await followed(server, changes) is None
    has(server, ours(a_job()), *(news.object for kind, news in items if kind is Kind.POD and isinstance(news, Change)))
    found = await followed(server, changes)
    assert found is not None
    assert found.verdict.cause is cause


REFUSED = a_refusal(403, "Forbidden", 'pods is forbidden: User "me" cannot list resource "pods"')


@pytest.mark.parametrize(("patience", "stands"), [(0.2, True), (60.0, False)])
@pytest.mark.parametrize("cause", [Cause.STARTUP_TIMEOUT, Cause.UNREACHABLE])
async def test_a_refusal_does_not_confirm_a_silence_at_once(
    server: WebServer, monkeypatch: pytest.MonkeyPatch, cause: Cause, patience: float, stands: bool
) -> None:
    """A new API server refuses what it grants a little later, while the script runs (R10, R15)."""
    monkeypatch.setattr(doubt, "REFUSAL_PATIENCE", patience)
    server.unknown = REFUSED
    changes = Fed((Kind.JOB, ours(a_job())), *SILENCES[cause], (Kind.POD, LISTED))
    found = await followed(server, changes, reads_logs=False)
    assert (found is not None and found.verdict.cause is cause) is stands
    assert (requests(server, "DELETE") > 0) is stands


@pytest.mark.parametrize("answer", [AWAY, REFUSED], ids=["away", "forbidden"])
async def test_a_success_waits_for_its_pod_where_it_cannot_be_listed(
    server: WebServer, monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    """The pod, which the watch brings a moment later, was told to end (R1)."""
    for name in ("REFUSAL_PATIENCE", "NEWS_PATIENCE"):
        monkeypatch.setattr(doubt, name, 60.0)
    monkeypatch.setattr(stops, "EVENTS_PATIENCE", 0.2)
    server.unknown = answer
    pod = a_pod(exit_code=0, being_deleted=True, grace_period=30, phase="Succeeded")
    changes = Fed((Kind.JOB, ours(a_job("Complete"))), later=[(Kind.POD, Change(pod))])
    found = await followed(server, changes, reads_logs=False)
    assert found is not None
    assert found.verdict.cause is Cause.STOPPED


@pytest.mark.parametrize("end", [{"exit_code": 0, "phase": "Succeeded"}, {"running": True}], ids=["seen", "unseen"])
@pytest.mark.parametrize("is_away", [False, True])
async def test_a_job_that_succeeds_with_a_deleted_pod_is_not_green(
    server: WebServer, monkeypatch: pytest.MonkeyPatch, end: dict[str, Any], is_away: bool
) -> None:
    """Its script may have been told to end; neither events nor the pod can be read (R1)."""
    monkeypatch.setattr(stops, "EVENTS_PATIENCE", 0.2)
    pod, complete = a_pod(being_deleted=True, grace_period=30, **end), ours(a_job("Complete"))
    if is_away:
        server.unknown = AWAY
    else:
        has(server, complete)
    found = await followed(server, Fed((Kind.POD, Change(pod)), (Kind.JOB, complete)), reads_logs=False)
    assert found is not None
    assert (found.verdict.cause, found.verdict.is_unknown) == (Cause.STOPPED, True)


KILLED = an_event("Killing", "Stopping container script") | {
    "involvedObject": {"kind": "Pod", "name": "load-x8k2q", "fieldPath": "spec.containers{script}"}
}
OF_ANOTHER = KILLED | {"involvedObject": KILLED["involvedObject"] | {"name": "load-x8k2q-x8k2q"}}
OF_A_HELPER = KILLED | {"involvedObject": KILLED["involvedObject"] | {"fieldPath": "spec.containers{proxy}"}}


@pytest.mark.parametrize(
    ("events", "cause"),
    [
        ([OF_ANOTHER, KILLED], Cause.STOPPED),
        ([OF_ANOTHER, OF_A_HELPER], Cause.JOB_SUCCEEDED),
        ([], Cause.JOB_SUCCEEDED),
        (None, Cause.JOB_SUCCEEDED),
    ],
    ids=["stopped", "of others", "none", "not readable"],
)
async def test_a_job_that_succeeded_without_a_follower_was_not_stopped(
    server: WebServer, events: list[dict[str, Any]] | None, cause: Cause
) -> None:
    """A drain takes the triggerer and the pod, whose script ends with 0: only an event says that (R1)."""
    has(server, ours(a_job("Complete")))
    answer = a_refusal(403, "Forbidden", "events is forbidden")
    server.answers(EVENTS, answer if events is None else as_events(events))
    found = await followed(server, Fed((Kind.JOB, ours(a_job("Complete"))), (Kind.POD, LISTED)), reads_logs=False)
    assert found is not None
    assert found.verdict.cause is cause


async def test_a_wait_for_a_node_goes_on_with_the_next_follower(server: WebServer) -> None:
    """A triggerer may restart more often than a Job has time to get a node (R4, R5, R10)."""
    waiting = ours(a_job(started=ago(0)))
    has(server, waiting)
    job, state = a_launched_job(limits=some_limits(schedule_timeout=0.5, grace_period=0)), FollowState()
    seen: list[Followed | None] = []
    async with api_of(server) as api, asyncio.timeout(PATIENCE):
        while len(seen) < 10 and (not seen or seen[-1] is None):
            changes = Fed((Kind.JOB, waiting), (Kind.POD, LISTED))
            follower = Follower(JobContext(api, job, Silent()), changes, state)
            seen.append(await follower.follow_until(time.monotonic() + 0.2))
            state = FollowState.from_dict(json.loads(json.dumps(follower.state.to_dict())))
    assert len(seen) > 1
    assert seen[-1] is not None
    assert seen[-1].verdict.cause is Cause.SCHEDULE_TIMEOUT


async def test_a_change_of_a_wait_is_announced_when_its_minute_is_over(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else has to happen by then (R15)."""
    monkeypatch.setattr(announcements, "AWAITED_INTERVAL", 0.4)
    waiting = ours(a_job(started=ago(0)))
    has(server, waiting)
    reports = [(Kind.POD, Change(a_pod(unschedulable=f"{nodes} nodes"))) for nodes in (1, 2, 3)]
    log = KeptLog()
    async with api_of(server) as api, asyncio.timeout(PATIENCE):
        changes = Fed((Kind.JOB, waiting), reports[0], later=reports[1:], after=0.1)
        follower = Follower(JobContext(api, a_launched_job(limits=some_limits()), log), changes, FollowState())
        assert await follower.follow_until(time.monotonic() + 1.0) is None
    assert log.notes == [f"Pod load-x1 is waiting for a node: Unschedulable: {nodes} nodes" for nodes in (1, 3)]


@pytest.mark.parametrize(
    ("pod", "age"),
    [(a_pod(running=True, phase="Running"), 800), (a_pod(phase="Pending"), 400)],
    ids=["its deadline has passed", "its time to start has passed"],
)
async def test_a_job_that_was_resumed_between_two_followers_has_a_new_clock(
    server: WebServer, pod: dict[str, Any], age: int
) -> None:
    """Kueue may suspend and resume it while the triggerer's state waits for a worker (R4, R5)."""
    resumed = ours(a_job(started=ago(20)))
    pod["metadata"]["creationTimestamp"] = ago(20)
    has(server, resumed, pod)
    changes = Fed((Kind.JOB, resumed), (Kind.POD, Change(pod)), (Kind.POD, LISTED))
    left = FollowState(clock=time.time() - age, has_begun=None)
    async with api_of(server) as api, asyncio.timeout(PATIENCE):
        job = a_launched_job(launched_at=time.time() - age, get_logs=False)
        follower = Follower(JobContext(api, job, Silent()), changes, left, keeps_output=False)
        assert await follower.follow_until(time.monotonic() + 0.3) is None
    assert requests(server, "DELETE") == 0


DEADLINE = a_job("FailureTarget", reason="DeadlineExceeded")


async def test_a_verdict_stays_when_the_watch_breaks_afterwards(server: WebServer) -> None:
    """What is read after it are only lines of the log (R9, R10)."""
    pod, until = a_pod(running=True), threading.Event()
    has(server, ours(DEADLINE), pod)

    def body() -> Iterator[bytes]:
        yield b"2026-01-01T00:00:01.000000001Z n 0\n"
        until.wait(PATIENCE)

    server.answers(LOG, Answer(body()))
    error = exceptions.ApiForbiddenError("pods are forbidden", status=403)
    changes = Fed((Kind.POD, Change(pod)), (Kind.JOB, ours(DEADLINE)), later=[(Kind.POD, error)])
    found = await followed(server, changes)
    until.set()
    assert found is not None
    assert found.verdict.cause is Cause.DEADLINE


async def test_an_end_counts_that_comes_after_the_watch_broke(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pod ends in its grace period, so a retry begins beside nothing (R5, R10)."""
    pod, ended = a_pod(running=True, being_deleted=True), a_pod(exit_code=143, being_deleted=True, phase="Failed")
    for module, name in ((termination, "MARGIN"), (progress, "CONFIRMATION"), (progress, "NODE_PATIENCE")):
        monkeypatch.setattr(module, name, PATIENCE)
    monkeypatch.setattr(follow, "LOOK_INTERVAL", 1.0)
    has(server, ours(DEADLINE), pod)
    asyncio.get_running_loop().call_later(0.5, has, server, ours(DEADLINE), ended)
    error = exceptions.ApiUnreachableError("the watch broke", status=0)
    changes = Fed((Kind.POD, Change(pod)), (Kind.JOB, ours(DEADLINE)), later=[(Kind.POD, error)])
    found = await followed(server, changes, reads_logs=False)
    assert found is not None
    assert found.verdict.cause is Cause.DEADLINE
    assert termination.running_pod(found.view, found.verdict) is None


@pytest.mark.parametrize("reads_logs", [True, False])
@pytest.mark.parametrize(("is_there", "cause"), [(True, Cause.UNREACHABLE), (False, Cause.DEADLINE)])
async def test_a_pod_that_outlives_its_grace_period_makes_a_timeout_unknown(
    server: WebServer, is_there: bool, cause: Cause, reads_logs: bool
) -> None:
    """Its node is dead: after the timeout, another try would run beside it (R5, R10)."""
    pod = a_pod(running=True, being_deleted=True)
    has(server, ours(DEADLINE), *([pod] if is_there else []))
    server.answers(LOG, Answer(delay=1.0))
    changes = Fed((Kind.POD, Change(pod)), (Kind.JOB, ours(DEADLINE)))
    found = await followed(server, changes, reads_logs=reads_logs)
    assert found is not None
    assert found.verdict.cause is cause


@pytest.mark.parametrize("is_ended", [False, True])
async def test_that_a_pod_goes_with_the_ended_job_is_no_news(
    server: WebServer, monkeypatch: pytest.MonkeyPatch, is_ended: bool
) -> None:
    """Whether it is seen depends on the moment; a script's end is told in any case (R29)."""
    pod, log = a_pod(), KeptLog()
    has(server, ours(a_job()), pod)
    changes = Fed((Kind.JOB, ours(a_job())), (Kind.POD, Change(pod)), (Kind.POD, LISTED))
    gone = a_pod(exit_code=143) if is_ended else pod

    async def delete(api: Any, ref: JobRef) -> bool:
        has(server, ours(a_job()))
        follower._hear(Kind.POD, Change(gone, deleted=True))
        return True

    monkeypatch.setattr(launching, "delete", delete)
    monkeypatch.setattr(termination, "MARGIN", PATIENCE)
    async with api_of(server) as api, asyncio.timeout(PATIENCE):
        limits = some_limits(startup_timeout=0.3, grace_period=0)
        job = a_launched_job(limits=limits, launched_at=time.time(), get_logs=False)
        follower = Follower(JobContext(api, job, log), changes, FollowState(), keeps_output=False)
        found = await follower.follow()
    assert found.verdict.delete_job
    assert found.view.gone == {"uid-load-x1"}
    assert [note for note in log.notes if "load-x1" in note][1:] == (
        ["Pod load-x1 ended on node-1: exit code 143"] if is_ended else []
    )


async def test_what_has_begun_is_passed_on(server: WebServer) -> None:
    """The next follower knows it, although it may see another pod only (R4)."""
    async with api_of(server) as api:
        for start, pods, expected in (
            (FollowState(), [], False),
            (FollowState(has_begun=None), [], None),
            (FollowState(has_begun=True), [], True),
            (FollowState(has_begun=None), [a_pod(running=True)], True),
        ):
            follower = Follower(JobContext(api, a_launched_job(), Silent()), Fed(), start)
            for pod in pods:
                follower.view = replace(follower.view.with_pod(pod, 0.0))
            assert follower.state.has_begun is expected


@pytest.mark.parametrize("ends", [True, False])
async def test_the_end_of_the_tasks_own_time_waits_for_the_script(
    server: WebServer, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    """The Job is deleted first; a pod that stays makes the outcome unknown (R5, R10)."""
    if ends:
        monkeypatch.setattr(termination, "MARGIN", PATIENCE)
    pod = a_pod(running=True, being_deleted=True)
    has(server, ours(a_job()), pod)
    changes = Fed((Kind.JOB, ours(a_job())), (Kind.POD, Change(pod)), (Kind.POD, LISTED))
    if ends:
        changes.then, changes.later = partial(has, server, ours(a_job())), [(Kind.POD, Change(pod, deleted=True))]
    async with api_of(server) as api, asyncio.timeout(PATIENCE):
        job = a_launched_job(limits=some_limits(grace_period=0), launched_at=time.time(), get_logs=False)
        follower = Follower(JobContext(api, job, Silent()), changes, FollowState(), keeps_output=False)
        found = await follower.follow_or_end(time.monotonic())
    assert found.verdict.cause is (Cause.DEADLINE if ends else Cause.UNREACHABLE)
    assert requests(server, "DELETE") == 1


@pytest.mark.parametrize(
    ("pod", "cause"),
    [
        (a_pod(), Cause.STARTUP_TIMEOUT),
        (a_pod(unschedulable="0/2 nodes are available"), Cause.SCHEDULE_TIMEOUT),
    ],
    ids=["node", "no node"],
)
@pytest.mark.parametrize("is_deleted", [True, False])
async def test_a_pod_that_waits_is_deleted_before_the_verdict(
    server: WebServer, pod: dict[str, Any], cause: Cause, is_deleted: bool
) -> None:
    """The garbage collector may be late: an autoscaler's node would still begin the script (R10)."""
    has(server, ours(a_job()), pod)
    changes = Fed((Kind.JOB, ours(a_job())), (Kind.POD, Change(pod)), (Kind.POD, LISTED), after=0.5)
    if is_deleted:
        changes.then, changes.later = partial(has, server, ours(a_job())), [(Kind.POD, Change(pod, deleted=True))]
    found = await followed(server, changes, reads_logs=False)
    assert found is not None
    assert found.verdict.cause is cause
    assert (termination.running_pod(found.view, found.verdict) is None) is is_deleted
    assert (requests(server, "DELETE"), requests(server, "PATCH")) == (1, 0)


@pytest.mark.parametrize("job", [ours(DEADLINE), replace(ours(a_job()), deleted=True)], ids=["timeout", "deleted"])
@pytest.mark.parametrize("is_listed", [True, False])
@pytest.mark.parametrize("pods", [(), (a_pod(exit_code=1, phase="Failed"),)], ids=["none seen", "one ended"])
async def test_a_pod_that_cannot_be_looked_up_may_run(
    server: WebServer, pods: tuple[dict[str, Any], ...], job: Change, is_listed: bool
) -> None:
    """The API server refuses to list pods when the Job ends: no other try may begin (R5, R10)."""
    if is_listed:
        has(server, job, *pods)
    else:
        server.unknown = AWAY
    changes = Fed((Kind.JOB, ours(a_job())), *((Kind.POD, Change(pod)) for pod in pods), later=[(Kind.JOB, job)])
    found = await followed(server, changes, reads_logs=False)
    assert found is not None
    assert termination.may_run_on(found.view, found.verdict) is not is_listed


async def test_an_ended_attempt_does_not_decide_for_one_that_runs(server: WebServer) -> None:
    """The Job is deleted a moment after it has started another pod, which the watch has not brought (R10)."""
    ended, newer = a_pod(exit_code=1, phase="Failed"), a_pod("load-x2", running=True, created="2026-01-01T00:00:30Z")
    has(server, ours(a_job(failed=1)), ended, newer)
    server.answers(JOB, a_refusal(404, "NotFound"))
    deleted = replace(ours(a_job(failed=1)), deleted=True)
    found = await followed(server, Fed((Kind.POD, Change(ended)), (Kind.JOB, deleted)), reads_logs=False)
    assert found is not None
    assert (found.verdict.cause, found.verdict.pod_uid) == (Cause.JOB_DELETED, "uid-load-x2")
    assert termination.may_run_on(found.view, found.verdict)


@pytest.mark.parametrize("is_leaving", [False, True])
async def test_a_job_that_is_still_there_was_not_deleted(server: WebServer, is_leaving: bool) -> None:
    """A shared watch selects by labels: what loses them is reported as deleted (R10)."""
    pod, job = a_pod(running=True), a_job()
    job["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:09Z"} if is_leaving else {}
    has(server, ours(job), pod)
    changes = Fed((Kind.POD, Change(pod)), (Kind.JOB, replace(ours(a_job()), deleted=True)))
    found = await followed(server, changes, reads_logs=False)
    assert (found is not None) is is_leaving


@pytest.mark.parametrize(
    ("pods", "answer", "gone"),
    [
        ([a_pod(running=True)], None, False),
        ([], None, True),
        ([a_pod(running=True)], a_refusal(403, "Forbidden"), True),
    ],
    ids=["lost its label", "deleted", "unknown"],
)
async def test_a_pod_that_is_still_there_was_not_deleted(
    server: WebServer, pods: list[dict[str, Any]], answer: Answer | None, gone: bool
) -> None:
    """A shared watch selects by our label: what loses it is reported as deleted, and runs on (R1, R10)."""
    has(server, ours(a_job()), *pods)
    if answer is not None:
        server.answers(PODS, answer)
    running = a_pod(running=True)
    changes = Fed((Kind.JOB, ours(a_job())), (Kind.POD, Change(running)), (Kind.POD, Change(running, deleted=True)))
    async with api_of(server) as api, asyncio.timeout(PATIENCE):
        job = a_launched_job(limits=some_limits(), launched_at=time.time(), get_logs=False)
        follower = Follower(JobContext(api, job, Silent()), changes, FollowState(), keeps_output=False)
        following = asyncio.create_task(follower.follow())
        await until(lambda: requests(server, "GET", PODS) and bool(follower.view.gone) is gone, "the look")
        following.cancel()


async def test_the_end_of_a_pod_without_our_label_is_waited_for(server: WebServer) -> None:
    """No watch brings it after the Job's timeout, and no other try may begin beside it (R1, R5)."""
    running, timed_out = a_pod(running=True), ours(DEADLINE)
    has(server, timed_out, running)
    changes = Fed((Kind.JOB, ours(a_job())), (Kind.POD, Change(running)), (Kind.POD, Change(running, deleted=True)))
    async with api_of(server) as api, asyncio.timeout(PATIENCE):
        job = a_launched_job(limits=some_limits(grace_period=PATIENCE), launched_at=time.time(), get_logs=False)
        follower = Follower(JobContext(api, job, Silent()), changes, FollowState(), keeps_output=False)
        following = asyncio.create_task(follower.follow())
        await until(lambda: requests(server, "GET", PODS) > 2, "a look after the verdict")
        has(server, timed_out, a_pod(exit_code=143, being_deleted=True, phase="Failed"))
        found = await following
    assert (found.verdict.cause, found.view.gone) == (Cause.DEADLINE, frozenset())
    assert not termination.may_run_on(found.view, found.verdict)


async def test_an_orphaned_pod_is_not_forgotten(server: WebServer) -> None:
    """``kubectl delete job --cascade=orphan``: what its script ends with meanwhile is the outcome (R9, R10)."""
    pod = a_pod(running=True)
    has(server, ours(a_job()), pod)
    server.answers(JOB, a_refusal(404, "NotFound"))
    deleted = replace(ours(a_job()), deleted=True)
    changes = Fed((Kind.POD, Change(pod)), (Kind.JOB, deleted))
    assert (await followed(server, changes, reads_logs=False)).verdict.cause is Cause.JOB_DELETED  # type: ignore[union-attr]
    changes.later = [(Kind.POD, Change(a_pod(exit_code=0)))]
    assert (await followed(server, changes, reads_logs=False)).verdict.cause is Cause.SCRIPT_SUCCEEDED  # type: ignore[union-attr]


@pytest.mark.parametrize(("is_deleted", "text"), [(True, "[1]\n"), (False, "")])
async def test_the_output_of_a_deleted_pod_is_kept(server: WebServer, is_deleted: bool, text: str) -> None:
    """Also that of a success: another process could no longer read it (R13)."""
    before: dict[str, Any] = {"being_deleted": "2026-01-01T00:10:30Z", "grace_period": 30}
    pod = a_pod(exit_code=0, **(before if is_deleted else {}))
    has(server, ours(a_job()), pod)
    server.answers(LOG, Answer(b"2026-01-01T00:00:01.000000001Z [1]\n"))
    async with api_of(server) as api, asyncio.timeout(PATIENCE):
        job = a_launched_job(limits=some_limits(), launched_at=time.time())
        changes = Fed((Kind.POD, Change(a_pod(running=True))), later=[(Kind.POD, Change(pod))])
        follower = Follower(JobContext(api, job, Silent()), changes, FollowState(), keeps_output=False)
        found = await follower.follow()
        assert found.verdict.cause is Cause.SCRIPT_SUCCEEDED
        assert follower.kept_for(found.verdict).text == text


@pytest.mark.parametrize("exit_code", [0, 3])
async def test_of_a_success_beside_a_sidecar_enough_is_kept_for_its_value(server: WebServer, exit_code: int) -> None:
    """Its log goes with its pod, before a worker can read it (R12, R21)."""
    sidecars = [a_container(name="proxy", running=True)]
    value = f'["{"x" * 100_000}"]\n'
    has(server, ours(a_job()), pod := a_pod(exit_code=exit_code, phase="Running", others=sidecars))
    server.answers(LOG, Answer(f"2026-01-01T00:00:01.000000001Z {value}".encode()))
    async with api_of(server) as api, asyncio.timeout(PATIENCE):
        job = a_launched_job(limits=some_limits(), launched_at=time.time(), max_output_bytes=10)
        changes = Fed((Kind.POD, Change(a_pod(running=True, others=sidecars))), later=[(Kind.POD, Change(pod))])
        follower = Follower(JobContext(api, job, Silent()), changes, FollowState(), keeps_output=False)
        found = await follower.follow()
        assert len(follower.kept_for(found.verdict).text) == (64 * 1024 if exit_code else len(value))


@pytest.mark.parametrize(
    ("pod", "cause"),
    [
        (a_pod(exit_code=0, phase="Running", others=[a_container(name="proxy", running=True)]), Cause.SCRIPT_SUCCEEDED),
        (a_pod(exit_code=1, phase="Running", others=[a_container(name="proxy", running=True)]), Cause.SCRIPT_FAILED),
        (a_pod(running=True), None),
        (a_pod(exit_code=1, phase="Failed"), None),
    ],
    ids=["success beside a sidecar", "failure beside a sidecar", "running", "another attempt follows"],
)
async def test_a_script_that_has_just_ended_is_not_left_to_a_trigger(
    server: WebServer, pod: dict[str, Any], cause: Cause | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker has its output; a trigger would have to read it again before its pod goes (R12, R21, R31)."""
    monkeypatch.setattr(progress, "OTHERS_GRACE", 0.2)
    has(server, ours(a_job()), pod)
    server.answers(LOG, Answer(b"2026-01-01T00:00:01.000000001Z [1]\n"))
    async with api_of(server) as api, asyncio.timeout(PATIENCE):
        job = a_launched_job(limits=some_limits(backoff_limit=3), launched_at=time.time())
        changes = Fed((Kind.JOB, ours(a_job())), (Kind.POD, Change(pod)))
        follower = Follower(JobContext(api, job, Silent()), changes, FollowState())
        follower.view = follower.view.with_pod(pod, time.monotonic())
        found = await follower.follow_until(time.monotonic())
    assert (None if found is None else found.verdict.cause) is cause
    assert found is None or found.output.value().value == [1]


@pytest.mark.parametrize(
    ("pods", "is_unknown"), [([a_pod(running=True)], True), ([a_pod(exit_code=143)], False), ([], False)]
)
async def test_a_pod_that_was_not_seen_yet_may_run(
    server: WebServer, pods: list[dict[str, Any]], is_unknown: bool
) -> None:
    """The deletion of the Job may be known before its pods, after ``execution_timeout`` in a worker (R5, R10)."""
    has(server, ours(a_job()), *pods)
    server.answers(JOB, *[a_refusal(404, "NotFound")] * 50)
    job = a_launched_job(limits=some_limits(grace_period=0), launched_at=time.time())
    async with api_of(server) as api, asyncio.timeout(PATIENCE):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                conclude, "OwnChanges", lambda *_, **__: Fed((Kind.JOB, replace(ours(a_job()), deleted=True)))
            )
            outcome = await conclude.after_timeout(JobContext(api, job, Silent()))
    assert (outcome is not None) is is_unknown
    if outcome is not None:
        assert (outcome.is_unknown, outcome.retryable) == (True, False)
        assert "outcome unknown: ran longer than its execution_timeout (DeadlineExceeded)" in str(outcome.result.error)


async def timed_out(
    server: WebServer, pod: dict[str, Any], condition: dict[str, Any], saved: list[Any], **how: Any
) -> Outcome | None:
    """What becomes of the Job ``etl/load`` after the task's time; ``saved`` are handed-over outcomes."""
    changed = ours(a_job(started="2026-01-01T00:00:00Z", **condition))
    has(server, changed, pod)
    server.answers(LOG, Answer(b'2026-01-01T00:00:01.000000001Z {"rows": 1}\n'))
    limits = some_limits(grace_period=0, final_codes=frozenset({4, 5}))
    job = a_launched_job(limits=limits, launched_at=time.time(), skip_codes=frozenset({5}))
    async with api_of(server) as api, asyncio.timeout(PATIENCE):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(conclude, "OwnChanges", lambda *_, **__: Fed((Kind.JOB, changed), (Kind.POD, LISTED)))
            return await conclude.after_timeout(JobContext(api, job, Silent()), on_outcome=saved.append, **how)


@pytest.mark.parametrize(
    ("pod", "condition", "is_concluded"),
    [
        (a_pod(exit_code=0), {"condition": "Complete"}, True),
        (a_pod(exit_code=0), {}, True),
        (a_pod(exit_code=4), {"condition": "Failed", "reason": "PodFailurePolicy"}, True),
        (a_pod(exit_code=5), {"condition": "Failed", "reason": "PodFailurePolicy"}, True),
        (a_pod(exit_code=1), {"condition": "Failed", "reason": "BackoffLimitExceeded"}, False),
    ],
    ids=["success", "success of the pod", "final", "skipped", "failure"],
)
async def test_a_script_that_has_ended_by_itself_counts_after_the_tasks_time(
    server: WebServer, pod: dict[str, Any], condition: dict[str, Any], is_concluded: bool
) -> None:
    """The task may have no time left for the log: a retry would run a success again (R1, R5)."""
    saved: list[Any] = []
    outcome = await timed_out(server, pod, condition, saved, task=a_task())
    assert (outcome is not None, len(saved)) == (is_concluded, is_concluded)
    assert bool(requests(server, "DELETE", JOB)) == (not is_concluded)
    assert bool(requests(server, "PATCH", JOB)) == is_concluded
    if outcome is not None:
        assert (outcome.is_retried, outcome.value.value) == (False, {"rows": 1})


@pytest.mark.parametrize(
    ("exit_code", "task", "is_left"),
    [
        (0, a_task(), True),
        (4, a_task(), True),
        (1, a_task(), False),
        (None, a_task(), False),
        (0, a_task(try_number=3), False),
        (0, None, False),
    ],
    ids=["success", "final", "failure", "running", "in the last try", "without a task"],
)
async def test_code_has_no_time_left_for_what_its_script_ended_with(
    server: WebServer, exit_code: int | None, task: TaskIdentity | None, is_left: bool
) -> None:
    """In a ``@task`` the next try reads the outcome of its Job, which stays unread; otherwise it goes (R1, R2, R5)."""
    pod = a_pod(running=True) if exit_code is None else a_pod(exit_code=exit_code)
    failed = {"condition": "Failed", "reason": "BackoffLimitExceeded"} if exit_code else {}
    saved: list[Any] = []
    assert await timed_out(server, pod, failed, saved, task=task, alone=False) is None
    assert not saved
    assert bool(requests(server, "DELETE", JOB)) == (not is_left)
    assert requests(server, "PATCH", JOB) == 0
