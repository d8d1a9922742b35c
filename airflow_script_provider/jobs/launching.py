"""Creating and removing the objects of one run."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Any

from airflow_script_provider import exceptions
from airflow_script_provider._shielded import ABANDON_TIMEOUT, shielded
from airflow_script_provider.api.client import CALL_PATIENCE, KubernetesApi, patiently
from airflow_script_provider.api.namespaces import missing_namespace
from airflow_script_provider.jobs.answers.doubt import doubting
from airflow_script_provider.kube import kept_fields, refusal
from airflow_script_provider.kube.job import earlier_tries, manifest
from airflow_script_provider.kube.job.launched import JobRef, LaunchedJob
from airflow_script_provider.kube.job.manifest import NO_OTHER_POD
from airflow_script_provider.kube.labels import END_ANNOTATION, LAUNCH_LABEL, TIMEOUT_ANNOTATION
from airflow_script_provider.kube.request.request import JobRequest
from airflow_script_provider.run_log import RunLog

REMOVAL_PATIENCE = CALL_PATIENCE
"""Seconds for ending a Job with which Kubernetes would go on, where nothing interrupts the run."""

_launched: set[str] = set()
"""The launch ids of the Jobs that this process has created or found."""


async def launch(api: KubernetesApi, request: JobRequest, log: RunLog) -> dict[str, Any]:
    """The Job; created before its Secret and ConfigMap, which it owns.

    If the process dies at any moment, deadline, TTL and garbage collection clear up. Raises
    ``LaunchError`` or ``KubernetesApiError`` with nothing left behind, or naming what could not be
    removed. If the request was launched before, its Job stays as it is, and ``LaunchError`` names
    it. An interruption gets a note that says whether the Job was deleted.
    """
    owned = manifest.owned(request)  # before the create: what cannot be made leaves nothing behind
    asked = manifest.job(request)
    job = await _create_job(api, request, asked)
    _launched.add(request.identity.launch_id)
    ref = JobRef.of(job)
    try:
        async with _removing_what_failed(api, ref):
            await _check_kept(api, asked, job, log)
            for resource, body in owned.items():
                await _create_owned(api, resource, manifest.with_owner(body, request, ref.uid), ref)
    except exceptions.ScriptProviderError:
        raise
    except BaseException as interruption:
        interruption.add_note(fate(ref, deleted=await abandon(api, ref)))
        raise
    return job


def fate(ref: JobRef, *, deleted: bool) -> str:
    """Whether the Job of an interrupted run was deleted, as a note."""
    return f"Job {ref} is deleted." if deleted else left_over(ref)


def left_over(ref: JobRef) -> str:
    """How to remove a Job that could not be deleted."""
    return f"Job {ref} could not be deleted. Run: {how_to_delete(ref)}"


def how_to_delete(ref: JobRef) -> str:
    """The command that deletes a Job with everything that belongs to it."""
    return f"kubectl -n {ref.namespace} delete job {ref.name}"


def unknown(namespace: str, name: str) -> str:
    """How to remove a Job of which it is unknown whether it exists."""
    return f"Whether Job {namespace}/{name} was created is unknown. Run: kubectl -n {namespace} delete job {name}"


def _if_late(namespace: str, name: str) -> str:
    """How to remove a Job that does not exist, but that the API server may still create."""
    return f"No Job {namespace}/{name} was found. If it appears later, run: kubectl -n {namespace} delete job {name}"


def _launched_already(namespace: str, name: str) -> str:
    return f"Job {namespace}/{name} of this request was launched already. For another run, prepare the request again."


async def find_created(api: KubernetesApi, namespace: str, name: str, launch_id: str) -> dict[str, Any] | None:
    """The Job that a create made, None if there is none of this launch.

    Raises ``KubernetesApiError`` where the API server does not answer.
    """
    try:
        found = await api.get("jobs", namespace, name)
    except exceptions.ApiNotFoundError:
        return None
    is_ours = found["metadata"].get("labels", {}).get(LAUNCH_LABEL) == launch_id
    return found if is_ours else None


async def check_server(api: KubernetesApi, ref: JobRef, server: str | None) -> None:
    """Raise ``KubernetesApiError`` where this is another API server, which has no such Job."""
    if server in (None, api.host):
        return
    try:
        found = await api.get("jobs", ref.namespace, ref.name)
    except exceptions.ApiNotFoundError:
        found = {"metadata": {}}
    if found["metadata"].get("uid") != ref.uid:
        raise not_found(ref, api.host, server)


def not_found(ref: JobRef, host: str, server: str | None) -> exceptions.KubernetesApiError:
    """The error where an API server does not have a Job."""
    return exceptions.KubernetesApiError(f"{host} has no Job {ref}, which the worker launched on {server or host}")


async def delete(api: KubernetesApi, ref: JobRef) -> bool:
    """Delete the Job; False if it was already gone.

    Kubernetes deletes its pods, ConfigMap and Secret.
    """
    return await api.delete("jobs", ref.namespace, ref.name, uid=ref.uid)


async def delete_secret(api: KubernetesApi, job: LaunchedJob, log: RunLog) -> None:
    """Delete the Secret of a Job that is over, if it has one.

    An error is only a warning: the Secret then goes with its Job.
    """
    namespace, name = job.ref.namespace, job.secret_name
    if name is None:
        return
    try:
        async with asyncio.timeout(ABANDON_TIMEOUT):
            await api.delete("secrets", namespace, name)
    except (TimeoutError, exceptions.KubernetesApiError) as error:
        why, how = str(error) or "no answer", f"kubectl -n {namespace} delete secret {name}"
        log.note(f"Secret {name} stays until its Job is deleted: {why}. Run: {how}", logging.WARNING)


async def end_attempts(api: KubernetesApi, ref: JobRef, failures: int) -> exceptions.KubernetesApiError | None:
    """Let Kubernetes start no other attempt; Job and pods stay to be read.

    Returns what prevents it. ``failures`` are those of other pods than the deciding one, which may
    still run. A lower limit would end it with its log.
    """
    limit = {"metadata": {"uid": ref.uid}, "spec": {"backoffLimit": failures}}
    try:
        await _answered_within(REMOVAL_PATIENCE, api, lambda: api.patch("jobs", ref.namespace, ref.name, limit))
    except exceptions.KubernetesApiError as error:
        return error
    return None


async def end_work(api: KubernetesApi, ref: JobRef, job: Mapping[str, Any], worked: float) -> dict[str, Any]:
    """Let Kubernetes end a Job that may work for no longer than ``worked``; the Job as it is then.

    Its deadline becomes the time that is on its clock. Raises ``KubernetesApiError``, also where
    a webhook has dropped a part of the change.
    """
    passed = (earlier_tries.seconds_on_the_clock(job, api.now()) if job else None) or 0
    annotations, spec = {TIMEOUT_ANNOTATION: f"{worked:g}"}, {"activeDeadlineSeconds": max(1, int(passed))}
    metadata = {"uid": ref.uid, "annotations": annotations}
    changed = await api.patch("jobs", ref.namespace, ref.name, {"metadata": metadata, "spec": spec})
    kept = changed["metadata"].get("annotations") or {}
    if not (kept.items() >= annotations.items() and changed["spec"].items() >= spec.items()):
        raise exceptions.KubernetesApiError(f"{api.host} did not keep the change of its deadline")
    return changed


async def leave_ended(api: KubernetesApi, ref: JobRef, end: str, deadline: int | None) -> bool:
    """Save on the Job how its script has ended, and let it start no other pod, in one change.

    Kubernetes deletes the pod that still runs. The Job stays for a worker or the next try, until
    its own deadline or ``deadline``. False if it may not be so: also a webhook may drop a part.
    """
    spec = NO_OTHER_POD | ({} if deadline is None else {"activeDeadlineSeconds": deadline})
    body = {"metadata": {"uid": ref.uid, "annotations": {END_ANNOTATION: end}}, "spec": spec}
    try:
        async with asyncio.timeout(REMOVAL_PATIENCE):
            left = await patiently(lambda: api.patch("jobs", ref.namespace, ref.name, body), REMOVAL_PATIENCE)
    except (TimeoutError, exceptions.KubernetesApiError):
        return False
    is_saved = (left["metadata"].get("annotations") or {}).get(END_ANNOTATION) == end
    return is_saved and left["spec"].items() >= spec.items()


async def abandon(api: KubernetesApi, ref: JobRef, within: float | None = None) -> bool:
    """Delete the Job of an interrupted run, despite interruptions; False if that was not possible.

    ``within`` is ``ABANDON_TIMEOUT`` by default.
    """
    return await shielded(remove(api, ref, ABANDON_TIMEOUT if within is None else within))


async def remove(api: KubernetesApi, ref: JobRef, within: float | None = None) -> bool:
    """Delete a Job that should be gone; False if that was not possible.

    ``within`` is ``REMOVAL_PATIENCE`` by default. An interruption stops this, because it leaves
    less time: what guards the Job then abandons or leaves it.
    """
    try:
        await delete_within(api, ref, REMOVAL_PATIENCE if within is None else within)
    except exceptions.KubernetesApiError:
        return False
    return True


async def delete_within(api: KubernetesApi, ref: JobRef, seconds: float) -> None:
    """Delete the Job. Raises ``KubernetesApiError``, also if that takes too long."""
    await _answered_within(seconds, api, lambda: doubting(lambda: delete(api, ref), seconds))


async def _answered_within(seconds: float, api: KubernetesApi, call: Callable[[], Awaitable[object]]) -> None:
    """Wait for a call's answer. Raises ``KubernetesApiError``, also if it comes too late."""
    try:
        async with asyncio.timeout(seconds):
            await call()
    except TimeoutError:
        raise exceptions.ApiUnreachableError(f"no answer from the API server {api.host} in time", status=0) from None


