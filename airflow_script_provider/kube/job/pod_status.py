"""Reading a pod's status."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_script_provider.kube import labels, signs
from airflow_script_provider.kube.job import cluster_messages
from airflow_script_provider.kube.labels import INSTALL_CONTAINER, SCRIPT_CONTAINER
from airflow_script_provider.kube.logs.container_logs import ContainerLog
from airflow_script_provider.kube.request import provision
from airflow_script_provider.result import Attempt, Category

Pod = Mapping[str, Any]

IMAGE_TROUBLE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError")

CHILD_KILLED = "a process of it was killed for memory"
_KILLED = 137
START_ERRORS = ("StartError", "ContainerCannotRun")
_QUIET = ("ContainerCreating", "PodInitializing")
_WILL_NOT_APPEAR = (
    Category.IMAGE_NOT_FOUND, Category.IMAGE_UNAUTHORIZED, Category.INVALID_IMAGE_NAME, Category.ERR_IMAGE_NEVER_PULL,
)  # fmt: skip
# What the scheduler adds to its reasons where ending other pods would not help either.
_NO_PREEMPTION = re.compile(
    r" (no new claims to deallocate, )?preemption: \d+/\d+ nodes are available: "
    r"(\d+ (Preemption is not helpful for scheduling|No preemption victims found for incoming pods?)[.,] ?)+$"
)


@dataclass(frozen=True)
class ContainerEnd:
    """How a container ended; ``message`` is the container runtime's."""

    exit_code: int
    reason: str
    message: str = ""
    started_at: str | None = None
    finished_at: str | None = None

    @property
    def has_killed_child(self) -> bool:
        """Whether a process of the container was killed for memory, and not its first one.

        With cgroup v1 the runtime then reports OOMKilled of a container that ends as it likes.
        """
        return self.reason == "OOMKilled" and self.exit_code != _KILLED


@dataclass(frozen=True)
class Waiting:
    """A container that cannot start yet, and the reason."""

    reason: str = ""
    message: str = ""
    container: str = SCRIPT_CONTAINER


@dataclass(frozen=True)
class PodState:
    """A pod's state as text.

    States with the same ``key`` are the same, whatever their message is.
    """

    key: str
    text: str
    is_trouble: bool = False


def name(pod: Pod) -> str:
    """The pod's name."""
    return str(pod["metadata"]["name"])


def uid(pod: Pod) -> str:
    """The pod's uid."""
    return str(pod["metadata"]["uid"])


def created_at(pod: Pod) -> str:
    """When the pod was created, in RFC 3339; texts of this form sort by time."""
    return str(pod["metadata"].get("creationTimestamp") or "")


def node(pod: Pod) -> str | None:
    """The node that the pod was scheduled to, None before that."""
    name_of_node: str | None = pod.get("spec", {}).get("nodeName")
    return name_of_node


def where(pod: Pod) -> str:
    """The pod's node as the end of a clause, empty without one."""
    return f" on {node(pod)}" if node(pod) else ""


def script_end(pod: Pod) -> ContainerEnd | None:
    """How the script's container ended, None while it has not."""
    return container_end(_script_status(pod))


def install_end(pod: Pod) -> ContainerEnd | None:
    """How the container that installs dependencies ended.

    None before its end, or without such a container.
    """
    return container_end(_install_status(pod))


def installation_has_started(pod: Pod) -> bool:
    """Whether the container that installs dependencies runs or has run."""
    return bool({"running", "terminated"} & _install_status(pod).get("state", {}).keys())


def failed_end(pod: Pod) -> ContainerEnd | None:
    """The end that makes this pod a failed attempt: the script's, or the installation's."""
    for end in (script_end(pod), install_end(pod)):
        if end is not None and end.exit_code != 0:
            return end
    return None


def install_failure(pod: Pod) -> str | None:
    """What could not be installed, None if no installation failed."""
    end = install_end(pod)
    if end is not None and end.exit_code != 0 and end.reason in START_ERRORS:
        return f'container "{INSTALL_CONTAINER}" could not start: {cluster_messages.start_error(end.message)}'
    if end is not None and end.exit_code != 0 and end.reason == "OOMKilled":
        return f'container "{INSTALL_CONTAINER}" was OOMKilled (exit {end.exit_code})'
    if end is not None and end.exit_code != 0:
        return end.message or f"could not install: exit code {end.exit_code}"
    end = script_end(pod)
    if end is None or end.exit_code == 0 or not _installs_packages(pod):
        return None
    return provision.install_failure(end.message)


def has_hopeless_installation(pod: Pod) -> bool:
    """Whether an installation failed in a way that another attempt cannot change."""
    end = failed_end(pod)
    return end is not None and end.exit_code == provision.PERMANENT and install_failure(pod) is not None


