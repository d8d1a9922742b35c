"""The pod that an exec was started in."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from airflow_script_provider.execs import choose
from airflow_script_provider.execs.choose import FRESH, ChosenPod, read_again
from airflow_script_provider.kube.exec import workloads
from airflow_script_provider.kube.exec.outcome import PodLocation
from tests.stand_in_api import a_refusal, api_of, requests, stand_in

POD = "/api/v1/namespaces/shop/pods/db-0"


def a_pod(uid: str, node: str) -> dict[str, Any]:
    """A pod of a StatefulSet; the next one has its name."""
    return {"metadata": {"name": "db-0", "uid": uid}, "spec": {"nodeName": node}}


def chosen_before(seconds: float) -> ChosenPod:
    """The pod, chosen so many seconds ago."""
    location = PodLocation("shop", "db-0", "db", "db:1", "node-1", "the first")
    return ChosenPod(a_pod("uid-1", "node-1"), location, time.monotonic() - seconds)


@pytest.mark.parametrize(("age", "uid", "node", "asked"), [(0, "uid-1", "node-1", 0), (FRESH, "uid-2", "node-2", 1)])
async def test_a_start_that_took_long_may_be_in_another_pod(age: float, uid: str, node: str, asked: int) -> None:
    """Its end is then the exec's, and not that of the pod which was chosen (R2, R36)."""
    with stand_in() as server:
        server.answers(POD, json.dumps(a_pod("uid-2", "node-2")).encode())
        async with api_of(server) as api:
            found = await read_again(api, chosen_before(age))
        assert requests(server, "GET", POD) == asked
    assert (found.manifest["metadata"]["uid"], found.location.node) == (uid, node)


async def test_a_pod_that_cannot_be_read_is_the_chosen_one() -> None:
    """A script that has been started does not fail for that (R10)."""
    chosen = chosen_before(FRESH)
    with stand_in() as server:
        async with api_of(server) as api:
            assert await read_again(api, chosen) is chosen


@pytest.mark.parametrize(("refusals", "is_unread"), [(1, False), (2, True)])
async def test_a_refusal_to_read_a_pod_is_doubted_once(
    refusals: int, is_unread: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise one of eight looks would make a success unknown, and run it again (R1, R2, R14)."""
    monkeypatch.setattr(choose, "DOUBT", 0.0)
    pod = {"metadata": {"name": "api-x1", "uid": "u"}, "spec": {"containers": []}, "status": {"phase": "Running"}}
    unread, path = workloads.Gone("cannot be read"), "/api/v1/namespaces/etl/pods/api-x1"
    monkeypatch.setattr(workloads, "why_gone", lambda *_: None)
    chosen = ChosenPod(pod, PodLocation("etl", "api-x1", "api", "api:1"))
    with stand_in() as server:
        server.answers(path, *[a_refusal(403, "Forbidden")] * refusals, json.dumps(pod).encode())
        async with api_of(server) as api:
            assert await choose.why_gone(api, chosen, unread) is (unread if is_unread else None)
        assert requests(server, "GET", path) == 2
