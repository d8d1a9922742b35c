"""Whether the kubelet stopped a script, by the events of its pod."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from airflow_script_provider import exceptions
from airflow_script_provider.api.client import KubernetesApi, patiently
from airflow_script_provider.kube import names
from airflow_script_provider.kube.causes import cluster_messages
from airflow_script_provider.kube.job import progress
from airflow_script_provider.kube.job.launched import JobRef
from airflow_script_provider.kube.job.observed.view import View
from airflow_script_provider.kube.job.verdict import Cause, Verdict
from airflow_script_provider.kube.pods import pod_status
from airflow_script_provider.kube.wording import signal_name

STOPPABLE = 2.0
"""Seconds from which a kubelet may have stopped a script that did not end by a signal."""
EVENTS_PATIENCE = 60.0
"""Seconds that events are waited for while the API server does not answer for the moment."""

_OF_PODS = "involvedObject.kind=Pod"
Event = Mapping[str, Any]
Stop = tuple[str, str]
"""Reason and message of the event by which the kubelet stopped a script."""


async def stopped_by_kubelet(api: KubernetesApi, namespace: str, view: View, uid: str) -> Stop | None:
    """How the kubelet stopped the script of a pod that was seen, None if it did not.

    A pod that passes its own limits is not marked as disrupted. Of one that is, or that is being
    deleted, the status is the word where no events from the script's start on can be read. A short
    script is not worth a request, unless a signal or something else may have ended it.
    """
    suspected, end = view.suspected_stop(uid), pod_status.script_end(view.pods[uid])
    is_short = end is not None and pod_status.seconds_of_script(view.pods[uid]) < STOPPABLE
    is_by_signal = end is not None and signal_name(end.exit_code) is not None
    if suspected is None and is_short and not is_by_signal:
        return None
    found = await _events(api, namespace, f"involvedObject.uid={uid}")
    if found is None:
        return suspected
    return cluster_messages.stop_of_suspect(found, suspected) if suspected else cluster_messages.stop(found)


async def of_unseen_end(api: KubernetesApi, ref: JobRef, view: View, verdict: Verdict) -> Verdict:
    """What the Job's condition means for a script whose end was not seen: only events are left.

    If the kubelet stopped the script, its end with 0 may have left work undone, and another exit
    code is not its own. The kubelet writes these events for a container that runs, not for one
    whose pod is cleaned up.
    """
    if verdict.cause is Cause.JOB_SUCCEEDED and verdict.pod_uid is None and view.elsewhere is None:
        stop = await _stop_of_last_pod(api, ref, view)
        return verdict if stop is None else Verdict(Cause.STOPPED, None, *stop)
    if (pod_name := progress.pod_of_unseen_code(view, verdict)) is None:
        return verdict
    stop = cluster_messages.stop(await _events(api, ref.namespace, f"{_OF_PODS},involvedObject.name={pod_name}") or [])
    return verdict if stop is None else replace(verdict, reason=stop[0], message=stop[1])


async def _stop_of_last_pod(api: KubernetesApi, ref: JobRef, view: View) -> Stop | None:
    """How the kubelet stopped the script of the Job's last pod, which was not seen.

    A stop of an earlier pod does not count: the Job has replaced that pod.
    """
    seen = {pod_status.name(pod) for pod in view.pods.values()}

    async def unseen(reason: str) -> list[Event]:
        found = await _events(api, ref.namespace, f"{_OF_PODS},reason={reason}") or []
        return [event for event in found if names.is_pod_of(ref.name, _pod(event)) and _pod(event) not in seen]

    stops = await unseen("Killing")
    if cluster_messages.stop(stops) is None:
        return None
    last = cluster_messages.last_started(await unseen("Started"))
    return cluster_messages.stop(event for event in stops if last in (None, _pod(event)))


async def _events(api: KubernetesApi, namespace: str, selector: str) -> list[Event] | None:
    """Events, None if they cannot be read. A failure that may pass is waited out."""

    async def once() -> list[Event]:
        found: list[Event] = (await api.list("events", namespace, fieldSelector=selector))["items"]
        return found

    try:
        async with asyncio.timeout(EVENTS_PATIENCE):
            return await patiently(once, EVENTS_PATIENCE, api.may_pass)
    except (TimeoutError, exceptions.KubernetesApiError):
        return None


def _pod(event: Event) -> str:
    name: str = event["involvedObject"]["name"]
    return name