def logs_of(pod: Pod) -> list[ContainerLog]:
    """The logs of the containers that have started, in the order in which they ran."""
    containers = (
        (INSTALL_CONTAINER, installation_has_started(pod), install_end(pod)),
        (SCRIPT_CONTAINER, script_has_started(pod), script_end(pod)),
    )
    return [
        ContainerLog(uid(pod), name(pod), container, None if end is None else end.exit_code)
        for container, has_started, end in containers
        if has_started
    ]


def container_end(status: Mapping[str, Any]) -> ContainerEnd | None:
    """The end in a container status, None while the container has not ended."""
    ended = status.get("state", {}).get("terminated")
    if not ended:
        return None
    return ContainerEnd(
        exit_code=ended.get("exitCode", -1),
        reason=ended.get("reason", ""),
        message=ended.get("message", ""),
        started_at=ended.get("startedAt"),
        finished_at=ended.get("finishedAt"),
    )


def script_has_started(pod: Pod) -> bool:
    """Whether the script's container runs or has run, so that it has a log."""
    state = _script_status(pod).get("state", {})
    return "running" in state or "terminated" in state


def has_begun(pod: Pod) -> bool:
    """Whether any container of the pod runs or has run: the pod is past scheduling and pulling."""
    return any({"running", "terminated"} & status.get("state", {}).keys() for status in _statuses(pod))


def unfinished_others(pod: Pod) -> list[str]:
    """Other containers that have not succeeded: with them the pod does not become Succeeded."""
    names = []
    for status in pod.get("status", {}).get("containerStatuses") or []:
        end = container_end(status)
        if status["name"] != SCRIPT_CONTAINER and (end is None or end.exit_code != 0):
            names.append(status["name"])
    return names


def running_others(pod: Pod) -> list[str]:
    """Other containers that run or wait to start."""
    statuses = pod.get("status", {}).get("containerStatuses") or []
    return [s["name"] for s in statuses if s["name"] != SCRIPT_CONTAINER and container_end(s) is None]


def is_disrupted(pod: Pod) -> bool:
    """Whether the cluster ended the pod (eviction, drain, preemption).

    Such an end does not count as an attempt.
    """
    return _condition(pod, "DisruptionTarget") is not None


def is_being_deleted(pod: Pod) -> bool:
    """Whether the pod is being deleted."""
    return bool(pod["metadata"].get("deletionTimestamp"))


def was_stopped(pod: Pod) -> bool:
    """Whether the pod was ended from outside, so that exit code 0 does not mean that all is done.

    A pod whose other containers failed by themselves is not one of these, though its phase is
    ``Failed`` too.
    """
    if is_disrupted(pod) or is_being_deleted(pod):
        return True
    return phase(pod) == "Failed" and (failure(pod) is not None or not unfinished_others(pod))


def seconds_of_script(pod: Pod) -> float:
    """How long the script ran, by the node's clock in whole seconds; 0 before its end."""
    end = script_end(pod)
    if end is None or not end.started_at or not end.finished_at:
        return 0.0
    return (datetime.fromisoformat(end.finished_at) - datetime.fromisoformat(end.started_at)).total_seconds()


def has_failed(pod: Pod) -> bool:
    """Whether the pod is an attempt that failed."""
    return failed_end(pod) is not None or pod.get("status", {}).get("phase") == "Failed"


def waiting(pod: Pod) -> Waiting | None:
    """The container that keeps the pod from starting, None if none does."""
    for status in _statuses(pod):
        state = status.get("state", {}).get("waiting")
        if state and state.get("reason") and state["reason"] not in _QUIET:
            return Waiting(state["reason"], state.get("message", ""), status["name"])
    return None


def failed_init(pod: Pod) -> tuple[str, ContainerEnd] | None:
    """Which init container of the author failed, as a clause, and how; None if none failed."""
    for status in pod.get("status", {}).get("initContainerStatuses") or []:
        end = container_end(status)
        if status["name"] != labels.INSTALL_CONTAINER and end is not None and end.exit_code != 0:
            return f'init container "{status["name"]}" ended with {_end_text(end)}', end
    return None


def failure(pod: Pod) -> str | None:
    """Why the pod failed as a whole (its deadline, its node), by its status.

    None if the status has no reason.
    """
    status = pod.get("status", {})
    said = [part for part in (status.get("reason"), status.get("message")) if part]
    return ": ".join(said) if said and phase(pod) == "Failed" else None


def image_of(pod: Pod, container: str) -> str | None:
    """The image of a container."""
    spec = pod.get("spec", {})
    containers = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    return next((c["image"] for c in containers if c["name"] == container), None)


def phase(pod: Pod) -> str:
    """The pod's phase."""
    return str(pod.get("status", {}).get("phase", ""))


def trouble(pod: Pod) -> tuple[str, ...] | None:
    """Reason and message of what keeps the pod from starting: a waiting container, or no node."""
    unscheduled = next((c for c in _conditions(pod) if c["type"] == "PodScheduled" and c["status"] == "False"), None)
    if unscheduled:
        return unscheduled.get("reason", ""), _NO_PREEMPTION.sub("", unscheduled.get("message", ""))
    stuck = waiting(pod)
    return (stuck.reason, stuck.message) if stuck else None


