"""What follows ``execution_timeout`` of a script on nodes in a worker."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest

from airflow_script_provider import exceptions
from airflow_script_provider.jobs.nodes.after_timeout import wait_for_scripts
from airflow_script_provider.kube.job.termination import MARGIN
from tests.builders import a_launched_job, a_pod, some_limits
from tests.stand_in_api import api_of, requests, stand_in

PODS = "/api/v1/namespaces/etl/pods"
OVER = a_launched_job(limits=some_limits(grace_period=-MARGIN))


@pytest.mark.parametrize(
    ("pods", "left"),
    [
        ([], None),
        ([a_pod(exit_code=143, being_deleted=True)], None),
        ([a_pod(node=None)], None),
        ([a_pod(running=True, being_deleted=True)], "load-x1"),
        ([a_pod(waiting="ContainerCreating")], "load-x1"),
    ],
)
async def test_a_script_that_does_not_end_is_not_tried_again(pods: list[dict[str, Any]], left: str | None) -> None:
    """Another try would begin beside it; the pod is named (R5, R10)."""
    refused = contextlib.nullcontext() if left is None else pytest.raises(exceptions.NodesFailedError, match=left)
    with stand_in() as server:
        server.answers(PODS, json.dumps({"metadata": {}, "items": pods}).encode())
        async with api_of(server) as api:
            with refused as error:
                await wait_for_scripts(api, OVER, poll=0)
        assert requests(server, "GET", f"{PODS}?labelSelector=airflow-script-provider") == 1
    assert error is None or not error.value.retryable
