"""Creating and removing the objects of one run."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from airflow_script_provider import exceptions
from airflow_script_provider.jobs.api import KubernetesApi
from airflow_script_provider.kube import manifest
from airflow_script_provider.kube.names import LAUNCH_LABEL
from airflow_script_provider.kube.request import JobRequest

ABANDON_TIMEOUT = 4.0
"""Seconds for removing a run that is killed: Airflow sends SIGKILL five seconds after SIGTERM."""


@dataclass(frozen=True)
class JobRef:
    """A Job, and no other of its name."""

    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


async def launch(api: KubernetesApi, request: JobRequest) -> JobRef:
    """Create Job, Secret and ConfigMap, in this order, the latter two owned by the Job.

    Whatever moment the process dies at, deadline, TTL and garbage collection clear up. Launching the same request
    again finds the same Job. Raises ``LaunchError`` or ``KubernetesApiError`` with nothing left behind.
    """
    job = await _create_job(api, request)
    ref = JobRef(request.namespace, job["metadata"]["name"], job["metadata"]["uid"])
    try:
        if (secret := manifest.secret(request, ref.uid)) is not None:
            await _create_owned(api, "secrets", secret, ref)
        await _create_owned(api, "configmaps", manifest.config_map(request, ref.uid), ref)
    except BaseException:
        await abandon(api, ref)
        raise
    return ref


async def delete(api: KubernetesApi, ref: JobRef) -> bool:
    """Delete the Job and, in the background, its pods, ConfigMap and Secret; False if it was gone already."""
    return await api.delete("jobs", ref.namespace, ref.name, uid=ref.uid)


async def delete_secret(api: KubernetesApi, ref: JobRef, name: str) -> None:
    """Delete the Secret of a Job that has ended; the garbage collector does it later where this fails."""
    try:
        await api.delete("secrets", ref.namespace, name)
    except exceptions.KubernetesApiError:
        return


async def abandon(api: KubernetesApi, ref: JobRef) -> bool:
    """Delete the Job within ``ABANDON_TIMEOUT``; False if that could not be done."""
    try:
        async with asyncio.timeout(ABANDON_TIMEOUT):
            await delete(api, ref)
    except (TimeoutError, exceptions.KubernetesApiError):
        return False
    return True


async def _create_job(api: KubernetesApi, request: JobRequest) -> dict[str, Any]:
    body = manifest.job(request)
    try:
        return await _uninterrupted(api, api.create("jobs", request.namespace, body))
    except exceptions.ApiConflictError:
        existing = await api.get("jobs", request.namespace, body["metadata"]["name"])
        if existing["metadata"].get("labels", {}).get(LAUNCH_LABEL) != request.identity.launch_id:
            name = f"{request.namespace}/{body['metadata']['name']}"
            raise exceptions.LaunchError(f"a Job {name} exists that is not ours; delete it or set name") from None
        return existing
    except exceptions.ApiNotFoundError as error:
        raise await _missing_namespace(api, request.namespace, error) from None


async def _uninterrupted(api: KubernetesApi, creating: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    """Create; if the run is killed meanwhile, wait for the answer so that the Job can be deleted by its uid."""
    task = asyncio.ensure_future(creating)
    try:
        return await asyncio.shield(task)
    except BaseException as interruption:
        if not task.done() or (
            not task.cancelled() and task.exception() is None and not isinstance(interruption, Exception)
        ):
            await _undo(api, task)
        raise


async def _undo(api: KubernetesApi, creating: asyncio.Future[dict[str, Any]]) -> None:
    try:
        async with asyncio.timeout(ABANDON_TIMEOUT / 2):
            meta = (await creating)["metadata"]
            await delete(api, JobRef(meta["namespace"], meta["name"], meta["uid"]))
    except (TimeoutError, exceptions.KubernetesApiError):
        return


async def _create_owned(api: KubernetesApi, resource: str, body: dict[str, Any], ref: JobRef) -> None:
    """Create what the Job owns; one that is there already must be this Job's."""
    try:
        await api.create(resource, ref.namespace, body)
    except exceptions.ApiConflictError:
        name = body["metadata"]["name"]
        existing = await api.get(resource, ref.namespace, name)
        owners = existing["metadata"].get("ownerReferences") or []
        if ref.uid not in [owner["uid"] for owner in owners]:
            raise exceptions.LaunchError(
                f"{body['kind']} {ref.namespace}/{name} exists and belongs to another Job; delete it or set name"
            ) from None


async def _missing_namespace(
    api: KubernetesApi, namespace: str, error: exceptions.KubernetesApiError
) -> exceptions.LaunchError:
    """The error for a namespace that does not exist, with those that do where they may be listed."""
    try:
        names = [item["metadata"]["name"] for item in (await api.list("namespaces", None))["items"]]
    except exceptions.KubernetesApiError:
        return exceptions.LaunchError(f"{error}. Create the namespace, or set namespace to one that exists.")
    if namespace in names:
        return exceptions.LaunchError(str(error))
    known = ", ".join(sorted(names)[:20])
    return exceptions.LaunchError(
        f"namespace {namespace!r} does not exist. Create it, or set namespace to one of: {known}."
    )
