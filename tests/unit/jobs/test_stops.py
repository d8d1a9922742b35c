"""Scripts that the cluster stopped, and Jobs that must start no other attempt."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_script_provider.jobs import launching
from airflow_script_provider.jobs.changes import stopped_by_kubelet
from airflow_script_provider.kube.job.launched import JobRef
from tests.builders import a_pod, a_view, an_event
from tests.servers import Answer
from tests.stand_in_api import a_refusal, an_object, api_of, stand_in

EVENTS, JOB = "/api/v1/namespaces/etl/events", "/apis/batch/v1/namespaces/etl/jobs/load"
EVICTED = a_pod(exit_code=0, being_deleted=True, disrupted="EvictionByEvictionAPI")
DELETED = a_pod(exit_code=0, phase="Succeeded", being_deleted="2026-01-01T00:00:34Z", grace_period=30)
UID, OF_SCRIPT = "uid-load-x1", "spec.containers{script}"
KILLING, WAS_DELETED = ("Killing", "Stopping container script"), ("", "pod load-x1 was deleted")
FORBIDDEN, MISSING = a_refusal(403, "Forbidden", "no"), a_refusal(404, "NotFound", "no")


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


@pytest.mark.parametrize("answer", [an_object(), FORBIDDEN])
async def test_no_attempt_follows_a_verdict(answer: Answer) -> None:
    """The Job stays to be read, and a server that refuses the change does not end the run (R12)."""
    with stand_in() as server:
        server.answers(JOB, answer)
        async with api_of(server) as api:
            await launching.end_attempts(api, JobRef("etl", "load", "uid-1"), 2)
        asked = [(request.method, request.body) for request in server.requests]
    assert asked == [("PATCH", b'{"metadata": {"uid": "uid-1"}, "spec": {"backoffLimit": 2}}')]
