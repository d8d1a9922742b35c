"""A script on nodes in a task that may run others, too."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_script_provider import exceptions
from airflow_script_provider.jobs.nodes.task import NodesTask
from airflow_script_provider.kube import hiding
from airflow_script_provider.kube.job.manifest import job
from airflow_script_provider.kube.labels import NODE_ANNOTATION, OUTCOME_ANNOTATION, REQUEST_LABEL
from airflow_script_provider.kube.nodes.plan import Mode, OnNodes
from airflow_script_provider.kube.nodes.selection import NodeChoice
from airflow_script_provider.result import Category
from tests.builders import REQUEST_DIGEST, a_failed_record, a_launched_job, a_plan, a_pod, a_request, a_task
from tests.servers import WebServer
from tests.stand_in_api import an_object, api_of, requests, stand_in

JOBS = "/apis/batch/v1/namespaces/etl/jobs"
ON_NODES = OnNodes(Mode.NORMAL, a_plan("node-1"))


class NoLog:
    """A log of nothing."""

    def note(self, text: str, level: int = logging.INFO) -> None:
        """Drop a line."""

    def output(self, lines: Sequence[str]) -> None:
        """Drop lines."""


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
    server.answers(JOBS, json.dumps({"items": [left]}).encode())


@pytest.mark.parametrize(("alone", "deletes"), [(True, 1), (False, 0)])
async def test_the_runs_of_another_request_stay_in_a_task_of_code(alone: bool, deletes: int) -> None:
    """A later run of the try may repeat it; an operator runs nothing more (R2)."""
    with stand_in() as server:
        left_owners(server, **{REQUEST_LABEL: "0000000000"})
        async with api_of(server) as api:
            request = a_request(task=a_task(try_number=2), on_nodes=ON_NODES)
            with contextlib.suppress(exceptions.ScriptProviderError):
                choice = NodeChoice(nodes=["node-1"])
                await NodesTask(api, NoLog(), None, alone).begin(request, ON_NODES, choice, retry_failed_only=False)
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
            await NodesTask(api, NoLog(), None, alone)._mark_earlier(runs, a_task(try_number=2))
        assert requests(server, "PATCH", f"{JOBS}/left") == marked


@pytest.mark.parametrize(("theirs", "marked"), [("day-2", 1), (None, 1), ("day-1", 0)])
async def test_a_success_ends_no_owner_of_other_values(theirs: str | None, marked: int) -> None:
    """A try that skips a launch counts anew: the same number may be another call's, which is still to come (R2)."""
    with stand_in() as server:
        left_owners(server, theirs)
        server.answers(f"{JOBS}/left", an_object())
        runs: Any = SimpleNamespace(job=a_launched_job(), owner=an_owner("day-2", try_number=2))
        async with api_of(server) as api:
            await NodesTask(api, NoLog(), None, alone=False)._mark_earlier(runs, a_task(try_number=2))
        assert requests(server, "PATCH", f"{JOBS}/left") == marked


@pytest.mark.parametrize(("theirs", "found"), [("day-2", ["node-1"]), (None, ["node-1"]), ("day-1", [])])
async def test_a_result_has_no_record_of_other_values(theirs: str | None, found: list[str]) -> None:
    """The same node has runs of another call with the same number (R1)."""
    task = a_task(try_number=2)
    left = an_owner(theirs)
    left["metadata"]["annotations"] |= {
        NODE_ANNOTATION: "node-1",
        OUTCOME_ANNOTATION: '{"index": 0, "status": "completed"}',
    }
    plan = replace(ON_NODES.plan, earlier=("node-1",))
    runs: Any = SimpleNamespace(job=a_launched_job(), owner=an_owner("day-2", try_number=2), plan=plan)
    with stand_in() as server:
        server.answers(JOBS, json.dumps({"metadata": {}, "items": [left]}).encode())
        async with api_of(server) as api:
            records = await NodesTask(api, NoLog(), None, alone=False)._records_of_earlier(runs, task)
    assert list(records) == found


@pytest.mark.parametrize("retry_failed_only", [True, False])
async def test_a_retry_looks_for_a_script_that_may_still_run(retry_failed_only: bool) -> None:
    """Its run ended because nothing was heard of its pod (R1, R10)."""
    left, pod = an_owner(), a_pod(running=True)
    silent = a_failed_record(exit_code=None, category=Category.NO_ANSWER)
    left["metadata"]["annotations"] |= {NODE_ANNOTATION: "node-1", OUTCOME_ANNOTATION: silent.to_text()}
    pod["metadata"]["annotations"] = {NODE_ANNOTATION: "node-1"}
    request = a_request(task=a_task(try_number=2), on_nodes=ON_NODES)
    with stand_in() as server:
        server.answers(JOBS, json.dumps({"metadata": {}, "items": [left]}).encode())
        server.answers("/api/v1/namespaces/etl/pods", json.dumps({"metadata": {}, "items": [pod]}).encode())
        async with api_of(server) as api:
            task = NodesTask(api, NoLog())
            found = await task._earlier(request, ON_NODES.plan, retry_failed_only=retry_failed_only)
    assert list(found.running) == ["node-1"]
    assert found.others == (frozenset({"node-1"}) if retry_failed_only else frozenset())
