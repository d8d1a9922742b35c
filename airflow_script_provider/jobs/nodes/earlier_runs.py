"""Runs of earlier tries that no try follows: their scripts may still run, or may yet begin."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from functools import partial

from airflow_script_provider import exceptions
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.jobs import launching
from airflow_script_provider.jobs.answers.doubt import doubting
from airflow_script_provider.jobs.answers.left_scripts import scripts_left
from airflow_script_provider.kube.job import earlier_tries
from airflow_script_provider.kube.job.earlier_tries import Job
from airflow_script_provider.kube.job.launched import JobRef, limits_of
from airflow_script_provider.kube.job.observed.pruning import controller_of
from airflow_script_provider.kube.labels import NODES_LABEL, TASK_INSTANCE_LABEL
from airflow_script_provider.kube.names import TaskIdentity
from airflow_script_provider.kube.nodes import earlier, manifest
from airflow_script_provider.kube.pods.pod_status import Pod
from airflow_script_provider.kube.request.request import JobRequest
from airflow_script_provider.run_log import RunLog

AT_ONCE = 8
"""Jobs that are deleted at a time."""


async def still_running(api: KubernetesApi, request: JobRequest, jobs: Sequence[Job], log: RunLog) -> dict[str, str]:
    """The nodes on which the script of an earlier try may still run or begin, and why.

    ``jobs`` are all of the task instance. What may start a script there, also of another request,
    is deleted, and its pods get the time to end. Pods of the tries that were the same are listed
    afterwards: Jobs, and the records on these, may be gone. Raises ``KubernetesApiError``.
    """
    task, identity = request.identity.task, request.identity
    if task is None:
        return {}
    left = earlier.unended(jobs, task)
    few = asyncio.Semaphore(AT_ONCE)
    problems = await asyncio.gather(*(_problem_of_delete(api, job, log, few) for job in left))
    found = list(zip(left, problems, strict=True))
    undeleted = {node: problem for job, problem in found if problem and (node := manifest.node_of(job))}
    unended: list[Pod] = []
    if deleted := {job["metadata"]["uid"] for job, problem in found if not problem}:
        list_pods = partial(_pods_of, api, request.namespace, task, deleted)
        unended = await scripts_left(list_pods, limits_of(request).grace_period)
    pods = [
        pod
        for pod in await doubting(lambda: _unended_pods(api, request.namespace, task))
        if earlier_tries.is_repeated_by_launch(pod, identity) or earlier.is_bare(pod, identity.request)
    ]
    return undeleted | earlier.still_running([*unended, *pods])


async def _problem_of_delete(api: KubernetesApi, job: Job, log: RunLog, few: asyncio.Semaphore) -> str | None:
    """Delete the Job of a run; why it may still start its script, None if it is deleted."""
    ref = JobRef.of(job)
    whose = f"Job {ref} of try {earlier_tries.try_number(job)}"
    try:
        async with few:
            await doubting(lambda: launching.delete(api, ref))
    except exceptions.KubernetesApiError as error:
        log.note(f"{whose} has not ended. {launching.left_over(ref)} ({error})", logging.WARNING)
        return f"{whose} may still start the script, and could not be deleted"
    log.note(f"{whose} has not ended, and no try needs its outcome. It is deleted.")
    return None


async def _pods_of(api: KubernetesApi, namespace: str, task: TaskIdentity, jobs: Collection[str]) -> list[Pod]:
    """The pods of these Jobs, by uid, that are not known to have ended."""
    return [pod for pod in await _unended_pods(api, namespace, task) if controller_of(pod) in jobs]


async def _unended_pods(api: KubernetesApi, namespace: str, task: TaskIdentity) -> list[Pod]:
    """The pods of a task instance on nodes that are not known to have ended."""
    selector = f"{TASK_INSTANCE_LABEL}={task.digest},{NODES_LABEL}"
    phases = "status.phase!=Succeeded,status.phase!=Failed"
    found: list[Pod] = (await api.list("pods", namespace, labelSelector=selector, fieldSelector=phases))["items"]
    return found
