"""What earlier tries have left on nodes, before a retry runs its script there."""

from __future__ import annotations

import copy
import itertools
import json
from typing import Any

import pytest

from airflow_script_provider.jobs.answers import doubt, left_scripts
from airflow_script_provider.jobs.nodes.task import NodesTask
from airflow_script_provider.kube.job import termination
from airflow_script_provider.kube.job.manifest import job
from airflow_script_provider.kube.labels import READ_ANNOTATION, REQUEST_LABEL
from airflow_script_provider.kube.nodes import manifest
from airflow_script_provider.kube.nodes.plan import Mode, OnNodes, Start
from tests.builders import a_plan, a_pod, a_request, a_task, some_limits
from tests.kept_log import KeptLog
from tests.patience import PATIENCE
from tests.servers import Answer
from tests.stand_in_api import a_refusal, an_object, api_of, requests, stand_in

JOBS = "/apis/batch/v1/namespaces/etl/jobs"
PODS = "/api/v1/namespaces/etl/pods"
NO_RIGHT = 'jobs.batch is forbidden: User "x" cannot use resource "jobs"'
ON_NODES = OnNodes(Mode.NORMAL, a_plan("node-1"))
OWNER: dict[str, Any] = job(a_request(task=a_task(), on_nodes=ON_NODES))
OWNER["metadata"] |= {"uid": "uid-1", "name": "load", "creationTimestamp": "2026-01-01T00:00:00Z"}
RUN = manifest.run_job(OWNER, Start("node-1", 0), 600)
RUN["metadata"] |= {"uid": "uid-run", "name": "load-node-1-0", "creationTimestamp": "2026-01-01T00:00:00Z"}


def its_pod() -> dict[str, Any]:
    """The pod of the run, in which the script runs."""
    pod, template = a_pod(running=True), RUN["spec"]["template"]["metadata"]
    labels = template["labels"] | {"batch.kubernetes.io/controller-uid": "uid-run"}
    return pod | {"metadata": pod["metadata"] | template | {"labels": labels}}


@pytest.mark.parametrize(("retry_failed_only", "digest"), [(True, None), (False, None), (True, "0000000000")])
@pytest.mark.parametrize(
    ("answer", "pods", "running", "noted"),
    [
        (an_object(), [[], []], False, "has not ended, and no try needs its outcome. It is deleted."),
        (an_object(), [[its_pod()], [], []], False, "It is deleted."),
        (an_object(), [[its_pod()]], True, "It is deleted."),
        (a_refusal(403, "Forbidden", NO_RIGHT), [[]], True, "could not be deleted. Run: kubectl"),
    ],
    ids=["no pod", "ends", "does not end", "forbidden"],
)
async def test_a_retry_ends_what_kubernetes_may_still_begin(
    monkeypatch: pytest.MonkeyPatch,
    answer: Answer,
    pods: list[list[dict[str, Any]]],
    running: bool,
    noted: str,
    retry_failed_only: bool,
    digest: str | None,
) -> None:
    """Its own script would run beside that of the earlier try, on the same node (R1, R10)."""
    margin = PATIENCE if len(pods) > 1 else -some_limits().grace_period
    monkeypatch.setattr(termination, "MARGIN", margin)
    monkeypatch.setattr(doubt, "REFUSAL_PATIENCE", 0.0)
    monkeypatch.setattr(left_scripts, "LIST_INTERVAL", 0.0)
    read = {READ_ANNOTATION: "2026-01-01T00:00:00+00:00"}
    owner, run = copy.deepcopy(OWNER), copy.deepcopy(RUN)
    owner["metadata"]["annotations"] |= read
    pods = copy.deepcopy(pods)
    for one in (owner, run, *itertools.chain.from_iterable(pods)):
        one["metadata"]["labels"] = one["metadata"]["labels"] | ({REQUEST_LABEL: digest} if digest else {})
    request, log = a_request(task=a_task(try_number=2), on_nodes=ON_NODES), KeptLog()
    with stand_in() as server:
        server.answers(JOBS, json.dumps({"metadata": {}, "items": [owner, run]}).encode())
        server.answers(f"{JOBS}/load-node-1-0", answer)
        server.answers(PODS, *(json.dumps({"metadata": {}, "items": found}).encode() for found in pods))
        async with api_of(server) as api:
            found = await NodesTask(api, log)._earlier(request, ON_NODES.plan, retry_failed_only=retry_failed_only)
        assert requests(server, "DELETE", f"{JOBS}/load-node-1-0") == 1
    assert list(found.running) == (["node-1"] if running else [])
    assert noted in "\n".join(log.notes)
