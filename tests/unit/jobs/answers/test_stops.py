"""Scripts that the kubelet stopped, by the events of their pods."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import pytest

from airflow_script_provider.api import client
from airflow_script_provider.jobs.answers import stops
from airflow_script_provider.jobs.answers.stops import of_unseen_end, stopped_by_kubelet
from airflow_script_provider.kube.job.launched import JobRef
from airflow_script_provider.kube.job.verdict import Cause, Verdict
from tests.builders import a_job, a_pod, a_view, an_event
from tests.servers import Answer
from tests.stand_in_api import a_refusal, api_of, stand_in

EVENTS = "/api/v1/namespaces/etl/events"
EVICTED = a_pod(exit_code=0, being_deleted=True, disrupted="EvictionByEvictionAPI")
DELETED = a_pod(exit_code=0, phase="Succeeded", being_deleted="2026-01-01T00:00:34Z", grace_period=30)
UID, OF_SCRIPT = "uid-load-x1", "spec.containers{script}"
REF = JobRef("etl", "load", "uid-load")
KILLING, WAS_DELETED = ("Killing", "Stopping container script"), ("", "pod load-x1 was deleted")
FORBIDDEN, MISSING = a_refusal(403, "Forbidden", "no"), a_refusal(404, "NotFound", "no")
AWAY = a_refusal(503, "ServiceUnavailable", "the server is away")


def events(*reasons: str, message: str = "Stopping container script", count: int = 1) -> Answer:
    """The events of the script's container, with these reasons; the last one came so often."""
    items = [an_event(reason, message) for reason in reasons]
    for item in items[-1:]:
        item["count"] = count
    for item in items:
        item["involvedObject"]["fieldPath"] = OF_SCRIPT
    return Answer(json.dumps({"kind": "EventList", "metadata": {}, "items": items}).encode())


def short(pod: dict[str, Any]) -> dict[str, Any]:
    """The pod, whose script ran for a second."""
    copied: dict[str, Any] = json.loads(json.dumps(pod))
    copied["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"] = "2026-01-01T00:00:02Z"
    return copied


@pytest.mark.parametrize("answer", [FORBIDDEN, MISSING, events()], ids=["forbidden", "missing", "expired"])
@pytest.mark.parametrize(
    ("pod", "stop"),
    [
        (EVICTED, ("EvictionByEvictionAPI", "the node is drained")), (DELETED, WAS_DELETED),
        (short(DELETED), WAS_DELETED), (a_pod(running=True, being_deleted=True), WAS_DELETED),
        (a_pod(exit_code=0), None), (a_pod(running=True), None),
        (DELETED | {"metadata": DELETED["metadata"] | {"deletionTimestamp": "2026-01-01T00:00:41Z"}}, None),
    ],
)  # fmt: skip
async def test_an_end_from_outside_counts_where_events_do_not_say(
    pod: dict[str, Any], answer: Answer, stop: tuple[str, str] | None
) -> None:
    """The pod's own status says that something ended it, however short the script was (R1, R7)."""
    with stand_in() as server:
        server.answers(EVENTS, answer)
        async with api_of(server) as api:
            assert await stopped_by_kubelet(api, "etl", a_view(pod), UID) == stop


@pytest.mark.parametrize("pod", [EVICTED, DELETED, short(DELETED)])
@pytest.mark.parametrize(
    ("answer", "is_stopped"),
    [
        (events("Started"), False),
        (events("Killing"), True),
        (events("Started", "Killing"), True),
        (events("Started", "Unhealthy", count=20), False),
        (events("Started", "Unhealthy", count=24), True),  # the kubelet writes no more of them now
    ],
)
async def test_events_say_whether_a_pod_that_was_ended_had_done_its_work(
    pod: dict[str, Any], answer: Answer, is_stopped: bool
) -> None:
    """If those from the start on do not say that the kubelet stopped it, its exit code 0 is its own (R1).

    What ended the pod tells more than the kubelet's message.
    """
    view = a_view(pod)
    with stand_in() as server:
        server.answers(EVENTS, answer)
        async with api_of(server) as api:
            stop = await stopped_by_kubelet(api, "etl", view, UID)
    assert stop == (view.suspected_stop(UID) if is_stopped else None)


async def test_an_event_with_a_cause_of_its_own_counts_more_than_the_deletion() -> None:
    """A probe failed before the pod was deleted (R22)."""
    with stand_in() as server:
        server.answers(EVENTS, events("Killing", message="Container script failed liveness probe"))
        async with api_of(server) as api:
            stop = await stopped_by_kubelet(api, "etl", a_view(DELETED), UID)
    assert stop == ("Killing", "Container script failed liveness probe")


async def test_a_script_that_was_seen_to_end_before_the_deletion_was_not_stopped() -> None:
    """A helper still runs when the pod is deleted a moment later, and events cannot be read (R1, R12)."""
    with stand_in() as server:
        server.answers(EVENTS, FORBIDDEN)
        async with api_of(server) as api:
            for pod in (DELETED, EVICTED):
                view = a_view(a_pod(exit_code=0)).with_pod(pod, 1)
                assert await stopped_by_kubelet(api, "etl", view, UID) is None


