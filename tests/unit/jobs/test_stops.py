"""Scripts that the cluster stopped, and Jobs that must start no other attempt."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_script_provider.jobs import launching
from airflow_script_provider.jobs.changes import stopped_by_kubelet
from airflow_script_provider.kube.job.launched import JobRef
from tests.builders import a_pod, an_event
from tests.servers import Answer
from tests.stand_in_api import a_refusal, an_object, api_of, stand_in

EVENTS, JOB = "/api/v1/namespaces/etl/events", "/apis/batch/v1/namespaces/etl/jobs/load"
EVICTED = a_pod(exit_code=0, being_deleted=True, disrupted="EvictionByEvictionAPI")
FORBIDDEN, MISSING = a_refusal(403, "Forbidden", "no"), a_refusal(404, "NotFound", "no")


@pytest.mark.parametrize("answer", [FORBIDDEN, MISSING])
@pytest.mark.parametrize(
    ("pod", "stop"), [(EVICTED, ("EvictionByEvictionAPI", "the node is drained")), (a_pod(exit_code=0), None)]
)
async def test_an_eviction_counts_where_events_cannot_be_read(
    pod: dict[str, Any], answer: Answer, stop: tuple[str, str] | None
) -> None:
    """The pod's own status says that the cluster ended it, however short the script was (R1, R7)."""
    with stand_in() as server:
        server.answers(EVENTS, answer)
        async with api_of(server) as api:
            assert await stopped_by_kubelet(api, "etl", pod) == stop


async def test_an_evicted_pod_whose_script_had_ended() -> None:
    """If no event says that the kubelet stopped it, its exit code 0 is its own."""
    with stand_in() as server:
        server.answers(EVENTS, an_object("EventList"))
        async with api_of(server) as api:
            assert await stopped_by_kubelet(api, "etl", EVICTED) is None


@pytest.mark.parametrize(("code", "stop"), [(143, ("Killing", "Stopping container script")), (99, None)])
async def test_a_signal_is_explained_however_short_the_script_was(code: int, stop: tuple[str, str] | None) -> None:
    """A probe may fail in the first second (R22)."""
    event = an_event("Killing", "Stopping container script")
    event["involvedObject"]["fieldPath"] = "spec.containers{script}"
    pod = a_pod(exit_code=code)
    pod["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"] = "2026-01-01T00:00:02Z"
    with stand_in() as server:
        server.answers(EVENTS, Answer(json.dumps({"kind": "EventList", "metadata": {}, "items": [event]}).encode()))
        async with api_of(server) as api:
            assert await stopped_by_kubelet(api, "etl", pod) == stop


@pytest.mark.parametrize("answer", [an_object(), FORBIDDEN])
async def test_no_attempt_follows_a_verdict(answer: Answer) -> None:
    """The Job stays to be read, and a server that refuses the change does not end the run (R12)."""
    with stand_in() as server:
        server.answers(JOB, answer)
        async with api_of(server) as api:
            await launching.end_attempts(api, JobRef("etl", "load", "uid-1"), 2)
        asked = [(request.method, request.body) for request in server.requests]
    assert asked == [("PATCH", b'{"metadata": {"uid": "uid-1"}, "spec": {"backoffLimit": 2}}')]