async def is_gone(api: KubernetesApi, ref: JobRef) -> bool:
    """Whether the Job is deleted, or about to be; False where the API server does not answer."""
    try:
        async with asyncio.timeout(ABANDON_TIMEOUT / 2):
            found = await api.get("jobs", ref.namespace, ref.name)
    except exceptions.ApiNotFoundError:
        return True
    except (TimeoutError, exceptions.KubernetesApiError):
        return False
    metadata = found["metadata"]
    return metadata["uid"] != ref.uid or "deletionTimestamp" in metadata


@contextlib.asynccontextmanager
async def _removing_what_failed(api: KubernetesApi, ref: JobRef) -> AsyncIterator[None]:
    """Delete a Job whose launch fails; the error names it if it could not be deleted."""
    try:
        yield
    except exceptions.ScriptProviderError as error:
        if await remove(api, ref):
            raise
        raise exceptions.LaunchError(f"{error}\n{left_over(ref)}") from error


async def _check_kept(api: KubernetesApi, asked: dict[str, Any], job: dict[str, Any], log: RunLog) -> None:
    """Raise ``LaunchError`` where the server dropped a field of the Job; warn of one of its pod.

    The script cannot have started, because its ConfigMap is missing.
    """
    if lost := kept_fields.lost_fields(asked, job):
        raise exceptions.LaunchError(kept_fields.not_kept(api.host, await api.version(), lost))
    pod, kept = (one["spec"]["template"].get("spec", {}) for one in (asked, job))
    if lost := list(kept_fields.lost_below(pod, kept, "spec.template.spec")):
        words = kept_fields.dropped(api.host, await api.version(), lost)
        log.note(f"The pod is not the one that was asked for: {words}", logging.WARNING)


