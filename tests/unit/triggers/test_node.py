"""What a trigger leaves of the runs on nodes for the worker that goes on."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_script_provider.api import client
from airflow_script_provider.jobs.nodes.runs import NodeRuns
from airflow_script_provider.kube.job.manifest import job
from airflow_script_provider.kube.job.verdict import Cause, Verdict
from airflow_script_provider.kube.labels import OUTCOME_ANNOTATION
from airflow_script_provider.kube.nodes.plan import Mode, OnNodes, Start
from airflow_script_provider.triggers.node import NodeScriptTrigger
from tests.builders import a_launched_job, a_plan, a_record, a_request
from tests.stand_in_api import a_refusal, an_object, api_of, stand_in

OWNER = "/apis/batch/v1/namespaces/etl/jobs/load"
RUN = f"{OWNER}-node-1-0"


@pytest.mark.parametrize("is_away", [False, True])
async def test_a_record_that_could_not_be_written_is_left_to_the_worker(
    monkeypatch: pytest.MonkeyPatch, is_away: bool
) -> None:
    """It is written again; without an answer, a worker reads the pod, and not an owner without output (R1, R15)."""
    monkeypatch.setattr(client, "CALL_PATIENCE", 0.0)
    owner = job(a_request(on_nodes=OnNodes(Mode.NORMAL, a_plan("node-1"))))
    owner["metadata"] |= {"uid": "job-uid", "creationTimestamp": "2026-01-01T00:00:00Z"}
    away = a_refusal(503, "ServiceUnavailable", "the server is away")

    async def followed(runs: NodeRuns) -> None:
        run = runs.board.begin(Start("node-1", 0), "load-node-1-0", 0.0)
        run.uid = "uid-run"
        await runs._close(run, a_record(0, output="hi"), Verdict(Cause.SCRIPT_SUCCEEDED))

    monkeypatch.setattr(NodeRuns, "follow", followed)
    with stand_in() as server:
        server.answers(OWNER, json.dumps(owner).encode())
        server.answers(RUN, away, away if is_away else an_object())
        async with api_of(server) as api:
            cluster: Any = SimpleNamespace(api=api, slots=None)
            trigger = NodeScriptTrigger(job=a_launched_job(may_be_marked=True).to_dict(), kubernetes_conn_id=None)
            assert (await trigger._follow(cluster))["reason"] == ""
        patches = [(one.path, json.loads(one.body)) for one in server.requests if one.method == "PATCH"]
    assert [path for path, _ in patches] == [RUN, RUN, OWNER]
    assert json.loads(patches[1][1]["metadata"]["annotations"][OUTCOME_ANNOTATION])["output"] == "hi"
    assert "annotations" not in patches[2][1].get("metadata", {})
