"""The end of the scripts on nodes, for which another run or another try waits."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from airflow_script_provider import exceptions
from airflow_script_provider._shielded import ABANDON_TIMEOUT
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.jobs import launching
from airflow_script_provider.jobs.answers.doubt import is_forbidden
from airflow_script_provider.jobs.answers.left_scripts import scripts_left
from airflow_script_provider.jobs.nodes.records import RecordWriter
from airflow_script_provider.kube.job import termination
from airflow_script_provider.kube.job.launched import JobRef, LaunchedJob
from airflow_script_provider.kube.job.verdict import Cause, Verdict
from airflow_script_provider.kube.nodes import manifest, progress
from airflow_script_provider.kube.nodes.board import NodeRun
from airflow_script_provider.kube.nodes.plan import Start
from airflow_script_provider.kube.nodes.progress import Lost
from airflow_script_provider.kube.pods import pod_status
from airflow_script_provider.kube.pods.pod_status import Pod
from airflow_script_provider.kube.wording import first_of
from airflow_script_provider.result import NodesResult
from airflow_script_provider.run_log import RunLog

LOOK_INTERVAL = 0.5
"""Seconds between two looks at what the watches have brought of a run."""
END_PATIENCE = 60.0
"""Seconds for which a decision by silence waits for the end of its Job. One round of looks and
changes may take as long, because each call has its own patience."""


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


@dataclass
class Endings:
    """Decisions of runs that rest on silence, while their Jobs could not be ended."""

    _asked: dict[Start, tuple[Verdict, bool]] = field(default_factory=dict)
    _failing: dict[Start, tuple[float, float]] = field(default_factory=dict)
    _left: set[Start] = field(default_factory=set)

    def waits(self, run: NodeRun, verdict: Verdict, error: exceptions.KubernetesApiError) -> bool:
        """Whether a decision waits for the end of its Job, whose script may yet begin."""
        now = time.monotonic()
        since, last = self._failing.get(run.start, (now, now))
        if now > last + 2 * END_PATIENCE:
            since = now  # it is another decision
        self._failing[run.start] = since, now
        self._asked[run.start] = verdict, run.seen.view.has_begun
        waits = verdict.must_be_confirmed and not is_forbidden(error) and now < since + END_PATIENCE
        self._left |= set() if waits else {run.start}
        return waits

    def doubt(self, run: NodeRun, namespace: str) -> str:
        """What to do about the Job of a run that could not be ended, empty if it has ended."""
        ref = JobRef(namespace, run.name, run.uid or "")
        return f" {launching.left_over(ref)}" if run.start in self._left else ""

    def of(self, run: NodeRun, verdict: Verdict) -> Verdict:
        """The verdict; after a deletion that is ours, with its answer lost, the one of before.

        If the script has begun meanwhile, its end is unknown.
        """
        asked, had_begun = self._asked.get(run.start, (verdict, None))
        is_ours = verdict.cause is Cause.JOB_DELETED and had_begun == run.seen.view.has_begun
        return asked if is_ours else verdict


async def after_its_pods(
    run: NodeRun,
    verdict: Verdict,
    records: RecordWriter,
    look: Callable[[], Awaitable[None]],
    failures: int,
    endings: Endings,
) -> Verdict | Lost | None:
    """The decision about a run after the end of its pods, or after the time for that end.

    What Kubernetes would go on with is ended first. The record of that moment says if the script
    may still run: a follower that goes on from there starts no other run on the node. ``look``
    takes in what the API server has of the run, ``failures`` are earlier ones of the node. None if
    the decision rests on silence, and its Job cannot be ended: the run goes on for now.
    """
    verdict = endings.of(run, verdict)
    may_begin = verdict.must_be_confirmed and not verdict.by_silence  # by_silence: the script has ended
    is_to_end = may_begin or termination.may_run_on(run.seen.view_of_ends, verdict)
    error = await _end(run, verdict, records, look, failures) if verdict.delete_job and is_to_end else None
    if error is not None and endings.waits(run, verdict, error):
        return None
    await _wait_for_pods(run, verdict)
    if termination.may_run_on(run.seen.view_of_ends, verdict):
        await look()
    settled = progress.settled(run.seen, verdict, run.limits, time.monotonic())
    if error is not None:
        run.seen = run.seen.without_a_list()  # its Job may yet start a pod
    return verdict if settled == verdict else await records.confirmed(run, settled) or verdict


async def _end(
    run: NodeRun, verdict: Verdict, records: RecordWriter, look: Callable[[], Awaitable[None]], failures: int
) -> exceptions.KubernetesApiError | None:
    """Let Kubernetes go on with nothing of a run; why that is not possible.

    After a long wait for an answer, what was seen is old: the script may have begun.
    """
    record = records.of(run, verdict, None, failures, await records.reasons(run, verdict))
    async with records.few:
        since = time.monotonic()
        try:
            await records.end(run, record, verdict)
        except exceptions.KubernetesApiError as error:
            return error
    if time.monotonic() > since + ABANDON_TIMEOUT:
        await look()
    run.seen = run.seen.ended(time.monotonic())
    return None


async def _wait_for_pods(run: NodeRun, verdict: Verdict) -> None:
    """Wait for the ends of a run's pods, as long as a live kubelet may take to report them.

    Meanwhile, the follower takes in what the watches bring of the run.
    """
    since = time.monotonic() if run.seen.over_since is None else run.seen.over_since
    while until := termination.wait_until(run.seen.view_of_ends, verdict, run.limits, since):
        if time.monotonic() >= until:
            return
        await asyncio.sleep(LOOK_INTERVAL)