async def _create_job(api: KubernetesApi, request: JobRequest, asked: dict[str, Any]) -> dict[str, Any]:
    try:
        return await _uninterrupted(api, request, _created_or_found(api, request, asked))
    except exceptions.ApiNotFoundError as error:
        words = await missing_namespace(api, request.namespace, str(error)) or str(error)
        raise exceptions.LaunchError(words) from None
    except exceptions.KubernetesApiError as error:
        if error.status in refusal.INVALID and kept_fields.is_too_old(version := await api.version()):
            said = f"{kept_fields.too_old(api.host, version)}\n{error}"
            raise exceptions.LaunchError(said) from None
        raise refusal.explained(error, request.options.given) from None


async def _created_or_found(api: KubernetesApi, request: JobRequest, asked: dict[str, Any]) -> dict[str, Any]:
    """Create the Job, or find that of a create whose answer was lost, also of a lost process.

    Airflow may start the same try in another process, and a proxy may send a create twice. A Job
    that this process has launched before is that of an earlier launch of the same request.
    """
    namespace, name, identity = request.namespace, request.identity.job_name, request.identity
    is_again = identity.launch_id in _launched
    try:
        return await api.create("jobs", namespace, asked)
    except exceptions.KubernetesApiError as error:
        exists = isinstance(error, exceptions.ApiAlreadyExistsError)
        if not exists and not error.may_have_acted:
            raise
        try:
            found = await find_created(api, namespace, name, identity.launch_id)
        except exceptions.KubernetesApiError:
            doubt = f"\n{unknown(namespace, name)}" if error.may_have_acted else ""
            raise error.with_message(f"{error}{doubt}") from None
        if found is not None and (error.may_have_acted or not is_again):
            return found
        if exists:
            what = f"a Job {namespace}/{name} exists that is not ours; delete it or set name"
            raise exceptions.LaunchError(_launched_already(namespace, name) if found else what) from None
        raise error.with_message(f"{error}\n{_if_late(namespace, name)}") from None


