"""Find the pod to run in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any

from airflow_script_provider import exceptions
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.api.namespaces import missing_namespace
from airflow_script_provider.execs.session import ExecTarget
from airflow_script_provider.kube.exec import workloads
from airflow_script_provider.kube.exec.outcome import PodLocation
from airflow_script_provider.kube.exec.workloads import Candidates, Gone, Workload

DOUBT = 1.0
"""Seconds after which a pod that could not be read is read again."""
OBSERVATION_TIMEOUT = 10.0
"""Seconds for a controller to see a change that was just made."""
_OBSERVATION_PAUSE = 0.25
FRESH = 1.0
"""Seconds for which a pod counts as it was read."""


@dataclass(frozen=True)
class ChosenPod:
    """The pod's manifest when it was read, and the container to run in."""

    manifest: Mapping[str, Any]
    location: PodLocation
    read_at: float = field(default_factory=time.monotonic, compare=False)

    @property
    def target(self) -> ExecTarget:
        """The target of an exec in this container."""
        return ExecTarget(self.location.namespace, self.location.pod, self.location.container)


async def choose_pod(api: KubernetesApi, workload: Workload, container: str | None) -> ChosenPod:
    """The first ready pod of a workload, and its container.

    ``TargetError`` says what exists instead. ``KubernetesApiError`` says what the API server
    refuses.
    """
    pod, chosen_as = await _pod_of(api, workload)
    found = workloads.choose_container(pod, container)
    location = PodLocation(
        namespace=workload.namespace,
        pod=pod["metadata"]["name"],
        container=found["name"],
        image=found["image"],
        node=pod["spec"].get("nodeName"),
        chosen_as=chosen_as,
    )
    return ChosenPod(pod, location)


async def read_again(api: KubernetesApi, chosen: ChosenPod) -> ChosenPod:
    """The pod that an exec has just been started in, as it is now.

    While a start is repeated, the container may be restarted, or the pod be replaced by another
    one of its name. The end of the chosen one would then not be the end of the exec.
    """
    if time.monotonic() - chosen.read_at <= FRESH:
        return chosen
    try:
        now = await api.get("pods", chosen.location.namespace, chosen.location.pod)
    except exceptions.KubernetesApiError:
        return chosen
    return ChosenPod(now, replace(chosen.location, node=now["spec"].get("nodeName")))


async def _now(api: KubernetesApi, chosen: ChosenPod) -> dict[str, Any] | None:
    """The pod as it is now, None if it is gone."""
    try:
        return await api.get("pods", chosen.location.namespace, chosen.location.pod)
    except exceptions.ApiNotFoundError:
        return None


async def why_gone(api: KubernetesApi, chosen: ChosenPod, if_unread: Gone | None = None) -> Gone | None:
    """Why nothing can run in the pod any more, None if it is unchanged.

    ``if_unread`` is the answer if the pod cannot be read, twice in a row.
    """
    try:
        now = await _now(api, chosen)
    except exceptions.KubernetesApiError:
        if if_unread is None:
            return None
        await asyncio.sleep(DOUBT)
        try:
            now = await _now(api, chosen)
        except exceptions.KubernetesApiError:
            return if_unread
    return workloads.why_gone(chosen.manifest, now, chosen.location.container)


async def _pod_of(api: KubernetesApi, workload: Workload) -> tuple[Mapping[str, Any], str]:
    """The pod, and in words why it was chosen."""
    if workload.kind == "pod":
        return workloads.choose_named_pod(workload, await _get(api, workload)), ""
    candidates = await _candidates(api, workload)
    ready = sum(map(workloads.is_ready, candidates.pods))
    owner = f" of {candidates.owner}" if candidates.owner else ""
    return workloads.choose_ready_pod(candidates), f"the first of {ready} ready pods{owner}, {workload}"


async def _candidates(api: KubernetesApi, workload: Workload) -> Candidates:
    if workload.kind == "label_selector":
        return Candidates(workload, await _list_by_own_selector(api, workload))
    found = await _get_when_observed(api, workload)
    selector = workloads.selector_of(found)
    if workload.kind == "statefulset":
        return workloads.pods_of_stateful_set(workload, found, await _list_pods(api, workload, selector))
    listed = await api.list("replicasets", workload.namespace, labelSelector=selector)
    return workloads.pods_of_deployment(workload, found, listed["items"], await _list_pods(api, workload, selector))


async def _get_when_observed(api: KubernetesApi, workload: Workload) -> Mapping[str, Any]:
    """The workload once its controller has seen its newest change, which may be a moment old."""
    give_up = time.monotonic() + OBSERVATION_TIMEOUT
    while True:
        found = await _get(api, workload)
        if workloads.is_observed(found):
            return found
        if time.monotonic() > give_up:
            raise exceptions.TargetError(
                f"the current pods of {workload} are unknown: its controller has not seen the newest change within "
                f"{OBSERVATION_TIMEOUT:g} s. Check: {workload.check}"
            )
        await asyncio.sleep(_OBSERVATION_PAUSE)


async def _get(api: KubernetesApi, workload: Workload) -> Mapping[str, Any]:
    resource = workload.resource or "pods"
    try:
        return await api.get(resource, workload.namespace, workload.name)
    except exceptions.ApiNotFoundError:
        raise await _not_found(api, workload, resource) from None


async def _list_by_own_selector(api: KubernetesApi, workload: Workload) -> list[Mapping[str, Any]]:
    """The pods of the author's selector; ``TargetError`` if Kubernetes cannot parse it."""
    try:
        return await _list_pods(api, workload, workload.name)
    except exceptions.KubernetesApiError as error:
        if error.status != HTTPStatus.BAD_REQUEST:
            raise
        example = "Write it as for kubectl get pods -l: app=api,tier!=web."
        raise exceptions.TargetError(
            f"{workload} is not a valid label selector: {error.server_message.rstrip('.')}. {example}", retryable=False
        ) from None


async def _list_pods(api: KubernetesApi, workload: Workload, selector: str) -> list[Mapping[str, Any]]:
    """The pods of a selector; ``TargetError`` if the namespace does not exist."""
    pods: list[Mapping[str, Any]] = (await api.list("pods", workload.namespace, labelSelector=selector))["items"]
    if not pods and workload.kind == "label_selector" and (missing := await missing_namespace(api, workload.namespace)):
        raise exceptions.TargetError(missing)
    return pods


async def _not_found(api: KubernetesApi, workload: Workload, resource: str) -> exceptions.TargetError:
    if missing := await missing_namespace(api, workload.namespace):
        return exceptions.TargetError(missing)
    try:
        names = [item["metadata"]["name"] for item in (await api.list(resource, workload.namespace))["items"]]
    except exceptions.KubernetesApiError:
        names = None
    return workloads.not_found(workload, names)
