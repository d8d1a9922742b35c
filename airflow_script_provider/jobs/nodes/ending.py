"""The end of the scripts on nodes, for which another run or another try waits."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from airflow_script_provider import exceptions
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.jobs import launching
from airflow_script_provider.jobs.answers.left_scripts import scripts_left
from airflow_script_provider.jobs.nodes.records import RecordWriter
from airflow_script_provider.kube.job import termination
from airflow_script_provider.kube.job.launched import LaunchedJob
from airflow_script_provider.kube.job.verdict import Verdict
from airflow_script_provider.kube.nodes import manifest, progress
from airflow_script_provider.kube.nodes.board import NodeRun
from airflow_script_provider.kube.nodes.progress import Lost
from airflow_script_provider.kube.pods import pod_status
from airflow_script_provider.kube.pods.pod_status import Pod
from airflow_script_provider.kube.wording import first_of
from airflow_script_provider.result import NodesResult
from airflow_script_provider.run_log import RunLog

LOOK_INTERVAL = 0.5
"""Seconds between two looks at what the watches have brought of a run."""


async def wait_for_scripts(api: KubernetesApi, job: LaunchedJob, outcome: NodesResult | None = None) -> None:
    """Wait for the end of the scripts of an owner that was deleted, and their records with it.

    ``outcome`` is that of the runs, None if it is unknown. Raises ``NodesFailedError``, which is
    not tried again, if a script may still run after its grace period, and ``KubernetesApiError``.
    """
    selector = manifest.runs_selector(manifest.owner_id(job.ref.name))

    async def pods() -> list[Pod]:
        found: list[Pod] = (await api.list("pods", job.ref.namespace, **selector))["items"]
        return found

    left = sorted(await scripts_left(pods, job.limits.grace_period), key=pod_status.name)
    if left:
        why = f"Job {job.ref}: outcome unknown" if outcome is None else str(outcome.error).rstrip(".")
        where = first_of([f"{manifest.node_of(pod)} (pod {pod_status.name(pod)})" for pod in left])
        raise exceptions.NodesFailedError(
            f"{why}; the script may still run on {where}, so it is not retried. "
            f"Run kubectl -n {job.ref.namespace} describe pod {pod_status.name(left[0])}.",
            result=None if outcome is None else outcome.to_dict(),
            retryable=False,
        )


async def wait_before_retry(api: KubernetesApi, job: LaunchedJob, log: RunLog, outcome: NodesResult) -> None:
    """Let no retry begin beside a script; if pods cannot be listed, the retry itself looks."""
    try:
        await wait_for_scripts(api, job, outcome)
    except exceptions.KubernetesApiError as error:
        log.note(f"The end of the scripts cannot be waited for: {error}", logging.WARNING)
    except asyncio.CancelledError as cancelled:
        cancelled.add_note(launching.fate(job.ref, deleted=True))
        raise


async def after_its_pods(
    run: NodeRun, verdict: Verdict, records: RecordWriter, look: Callable[[], Awaitable[None]], failures: int
) -> Verdict | Lost:
    """The decision about a run after the end of its pods, or after the time for that end.

    What Kubernetes would go on with is ended first. The record of that moment says that the script
    may still run: a follower that goes on from there starts no other run on the node. ``look``
    takes in what the API server has of the run, ``failures`` are earlier ones of the node.
    """
    if verdict.delete_job and termination.may_run_on(run.seen.view_of_ends, verdict):
        reasons = await records.reasons(run, verdict)
        async with records.few:
            await records.write(run, records.of(run, verdict, None, failures, reasons), verdict)
        run.seen = run.seen.ended(time.monotonic())
    await _wait_for_pods(run, verdict)
    if termination.may_run_on(run.seen.view_of_ends, verdict):
        await look()
    settled = progress.settled(run.seen, verdict, run.limits, time.monotonic())
    return verdict if settled == verdict else await records.confirmed(run, settled) or verdict


async def _wait_for_pods(run: NodeRun, verdict: Verdict) -> None:
    """Wait for the ends of a run's pods, as long as a live kubelet may take to report them.

    Meanwhile, the follower takes in what the watches bring of the run.
    """
    since = time.monotonic() if run.seen.over_since is None else run.seen.over_since
    while until := termination.wait_until(run.seen.view_of_ends, verdict, run.limits, since):
        if time.monotonic() >= until:
            return
        await asyncio.sleep(LOOK_INTERVAL)