async def _uninterrupted(
    api: KubernetesApi, request: JobRequest, creating: Coroutine[Any, Any, dict[str, Any]]
) -> dict[str, Any]:
    """Create the Job; if the run is interrupted, find out whether it exists and delete it."""
    task = asyncio.ensure_future(creating)
    try:
        return await asyncio.shield(task)
    except Exception:
        raise
    except BaseException as interruption:
        interruption.add_note(await shielded(_undo(api, request, task)))
        raise


async def _undo(api: KubernetesApi, request: JobRequest, creating: asyncio.Future[dict[str, Any]]) -> str:
    """Delete what an interrupted create may have made; the note that says so."""
    name = request.identity.job_name
    try:
        async with asyncio.timeout(ABANDON_TIMEOUT):
            found = await _created(api, request, creating)
            if found is None:
                return "No Job was created." if _is_refused(creating) else _if_late(request.namespace, name)
            ref = JobRef.of(found)
            await doubting(lambda: delete(api, ref), ABANDON_TIMEOUT)
            return fate(ref, deleted=True)
    except (TimeoutError, exceptions.KubernetesApiError):
        return unknown(request.namespace, name)


async def _created(
    api: KubernetesApi, request: JobRequest, creating: asyncio.Future[dict[str, Any]]
) -> dict[str, Any] | None:
    """The Job, from the answer or, without one, found by its name; None if there is none.

    After a refusal, a Job of that name is not of this call. Without an answer, the API server may
    still create it.
    """
    await asyncio.wait({creating}, timeout=ABANDON_TIMEOUT / 2)
    if _is_refused(creating):
        return None
    if creating.done() and not creating.cancelled() and creating.exception() is None:
        return creating.result()
    creating.cancel()
    return await find_created(api, request.namespace, request.identity.job_name, request.identity.launch_id)


def _is_refused(creating: asyncio.Future[dict[str, Any]]) -> bool:
    """Whether the API server has answered that it does not create the Job."""
    if not creating.done() or creating.cancelled():
        return False
    error = creating.exception()
    return isinstance(error, exceptions.LaunchError) or (
        isinstance(error, exceptions.KubernetesApiError) and not error.may_have_acted
    )


async def _create_owned(api: KubernetesApi, resource: str, body: dict[str, Any], ref: JobRef) -> None:
    """Create what the Job owns.

    An existing object is ours: of a create whose answer was lost, or of an earlier launch of the
    same request, whose Job is gone. It is made again, because reading it takes a right that is not
    needed otherwise.
    """
    try:
        await api.create(resource, ref.namespace, body)
    except exceptions.ApiAlreadyExistsError:
        await api.delete(resource, ref.namespace, body["metadata"]["name"])
        try:
            await api.create(resource, ref.namespace, body)
        except exceptions.ApiAlreadyExistsError as error:
            # Either the answer of this create was lost as well, or a finalizer keeps the old one.
            if refusal.is_being_deleted(error.server_message):
                raise
