"""The end of the scripts on nodes after ``execution_timeout``, which has deleted all Jobs."""

from __future__ import annotations

import asyncio
import time

from airflow_script_provider import exceptions
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.kube.job import termination
from airflow_script_provider.kube.job.launched import LaunchedJob
from airflow_script_provider.kube.nodes import manifest
from airflow_script_provider.kube.pods import pod_stages, pod_status
from airflow_script_provider.kube.wording import first_of

POLL = 2.0
"""Seconds between two lists of the pods."""


async def wait_for_scripts(api: KubernetesApi, job: LaunchedJob, *, poll: float = POLL) -> None:
    """Wait for the end of the scripts of an owner that was deleted.

    Raises ``NodesFailedError``, which is not tried again, if a script may still run after its
    grace period, and ``KubernetesApiError``.
    """
    until = time.monotonic() + job.limits.grace_period + termination.MARGIN
    selector = manifest.runs_selector(manifest.owner_id(job.ref.name))
    while True:
        pods = (await api.list("pods", job.ref.namespace, **selector))["items"]
        left = sorted(pod_status.name(pod) for pod in pods if pod_stages.may_run(pod))
        if not left:
            return
        if time.monotonic() >= until:
            raise exceptions.NodesFailedError(
                f"execution_timeout has ended Job {job.ref}, but its scripts may still run in {first_of(left)}, so it "
                f"is not retried. Run kubectl -n {job.ref.namespace} describe pod {left[0]}.",
                retryable=False,
            )
        await asyncio.sleep(poll)
