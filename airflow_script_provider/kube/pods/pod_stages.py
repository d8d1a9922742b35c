"""How far a pod has come: its init containers, its script, its way out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_script_provider.kube.labels import SCRIPT_CONTAINER
from airflow_script_provider.kube.pods import pod_status
from airflow_script_provider.kube.pods.pod_status import Pod


def with_reasons_of(known: Pod, pod: Pod) -> Pod:
    """A newer state of a pod, with what its containers waited for until it was deleted.

    Of a container that has not started, the kubelet then reports an initial state, and an end of
    its own. These do not say why it did not start.
    """
    if not pod_status.is_being_deleted(pod):
        return pod
    status = {**pod.get("status", {})}
    for kind in ("initContainerStatuses", "containerStatuses"):
        before = {one["name"]: one for one in known.get("status", {}).get(kind) or []}
        status[kind] = [_before(before.get(one["name"], {}), one) for one in status.get(kind) or []]
    return {**pod, "status": status}


def has_run(pod: Pod) -> bool:
    """Whether the pod has come as far as its script, or failed by itself before it.

    Of a container that never began, a kubelet may report an end, but no start.
    """
    is_ended = pod_status.is_being_deleted(pod) or pod_status.disruption(pod) is not None
    return script_has_begun(pod) or (_has_failed_before_the_script(pod) and not is_ended)


def is_initializing(pod: Pod) -> bool:
    """Whether an init container is at work, other than a sidecar.

    The status of a pod whose node is gone is not brought up to date.
    """
    is_at_work = any("running" in status.get("state", {}) for status in _init_statuses(pod))
    return is_at_work and not pod_status.is_terminal(pod)


def gets_node(before: Pod, now: Pod) -> bool:
    """Whether a change of a pod is that it has got its node."""
    return pod_status.node(before) is None and pod_status.node(now) is not None


def script_has_begun(pod: Pod) -> bool:
    """Whether the script's container has started; of one that did not, an end has no start."""
    status = next((one for one in pod_status.statuses(pod) if one["name"] == SCRIPT_CONTAINER), {})
    state = status.get("state", {})
    return "running" in state or bool(state.get("terminated", {}).get("startedAt"))


def has_ended(pod: Pod) -> bool:
    """Whether the script has ended, or never begins because an init container failed."""
    return pod_status.script_end(pod) is not None or _has_failed_before_the_script(pod)


def is_leaving(pod: Pod) -> bool:
    """Whether the pod is being deleted, and its kubelet has not reported how its script ended.

    The script of a pod without a node never begins.
    """
    may_run = pod_status.has_unknown_end(pod) and not has_ended(pod)
    return pod_status.is_being_deleted(pod) and may_run and not pod_status.is_terminal(pod)


def may_run(pod: Pod) -> bool:
    """Whether the script runs on a node, or nothing has prevented yet that it begins on one.

    A pod that is being deleted gets no node any more.
    """
    is_prevented = has_run(pod) and not pod_status.script_has_started(pod)
    is_prevented = is_prevented or (pod_status.node(pod) is None and pod_status.is_being_deleted(pod))
    return pod_status.script_end(pod) is None and not pod_status.is_terminal(pod) and not is_prevented


def _before(known: Mapping[str, Any], status: Mapping[str, Any]) -> Mapping[str, Any]:
    """A container's status; the one of before if it said what it waited for, and did not start."""
    state, reason = status.get("state", {}), known.get("state", {}).get("waiting", {}).get("reason")
    end = state.get("terminated", {})
    is_lost = end.get("reason") in pod_status.LOST and not end.get("startedAt")
    is_initial = "waiting" in state and state["waiting"].get("reason") in (None, *pod_status.INITIAL)
    return known if reason and (is_lost or (is_initial and reason not in pod_status.INITIAL)) else status


def _has_failed_before_the_script(pod: Pod) -> bool:
    ends = (pod_status.container_end(status) for status in _init_statuses(pod))
    return any(end is not None and end.exit_code != 0 for end in ends)


def running_sidecars(pod: Pod) -> list[str]:
    """The native sidecars that are not reported to have ended."""
    sidecars, statuses = _sidecars(pod), pod.get("status", {}).get("initContainerStatuses") or []
    return [one["name"] for one in statuses if one["name"] in sidecars and pod_status.container_end(one) is None]


def _init_statuses(pod: Pod) -> list[Mapping[str, Any]]:
    """The statuses of the init containers that end; a sidecar runs beside the script."""
    sidecars, found = _sidecars(pod), pod.get("status", {}).get("initContainerStatuses") or []
    return [status for status in found if status["name"] not in sidecars]


def _sidecars(pod: Pod) -> set[str]:
    containers = pod.get("spec", {}).get("initContainers") or []
    return {container["name"] for container in containers if container.get("restartPolicy") == "Always"}
