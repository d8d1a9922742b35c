"""The end of a run on a node whose work has taken its time."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from airflow_script_provider.jobs.answers import timeouts
from airflow_script_provider.jobs.context import JobContext
from airflow_script_provider.jobs.nodes.runs import NodeRuns
from airflow_script_provider.kube.job import termination
from airflow_script_provider.kube.labels import TIMEOUT_ANNOTATION
from airflow_script_provider.result import Status
from tests.builders import a_launched_job, some_limits
from tests.kept_log import KeptLog
from tests.servers import Answer
from tests.stand_in_api import a_refusal, api_of, requests, stand_in
from tests.unit.jobs.nodes.test_runs import FIRST, JOBS, PODS, an_owner_and_a_run, its_pod

ENDED = {TIMEOUT_ANNOTATION: "600"}
NO_RIGHT = a_refusal(403, "Forbidden", 'User "u" cannot patch resource "jobs"')


@pytest.mark.parametrize("may_change", [True, False])
async def test_kubernetes_ends_a_run_or_its_job_is_deleted(monkeypatch: pytest.MonkeyPatch, may_change: bool) -> None:
    """As a single Job's: the run goes on until its Job has ended, or is over with a warning (R5, R17)."""
    monkeypatch.setattr(termination, "MARGIN", 0.0)
    monkeypatch.setattr(timeouts, "RIGHT_PATIENCE", 0.1)
    owner, body = an_owner_and_a_run(timeout=600, begins_within=1200)
    body["spec"]["activeDeadlineSeconds"] = 1800
    pod, path, log = its_pod(body, running=True), f"{JOBS}/{body['metadata']['name']}", KeptLog()
    changed = {**body, "metadata": body["metadata"] | {"annotations": body["metadata"]["annotations"] | ENDED}}
    launched = a_launched_job(limits=some_limits(grace_period=0), get_logs=False)
    with stand_in() as server:
        answer = server.answer_to
        server.answers(PODS, json.dumps({"metadata": {}, "items": [pod]}).encode())
        server.answers(f"{PODS}/load-x1/log", b"2026-01-01T00:00:01.000000000Z hi\n")
        server.answers(path, json.dumps(body).encode())

        def answer_to(request: Any) -> Answer:
            if request.method == "PATCH" and may_change:
                spec = body["spec"] | json.loads(request.body)["spec"]
                return Answer(json.dumps(changed | {"spec": spec}).encode())
            return NO_RIGHT if request.method == "PATCH" else answer(request)

        server.answer_to = answer_to  # type: ignore[method-assign]
        async with api_of(server) as api:
            runs, now = NodeRuns(JobContext(api, launched, log), owner), time.monotonic()
            runs.board.take_job(body, now - 700, 0.0)
            runs.board.take_pod(pod, now - 650)
            ((run, verdict),) = runs.board.due(now, None)
            run.is_concluding = True
            await runs._conclude(run, verdict)
        assert (requests(server, "DELETE", path) == 0) is may_change
    assert (FIRST in runs.board.runs, run.is_concluding) == (may_change, not may_change)
    assert (run.seen.view.timed_out_after == "600") is may_change
    assert may_change or runs.board.records[FIRST].status is Status.TIMEOUT
    assert ("so the Job is deleted" in str(log.notes)) is not may_change
