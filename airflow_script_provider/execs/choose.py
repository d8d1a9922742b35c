"""Finding the pod to run in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from airflow_script_provider import exceptions
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.api.namespaces import missing_namespace
from airflow_script_provider.execs.session import ExecTarget
from airflow_script_provider.kube.exec import workloads
from airflow_script_provider.kube.exec.outcome import PodPlace
from airflow_script_provider.kube.exec.workloads import Candidates, Workload

OBSERVED_WITHIN = 10.0
"""Seconds for a controller to see a change that was just made."""
_PAUSE = 0.25


@dataclass(frozen=True)
class Chosen:
    """A pod as it was when it was chosen, and the place in it."""

    pod: Mapping[str, Any]
    place: PodPlace

    @property
    def target(self) -> ExecTarget:
        """Where to open an exec."""
        return ExecTarget(self.place.namespace, self.place.pod, self.place.container)


async def choose(api: KubernetesApi, workload: Workload, container: str | None) -> Chosen:
    """The first ready pod of a workload, and its container.

    Raises ``TargetError`` with what there is instead, ``KubernetesApiError`` where the API server refuses.
    """
    pod, owner = await _pod_of(api, workload)
    chosen = workloads.choose_container(pod, container)
    place = PodPlace(
        namespace=workload.namespace,
        pod=pod["metadata"]["name"],
        container=chosen["name"],
        image=chosen["image"],
        node=pod["spec"].get("nodeName"),
        owner=owner,
    )
    return Chosen(pod, place)


async def why_gone(api: KubernetesApi, chosen: Chosen) -> str | None:
    """Why nothing can run any more in a chosen pod, None where it is as it was, or nobody can tell."""
    try:
        now = await api.get("pods", chosen.place.namespace, chosen.place.pod)
    except exceptions.ApiNotFoundError:
        now = None
    except exceptions.KubernetesApiError:
        return None
    return workloads.gone_since(chosen.pod, now, chosen.place.container)


async def _pod_of(api: KubernetesApi, workload: Workload) -> tuple[Mapping[str, Any], str]:
    """The pod, and what it is one of, in words."""
    if workload.kind == "pod":
        return workloads.choose_named(workload, await _found(api, workload)), ""
    candidates = await _candidates(api, workload)
    ready = sum(map(workloads.is_ready, candidates.pods))
    of = f" of {candidates.owner}" if candidates.owner else ""
    return workloads.choose(candidates), f"the first of {ready} ready pods{of}, {workload}"


async def _candidates(api: KubernetesApi, workload: Workload) -> Candidates:
    if workload.kind == "label_selector":
        return Candidates(workload, await _matching(api, workload))
    found = await _observed(api, workload)
    selector = workloads.selector_of(found)
    if workload.kind == "statefulset":
        return workloads.of_stateful_set(workload, found, await _selected(api, workload, selector))
    listed = await api.list("replicasets", workload.namespace, labelSelector=selector)
    return workloads.of_deployment(workload, found, listed["items"], await _selected(api, workload, selector))


async def _observed(api: KubernetesApi, workload: Workload) -> Mapping[str, Any]:
    """The workload when its controller has seen its newest change, which was perhaps made a moment ago."""
    give_up = time.monotonic() + OBSERVED_WITHIN
    while True:
        found = await _found(api, workload)
        if workloads.is_observed(found):
            return found
        if time.monotonic() > give_up:
            raise exceptions.TargetError(
                f"the newest change of {workload} has not been seen by its controller within {OBSERVED_WITHIN:g} s, "
                f"so its current pods are unknown. Check: kubectl -n {workload.namespace} rollout status "
                f"{workload.kind} {workload.name}"
            )
        await asyncio.sleep(_PAUSE)


async def _found(api: KubernetesApi, workload: Workload) -> Mapping[str, Any]:
    resource = workload.resource or "pods"
    try:
        return await api.get(resource, workload.namespace, workload.name)
    except exceptions.ApiNotFoundError:
        raise await _not_found(api, workload, resource) from None


async def _matching(api: KubernetesApi, workload: Workload) -> list[Mapping[str, Any]]:
    """The pods of the author's own selector, which may be none that Kubernetes understands."""
    try:
        return await _selected(api, workload, workload.name)
    except exceptions.KubernetesApiError as error:
        if error.status != HTTPStatus.BAD_REQUEST:
            raise
        example = "Write it as kubectl get pods -l does: app=api,tier!=web."
        raise exceptions.TargetError(
            f"{workload} is no selector: {error.server_message.rstrip('.')}. {example}", retryable=False
        ) from None


async def _selected(api: KubernetesApi, workload: Workload, selector: str) -> list[Mapping[str, Any]]:
    """The pods of a selector; where there are none, perhaps because there is no such namespace."""
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
