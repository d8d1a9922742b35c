"""Marking a Job as read: until then it is kept for the next try, which may ask for its outcome."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from airflow_script_provider import exceptions
from airflow_script_provider._shielded import ABANDON_TIMEOUT
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.jobs import launching
from airflow_script_provider.jobs.answers.doubt import doubting
from airflow_script_provider.jobs.context import JobContext
from airflow_script_provider.kube import refusal
from airflow_script_provider.kube.job.launched import JobRef
from airflow_script_provider.kube.job.manifest import NO_OTHER_POD
from airflow_script_provider.kube.labels import READ_ANNOTATION
from airflow_script_provider.kube.request.request import JobRequest
from airflow_script_provider.run_log import RunLog

RIGHT_PATIENCE = 2.0
"""Seconds for which a missing right is doubted that a run can do without."""
SIDECAR_PATIENCE = 3600
"""Seconds for the sidecars of a success, after which a Job without a deadline ends as well."""

_OTHER_UID = (409, 422)
"""What the server may answer to a change of a Job with another uid: a conflict, or fields that
cannot be changed."""


async def within_rights(api: KubernetesApi, request: JobRequest, log: RunLog) -> JobRequest:
    """The request within this account's rights: without ``patch`` its Job is never marked."""
    if not request.is_marked_by_ttl or await _may_patch(api, request.namespace):
        return request
    log.note(
        "The right to patch jobs is missing, so the Job is not kept longer until its outcome is read. "
        f"Check: kubectl auth can-i patch jobs -n {request.namespace}",
        logging.WARNING,
    )
    return replace(request, may_be_marked=False)


async def _may_patch(api: KubernetesApi, namespace: str) -> bool:
    """Whether Jobs may be patched. A refusal is doubted, but not for long."""

    async def ask() -> None:
        if not await api.can_i("patch", "jobs", namespace):
            raise exceptions.ApiForbiddenError(f"no right to patch jobs in namespace {namespace}", status=403)

    try:
        await doubting(ask, RIGHT_PATIENCE)
    except exceptions.ApiForbiddenError:
        return False
    return True


async def mark_read(
    api: KubernetesApi, ref: JobRef, ttl: int | None, *, starts_nothing: bool = False, deadline: int | None = None
) -> None:
    """Write on the Job that its outcome was read, and set its TTL to ``ttl`` if that is given.

    With ``starts_nothing``, the Job starts no other pod. Its TTL begins only when it has ended, by
    ``deadline`` (seconds of its clock) at the latest. A Job that is gone is fine. Raises
    ``KubernetesApiError``.
    """
    read = {READ_ANNOTATION: datetime.now(UTC).isoformat(timespec="seconds")}
    body: dict[str, Any] = {"metadata": {"uid": ref.uid, "annotations": read}}
    spec = NO_OTHER_POD if starts_nothing else {}
    times = {"ttlSecondsAfterFinished": ttl, "activeDeadlineSeconds": deadline}
    spec = spec | {name: seconds for name, seconds in times.items() if seconds is not None}
    if spec:
        body["spec"] = spec
    try:
        await api.patch("jobs", ref.namespace, ref.name, body)
    except exceptions.ApiNotFoundError:
        return
    except exceptions.KubernetesApiError as error:
        if error.status not in _OTHER_UID or await _is_there(api, ref):
            raise


async def _is_there(api: KubernetesApi, ref: JobRef) -> bool:
    """Whether it is still that Job, not another one of its name."""
    try:
        found = await api.get("jobs", ref.namespace, ref.name)
    except exceptions.ApiNotFoundError:
        return False
    except exceptions.KubernetesApiError:
        return True
    return bool(found["metadata"]["uid"] == ref.uid)


async def close(
    context: JobContext,
    *,
    is_retried: bool,
    is_failed: bool = False,
    has_running_sidecar: bool = False,
    is_left: bool = False,
) -> None:
    """Mark the Job as read, which is the last thing that is done to it. A failure is a warning.

    An unmarked Job counts as unread. So a Job that cannot be marked is deleted where another try
    of the task follows (``is_retried``), which would reattach to it; and where the right is
    missing, because no Job of this account would go before ``unread_ttl``. The Job of a failed run
    (``is_failed``) may be kept for longer. While a sidecar of a success is stopped
    (``has_running_sidecar``), no other pod may take the place of this one. Nor may a pod of a Job
    that could not be deleted (``is_left``), with which Kubernetes would go on: no later try looks
    for what was read. Then it is ended, and deleted if that is possible now.
    """
    api, job, log = context.api, context.job, context.log
    starts_nothing, ttl = has_running_sidecar or is_left, job.final_ttl(is_failed=is_failed)
    deadline = 1 if is_left else None
    if has_running_sidecar and not is_left and job.limits.deadline is None:
        deadline = math.ceil(time.time() - job.launched_at) + SIDECAR_PATIENCE

    async def mark() -> None:
        await mark_read(api, job.ref, ttl, starts_nothing=starts_nothing, deadline=deadline)

    try:
        await doubting(mark, RIGHT_PATIENCE)
    except exceptions.KubernetesApiError as error:
        log.note(f"Job {job.ref} could not be marked as read: {error}", logging.WARNING)
        has_no_right = refusal.is_of_missing_right(error.status, error.server_message)
        if is_retried or (has_no_right and job.ttl_when_read is not None):
            why = "the next try would reattach to this Job" if is_retried else "this Job would be kept for unread_ttl"
            fate = launching.fate(job.ref, deleted=await launching.remove(api, job.ref))
            log.note(f"Without the mark {why}. {fate}")
            return
    if is_left and not await launching.remove(api, job.ref, ABANDON_TIMEOUT):
        log.note(launching.left_over(job.ref), logging.WARNING)
