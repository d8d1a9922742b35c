"""The mark on a Job whose outcome was read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_script_provider.jobs import read_mark
from airflow_script_provider.jobs.context import JobContext
from airflow_script_provider.kube.labels import READ_ANNOTATION
from airflow_script_provider.run_log import NoRunLog
from tests.builders import a_launched_job
from tests.stand_in_api import an_object, api_of, stand_in


@pytest.mark.parametrize(("has_running_sidecar", "change"), [(False, {}), (True, {"parallelism": 0})])
async def test_a_marked_job_starts_no_other_pod(has_running_sidecar: bool, change: dict[str, Any]) -> None:
    """While a sidecar of a success is stopped, one request marks the Job and keeps it from another pod (R2, R7)."""
    with stand_in() as server:
        server.answers("/apis/batch/v1/namespaces/etl/jobs/load", an_object())
        async with api_of(server) as api:
            context = JobContext(api, a_launched_job(may_be_marked=True, ttl_when_read=60), NoRunLog())
            await read_mark.close(context, is_retried=False, has_running_sidecar=has_running_sidecar)
    (request,) = server.requests
    body = json.loads(request.body)
    assert body["spec"] == {"ttlSecondsAfterFinished": 60} | change
    assert READ_ANNOTATION in body["metadata"]["annotations"]