def pull_error(pod: Pod) -> str | None:
    """Why an image of the pod cannot be pulled, None also where the message does not say it."""
    stuck = waiting(pod)
    is_told = stuck and stuck.reason in IMAGE_TROUBLE and cluster_messages.registry_answer(stuck.message)
    return stuck.message if stuck and is_told else None


def has_hopeless_image(pod: Pod) -> bool:
    """Whether the image cannot be pulled for a permanent reason."""
    stuck = waiting(pod) or Waiting()
    category = signs.category_of(signs.OF_A_REGISTRY, stuck.message, stuck.reason)
    return stuck.reason in IMAGE_TROUBLE and category in _WILL_NOT_APPEAR


def state(pod: Pod) -> PodState:
    """The pod's state for the log."""
    if end := script_end(pod):
        cause = f", {failed}" if (failed := failure(pod)) else ""
        return PodState("ended", f"ended{where(pod)}: {_end_text(end)}{cause}")
    if failed := install_failure(pod):
        return PodState("ended", f"failed{where(pod)}: {failed}")
    if is_being_deleted(pod):
        cause = f": {disrupted}" if (disrupted := disruption(pod)) else ""
        return PodState("terminating", f"is being deleted{where(pod)}{cause}", is_trouble=bool(cause))
    if pod.get("status", {}).get("phase") == "Failed":
        return PodState("failed", f"failed{where(pod)}: {_status_text(pod)}", is_trouble=True)
    if script_has_started(pod):
        return PodState("running", f"is running{where(pod)}")
    return _state_before_the_script(pod)


def _state_before_the_script(pod: Pod) -> PodState:
    if installation_has_started(pod):
        return PodState("installing", f"is installing dependencies{where(pod)}")
    if stuck := trouble(pod):
        key = "image" if stuck[0] in IMAGE_TROUBLE else stuck[0]
        return PodState(key, f"is waiting{where(pod)}: {': '.join(stuck)}".rstrip(": "), is_trouble=True)
    return PodState("starting", f"is starting{where(pod)}" if node(pod) else "is waiting for a node")


def attempt(pod: Pod) -> Attempt:
    """The attempt that this pod represents, for the result."""
    end = script_end(pod)
    reason = pod.get("status", {}).get("reason") or (_reason_of(end) if end else None)
    if not reason and (why := disruption(pod)):
        reason = why.partition(":")[0]
    return Attempt(
        pod_name=name(pod),
        node_name=node(pod),
        exit_code=end.exit_code if end else None,
        reason=reason or None,
        started_at=end.started_at if end else _running_since(pod),
        finished_at=end.finished_at if end else None,
    )


def disruption(pod: Pod) -> str | None:
    """Why the cluster ended the pod, by the pod's condition."""
    condition = _condition(pod, "DisruptionTarget")
    return f"{condition.get('reason')}: {condition.get('message', '')}".rstrip(": ") if condition else None


def _end_text(end: ContainerEnd) -> str:
    if end.has_killed_child:
        return f"exit code {end.exit_code}; {CHILD_KILLED} (OOMKilled)"
    reason = "" if end.reason in ("", "Completed", "Error") else f", {end.reason}"
    return f"exit code {end.exit_code}{reason}"


def _reason_of(end: ContainerEnd) -> str:
    """The reason of an end. With cgroup v1 a killed child marks a success as OOMKilled."""
    return "Completed" if end.exit_code == 0 and end.reason else end.reason


def _status_text(pod: Pod) -> str:
    init = failed_init(pod)
    return failure(pod) or (init[0] if init else "no reason given")


def _running_since(pod: Pod) -> str | None:
    since: str | None = _script_status(pod).get("state", {}).get("running", {}).get("startedAt")
    return since


def _script_status(pod: Pod) -> Mapping[str, Any]:
    statuses = pod.get("status", {}).get("containerStatuses") or []
    return next((status for status in statuses if status["name"] == SCRIPT_CONTAINER), {})


def _install_status(pod: Pod) -> Mapping[str, Any]:
    statuses = pod.get("status", {}).get("initContainerStatuses") or []
    return next((status for status in statuses if status["name"] == labels.INSTALL_CONTAINER), {})


def _installs_packages(pod: Pod) -> bool:
    """Whether the script's container installs packages before the script runs."""
    containers = pod.get("spec", {}).get("containers") or []
    variables = next((c.get("env") or [] for c in containers if c["name"] == SCRIPT_CONTAINER), [])
    return any(variable["name"] == provision.PACKAGES_VARIABLE for variable in variables)


def _statuses(pod: Pod) -> list[Mapping[str, Any]]:
    status = pod.get("status", {})
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _conditions(pod: Pod) -> list[Mapping[str, Any]]:
    return pod.get("status", {}).get("conditions") or []


def _condition(pod: Pod, kind: str) -> Mapping[str, Any] | None:
    return next((c for c in _conditions(pod) if c["type"] == kind and c["status"] == "True"), None)
