"""Reattaching to the Job of a try whose worker was lost: the script does not run twice."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from airflow_script_provider import exceptions
from airflow_script_provider._shielded import ABANDON_TIMEOUT
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.jobs import launching
from airflow_script_provider.jobs.answers.doubt import doubting
from airflow_script_provider.jobs.answers.left_scripts import scripts_left
from airflow_script_provider.kube import labels
from airflow_script_provider.kube.job import earlier_tries, manifest, termination
from airflow_script_provider.kube.job.earlier_tries import EarlierJobs, Job
from airflow_script_provider.kube.job.follow_state import FollowState, JobEnd, saved_end
from airflow_script_provider.kube.job.launched import JobRef, LaunchedJob, limits_of
from airflow_script_provider.kube.names import LaunchIdentity, TaskIdentity
from airflow_script_provider.kube.pods import pod_status
from airflow_script_provider.kube.pods.pod_status import Pod
from airflow_script_provider.kube.request.request import JobRequest
from airflow_script_provider.run_log import RunLog

_claims: set[tuple[str, str]] = set()
"""Jobs by the try of this process that has reattached to them: its threads may run at once."""
_claiming = threading.Lock()


@dataclass(frozen=True)
class ReattachedJob:
    """A Job of an earlier try, and the request with the identity that it was launched with.

    ``launched_at`` is when the run began, and ``clock`` when the Job's deadline began to count; it
    is None while the Job is suspended. Both are times of day of this machine in seconds since
    1970, computed from the API server's own times: the clocks of the two may differ.
    ``end`` is the script's end that a trigger saved.
    """

    request: JobRequest
    ref: JobRef
    try_number: int
    launched_at: float
    clock: float | None
    has_ended: bool
    end: JobEnd | None = None


async def find(
    api: KubernetesApi, request: JobRequest, log: RunLog, *, alone: bool, kind: str = ""
) -> ReattachedJob | None:
    """The unread Job of an earlier try that this launch repeats; obsolete Jobs are deleted.

    So is what was read, but may still start a pod. If there is nothing to repeat, no script of an
    earlier try runs any more, except in Jobs that other launches of this try may follow. A first
    try makes no request. ``alone`` means that the task launches nothing else, ``kind`` is a label
    selector of the Jobs in question where the task instance has others: their pods are not waited
    for. Raises ``LaunchError`` if a script may still run, and ``KubernetesApiError``: to go on
    without an answer might run the script twice.
    """
    task = request.identity.task
    if task is None or task.try_number <= 1:
        return None
    selector = f"{_of_task(task)}{kind and ','}{kind}"
    found = await doubting(lambda: api.list("jobs", request.namespace, labelSelector=selector))
    jobs_of_earlier = _claimed_of(found["items"], request, task.instance_id, alone=alone)
    in_vain = [] if kind else await _read_in_vain(api, request.namespace, task, found["items"])
    for job in (*jobs_of_earlier.obsolete, *in_vain):
        await _delete(api, job, log)
    if jobs_of_earlier.wanted is not None:
        return _reattached(api, request, jobs_of_earlier.wanted)
    if not kind:
        await _left_over_ended(api, request, task, jobs_of_earlier, log)
    return None


async def _read_in_vain(api: KubernetesApi, namespace: str, task: TaskIdentity, jobs: Sequence[Job]) -> list[Job]:
    """The Jobs of earlier tries whose outcome was read, but which may still start a script."""
    read = earlier_tries.read_but_not_ended(jobs, task)
    if not read:
        return []
    pods = (await doubting(lambda: api.list("pods", namespace, labelSelector=_of_task(task))))["items"]
    return [job for job in read if earlier_tries.may_start(job, pods)]


async def _left_over_ended(
    api: KubernetesApi, request: JobRequest, task: TaskIdentity, jobs: EarlierJobs, log: RunLog
) -> None:
    """Wait for the scripts of earlier tries that no launch of this try follows.

    They have a grace period after the deletion of their Jobs.
    """
    selector = _of_task(task)

    async def pods() -> list[Pod]:
        found = await api.list("pods", request.namespace, labelSelector=selector)
        return earlier_tries.pods_left_over(found["items"], jobs, task)

    def note(left: Sequence[Pod]) -> None:
        pod = max(left, key=pod_status.created_at)
        name, number = pod_status.name(pod), earlier_tries.try_number(pod)
        log.note(f"Waiting for pod {name} of try {number}, whose Job is not followed: its script has not ended")

    if left := await scripts_left(pods, limits_of(request).grace_period, note):
        what = f"{request.namespace}/{request.identity.job_name}"
        raise exceptions.LaunchError(termination.not_beside(what, max(left, key=pod_status.created_at)))


async def _jobs_of(api: KubernetesApi, namespace: str, task: TaskIdentity) -> list[Job]:
    """The Jobs of all tries, without those that are for one node."""
    selector = f"{_of_task(task)},!{labels.RUN_LABEL}"
    jobs: list[Job] = (await api.list("jobs", namespace, labelSelector=selector))["items"]
    return jobs


def _unread(jobs: Sequence[Job], task: TaskIdentity, *, before: int) -> tuple[Job, ...]:
    """The unread ones of all tries before one."""
    of_any_request = LaunchIdentity("", task=replace(task, try_number=before))
    return earlier_tries.earlier_jobs(jobs, of_any_request, alone=True).obsolete


def _of_task(task: TaskIdentity) -> str:
    return f"{labels.TASK_INSTANCE_LABEL}={task.digest}"


def _claimed_of(found: Sequence[Job], request: JobRequest, try_id: str, *, alone: bool) -> EarlierJobs:
    """What to do with these Jobs; no other launch of this try gets the wanted one as well."""
    with _claiming:
        claimed = [uid for claimant, uid in _claims if claimant == try_id]
        chosen = earlier_tries.earlier_jobs(found, request.identity, alone=alone, claimed=claimed)
        if chosen.wanted is not None and request.identity.call is not None:
            _claims.add((try_id, chosen.wanted["metadata"]["uid"]))
    return chosen


async def to_launched(api: KubernetesApi, request: JobRequest, ref: JobRef) -> tuple[LaunchedJob, FollowState]:
    """A Job that was launched before, with its launch time and its clock by the API server.

    A Job that cannot be read counts as launched now: following it then finds out why.
    """
    try:
        found = await api.get("jobs", ref.namespace, ref.name)
    except exceptions.KubernetesApiError:
        found = {"metadata": {}}
    if found["metadata"].get("uid") != ref.uid:
        return LaunchedJob.of(request, ref, time.time()), FollowState()
    earlier = _reattached(api, request, found)
    return LaunchedJob.of(request, ref, earlier.launched_at), FollowState(clock=earlier.clock, has_begun=None)


async def delete_unread(api: KubernetesApi, namespace: str, task: TaskIdentity, *, own: bool = False) -> list[str]:
    """Delete the unread Jobs of earlier tries, or with ``own`` also of this one; a note on each.

    For a task that ends before it follows one of them: no try is to do so any more.
    """
    notes: list[str] = []
    try:
        async with asyncio.timeout(ABANDON_TIMEOUT):
            for job in _unread(await _jobs_of(api, namespace, task), task, before=task.try_number + own):
                ref = JobRef.of(job)
                deleted = await launching.abandon(api, ref)
                notes.append(f"{launching.fate(ref, deleted=deleted)[:-1]}, of try {earlier_tries.try_number(job)}.")
    except (TimeoutError, exceptions.KubernetesApiError):
        notes.append(may_be_left(namespace, task))
    return notes


def may_be_left(namespace: str, task: TaskIdentity) -> str:
    """How to remove Jobs of a task that could not be listed."""
    return f"Jobs of earlier tries may be left. Run: kubectl -n {namespace} delete jobs -l {_of_task(task)}"


async def of_this_try(api: KubernetesApi, request: JobRequest) -> ReattachedJob:
    """The unread Job that this try launched, or reattached to, before it was deferred.

    Its script may have changed since. If this try launched none, a Job that runs is the one: this
    try began only when the others were deleted. Raises ``LaunchError`` if there is none, and
    ``KubernetesApiError``.
    """
    task, followed = request.identity.task, None
    if task is not None:
        found = await doubting(lambda: _jobs_of(api, request.namespace, task))
        left = _unread(found, task, before=task.try_number + 1)
        own = [job for job in found if earlier_tries.try_number(job) == task.try_number]
        wanted = earlier_tries.earlier_jobs(left, request.identity, alone=True).wanted
        running = [job for job in left if not (own or earlier_tries.has_ended(job))]
        followed = _newest([job for job in left if job in own]) or wanted or _newest(running)
    if followed is None:
        raise exceptions.LaunchError(f"namespace {request.namespace} has no unread Job of this try")
    return _reattached(api, request, followed)


def _newest(jobs: Sequence[Job]) -> Job | None:
    return max(jobs, key=lambda job: str(job["metadata"]["creationTimestamp"]), default=None)


async def complete(api: KubernetesApi, earlier: ReattachedJob, log: RunLog) -> None:
    """Create what the lost worker did not: Secret or ConfigMap, which the script waits for.

    Existing ones stay as they are. An error is only a warning: most likely nothing is missing.
    """
    if earlier.has_ended:
        return
    request, uid = earlier.request, earlier.ref.uid
    for resource, body in manifest.owned(request).items():
        try:
            await api.create(resource, request.namespace, manifest.with_owner(body, request, uid))
        except exceptions.ApiAlreadyExistsError:
            continue
        except exceptions.KubernetesApiError as error:
            log.note(f"Secret or ConfigMap of Job {earlier.ref} could not be created again: {error}", logging.WARNING)


def _reattached(api: KubernetesApi, request: JobRequest, job: Job) -> ReattachedJob:
    metadata, now = job["metadata"], api.now()
    launch_id = metadata["labels"][labels.LAUNCH_LABEL]
    on_the_clock, end = earlier_tries.seconds_on_the_clock(job, now), saved_end(job)
    identity = replace(request.identity, launch_id=launch_id)
    deadline = earlier_tries.deadline_of(job, request.deadline, request.options.timeout)
    return ReattachedJob(
        replace(request, identity=identity, deadline=deadline),
        JobRef.of(job),
        earlier_tries.try_number(job) or 0,
        launched_at=time.time() - earlier_tries.seconds_since_launch(job, now),
        clock=None if on_the_clock is None else time.time() - on_the_clock,
        has_ended=end is not None or earlier_tries.has_ended(job),
        end=end,
    )


async def _delete(api: KubernetesApi, job: Job, log: RunLog) -> None:
    ref = JobRef.of(job)
    lacks = "was read but has not ended" if earlier_tries.is_read(job) else "does not match this try"
    why = f"Job {ref} of try {earlier_tries.try_number(job)} {lacks}, and no try needs its outcome."
    try:
        await doubting(lambda: launching.delete(api, ref))
    except exceptions.KubernetesApiError as error:
        if not earlier_tries.has_ended(job):
            words = f"{launching.left_over(ref)}\n{why} No other Job is created beside it.\n{error}"
            raise error.with_message(words) from None
        log.note(f"{why} {launching.left_over(ref)} ({error})", logging.WARNING)
    else:
        log.note(f"{why} It is deleted.")