@pytest.mark.parametrize(("code", "stop"), [(143, KILLING), (99, None)])
async def test_a_signal_is_explained_however_short_the_script_was(code: int, stop: tuple[str, str] | None) -> None:
    """A probe may fail in the first second (R22)."""
    pod = short(a_pod(exit_code=code))
    with stand_in() as server:
        server.answers(EVENTS, events("Killing"))
        async with api_of(server) as api:
            assert await stopped_by_kubelet(api, "etl", a_view(pod), UID) == stop


@pytest.mark.parametrize("pod", [a_pod(exit_code=0, phase="Running"), DELETED], ids=["by itself", "deleted"])
async def test_events_are_waited_for_while_the_server_is_away(
    pod: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A probe killed the script, which ended with 0: only its events say so (R1)."""
    monkeypatch.setattr(client, "CALL_PATIENCE", 0.05)
    with stand_in() as server:
        server.answers(EVENTS, AWAY, AWAY, AWAY, events("Killing", message="Container script failed liveness probe"))
        async with api_of(server) as api:
            stop = await stopped_by_kubelet(api, "etl", a_view(pod), UID)
    assert stop == ("Killing", "Container script failed liveness probe")


async def test_events_are_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the pod's status says then counts (R10, R15)."""
    monkeypatch.setattr(stops, "EVENTS_PATIENCE", 0.2)
    with stand_in() as server:
        server.answers(EVENTS, AWAY)
        async with api_of(server) as api:
            assert await stopped_by_kubelet(api, "etl", a_view(a_pod(exit_code=0)), UID) is None
            assert await stopped_by_kubelet(api, "etl", a_view(DELETED), UID) == WAS_DELETED


def of_pods(*reasons: tuple[str, str]) -> Answer:
    """Events of scripts' containers, one a second, each with the name of its pod."""
    items = [an_event(reason, "Stopping container script", name=name) for name, reason in reasons]
    for second, item in enumerate(items):
        item["involvedObject"]["fieldPath"] = OF_SCRIPT
        item["firstTimestamp"] = f"2026-01-01T00:00:{second:02}Z"
    return Answer(json.dumps({"kind": "EventList", "metadata": {}, "items": items}).encode())


FIRST, LAST, SEEN = "load-aaaaa", "load-bbbbb", "load-ccccc"
NONE, STARTS = of_pods(), of_pods((FIRST, "Started"), (LAST, "Started"), (SEEN, "Started"))


@pytest.mark.parametrize(
    ("killing", "started", "is_stopped"),
    [
        (of_pods((LAST, "Killing")), STARTS, True),
        (of_pods((FIRST, "Killing")), STARTS, False),
        (of_pods((FIRST, "Killing"), (LAST, "Killing")), STARTS, True),
        (of_pods((SEEN, "Killing")), STARTS, False),
        (of_pods((FIRST, "Killing")), NONE, True),
        (of_pods((FIRST, "Killing")), FORBIDDEN, True),
        (NONE, FORBIDDEN, False),
        (FORBIDDEN, FORBIDDEN, False),
    ],
    ids=["the last", "an earlier", "both", "one that was seen", "expired", "forbidden", "none", "all forbidden"],
)
async def test_only_the_stop_of_the_last_attempt_counts(killing: Answer, started: Answer, is_stopped: bool) -> None:
    """A drain stopped an earlier attempt; the one that succeeded was not seen (R1, R4)."""
    view = a_view(a_pod(SEEN, exit_code=1, phase="Failed"), job=a_job("Complete", failed=1))
    with stand_in() as server:
        server.answers(EVENTS, killing, started)
        async with api_of(server) as api:
            verdict = await of_unseen_end(api, REF, view, Verdict(Cause.JOB_SUCCEEDED))
    assert verdict == (Verdict(Cause.STOPPED, None, *KILLING) if is_stopped else Verdict(Cause.JOB_SUCCEEDED))


@pytest.mark.parametrize("pods", [(), (a_pod(LAST, running=True),)], ids=["never seen", "seen running"])
@pytest.mark.parametrize(("answer", "is_stopped"), [(of_pods((LAST, "Killing")), True), (NONE, False)])
async def test_an_exit_code_that_a_stopped_script_chose_is_not_its_own(
    pods: tuple[dict[str, Any], ...], answer: Answer, is_stopped: bool
) -> None:
    """It neither skips the task nor ends its tries: the Job's condition has only the code (R1, R4)."""
    message = f"Container script for pod etl/{LAST} failed with exit code 42 matching FailJob rule at index 1"
    view = a_view(*pods, job=a_job("Failed", reason="PodFailurePolicy", message=message, failed=1))
    failed = Verdict(Cause.JOB_FAILED, view.last_pod, "PodFailurePolicy", message)
    with stand_in() as server:
        server.answers(EVENTS, answer)
        async with api_of(server) as api:
            verdict = await of_unseen_end(api, REF, view, failed)
        asked = [unquote(request.path).partition("fieldSelector=")[2] for request in server.requests]
    assert verdict == (replace(failed, reason=KILLING[0], message=KILLING[1]) if is_stopped else failed)
    assert asked == [f"involvedObject.kind=Pod,involvedObject.name={LAST}"]
