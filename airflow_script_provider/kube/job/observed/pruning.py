"""The fields of Jobs and pods that are kept in memory.

These are the few that decide, because there may be thousands of objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from airflow_script_provider.kube.labels import (
    CONTROLLER_LABEL,
    END_ANNOTATION,
    FOLLOW_STATE_ANNOTATION,
    QUEUE_LABEL,
    TIMEOUT_ANNOTATION,
)
from airflow_script_provider.kube.pods.pod_status import SCHEDULED
from airflow_script_provider.kube.request.provision import PACKAGES_VARIABLE

_METADATA = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")
_ANNOTATIONS = (FOLLOW_STATE_ANNOTATION, END_ANNOTATION, TIMEOUT_ANNOTATION)
_COUNTS = ("failed", "succeeded", "active", "terminating", "uncountedTerminatedPods", "startTime", "completionTime")
_SPEC = ("suspend", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished", "managedBy")
_CONDITION = ("type", "status", "reason", "message")
_TIMES = {SCHEDULED: ("lastTransitionTime",)}
"""What is also kept of conditions of these types."""
_CONTAINER = ("name", "image", "resources", "restartPolicy")
_VARIABLES = (PACKAGES_VARIABLE,)
_EVENT = ("reason", "message", "eventTime", "lastTimestamp", "series")
_CONTAINER_STATUS = ("name", "state")


def pruned_job(job: Mapping[str, Any]) -> dict[str, Any]:
    """A Job with the fields that following, reattaching and diagnosing read."""
    labels = _metadata(job, "labels", QUEUE_LABEL)
    return {
        "metadata": labels | _metadata(job, "annotations", *_ANNOTATIONS),
        "spec": _picked(job.get("spec", {}), _SPEC),
        "status": pruned_status(job),
    }


def pruned_status(job: Mapping[str, Any]) -> dict[str, Any]:
    """What followers and results read of a Job's status."""
    status = job.get("status", {})
    return _picked(status, _COUNTS) | _conditions(status)


def pruned_pod(pod: Mapping[str, Any]) -> dict[str, Any]:
    """A pod with the fields that following and diagnosing read."""
    spec, status = pod.get("spec", {}), pod.get("status", {})
    statuses = {
        kind: [_picked(entry, _CONTAINER_STATUS) for entry in status[kind]]
        for kind in ("initContainerStatuses", "containerStatuses")
        if status.get(kind)
    }
    containers = {
        kind: [_picked(entry, _CONTAINER) | _variables(entry) for entry in spec[kind]]
        for kind in ("initContainers", "containers")
        if spec.get(kind)
    }
    return {
        "metadata": _metadata(pod, "labels", CONTROLLER_LABEL),
        "spec": _picked(spec, ("nodeName", "schedulingGates")) | containers,
        "status": _picked(status, ("phase", "reason", "message")) | _conditions(status) | statuses,
    }


def pruned_event(event: Mapping[str, Any]) -> dict[str, Any]:
    """An event with the fields that announcing reads."""
    concerned = _picked(event["involvedObject"], ("kind", "name", "uid"))
    metadata = _picked(event["metadata"], ("uid",))
    return {"metadata": metadata, "involvedObject": concerned} | _picked(event, _EVENT)


def controller_of(pod: Mapping[str, Any]) -> str:
    """The uid of the Job that a pod belongs to."""
    return str((pod["metadata"].get("labels") or {}).get(CONTROLLER_LABEL, ""))


def _metadata(thing: Mapping[str, Any], kind: str, *names: str) -> dict[str, Any]:
    """The object's names and times, and the labels or annotations of it that are read."""
    given = thing["metadata"]
    read = {name: value for name in names if (value := (given.get(kind) or {}).get(name))}
    return _picked(given, _METADATA) | ({kind: read} if read else {})


def _variables(container: Mapping[str, Any]) -> dict[str, Any]:
    """The names of the container's variables that are read; never a value."""
    names = [variable["name"] for variable in container.get("env") or [] if variable["name"] in _VARIABLES]
    return {"env": [{"name": name} for name in names]} if names else {}


def _conditions(status: Mapping[str, Any]) -> dict[str, Any]:
    conditions = status.get("conditions") or []
    kept = [_picked(one, (*_CONDITION, *_TIMES.get(one["type"], ()))) for one in conditions]
    return {"conditions": kept} if kept else {}


def _picked(thing: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: thing[name] for name in names if thing.get(name) is not None}
