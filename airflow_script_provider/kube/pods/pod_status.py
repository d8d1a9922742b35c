"""Reading a pod's status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_script_provider.kube import labels
from airflow_script_provider.kube.causes import cluster_messages
from airflow_script_provider.kube.labels import INSTALL_CONTAINER, SCRIPT_CONTAINER
from airflow_script_provider.kube.logs.container_logs import ContainerLog
from airflow_script_provider.kube.request import provision
from airflow_script_provider.kube.times import parse_time
from airflow_script_provider.result import Attempt

Pod = Mapping[str, Any]

CHILD_KILLED = "a process of it was killed for memory"
_KILLED = 137
CLOCK_DIFFERENCE = 5.0
"""Seconds by which the clock of a node may differ from the API server's."""
INITIAL = ("ContainerCreating", "PodInitializing")
"""What a container waits for before anything keeps it from starting."""
LOST = ("ContainerStatusUnknown", "Unknown")
"""Kubernetes' words for a container of which the node no longer knows."""
SCHEDULED = "PodScheduled"
"""The condition of a pod that says whether it has a node."""
START_ERRORS = ("StartError", "ContainerCannotRun")


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
class Disruption:
    """Why the cluster ended a pod: Kubernetes' word and its message."""

    reason: str
    message: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}".strip(": ")


def name(pod: Pod) -> str:
    """The pod's name."""
    return str(pod["metadata"]["name"])


def uid(pod: Pod) -> str:
    """The pod's uid."""
    return str(pod["metadata"]["uid"])


def created_at(pod: Pod) -> str:
    """When the pod was created, in RFC 3339; texts of this form sort by time."""
    return str(pod["metadata"].get("creationTimestamp") or "")


def scheduled_at(pod: Pod) -> str:
    """When the pod got its node, in RFC 3339; when it was created where that is unknown."""
    found = (one.get("lastTransitionTime") for one in conditions(pod) if one["type"] == SCHEDULED)
    return next(filter(None, found), None) or created_at(pod)


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


def own_exit_code(pod: Pod) -> int | None:
    """The exit code that the script or its interpreter chose, None without one.

    The container may also end with the code of an installation, of a container runtime that could
    not start it, or of the kernel that killed it for memory.
    """
    end = script_end(pod)
    if end is None or end.reason in (*START_ERRORS, *LOST) or install_failure(pod) is not None:
        return None
    is_killed = end.reason == "OOMKilled" and not end.has_killed_child
    return None if is_killed else end.exit_code


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


def script_started_at(pod: Pod) -> str:
    """When the script's container started, by its node's clock; empty where that is unknown."""
    state = _script_status(pod).get("state", {})
    return str((state.get("running") or state.get("terminated") or {}).get("startedAt") or "")


def has_started(pod: Pod) -> bool:
    """Whether any container of the pod runs or has run: the pod has its node and its volumes."""
    return any({"running", "terminated"} & status.get("state", {}).keys() for status in statuses(pod))


def shows_a_start(pod: Pod) -> bool:
    """Whether a container of the pod runs, or has an end with a start.

    When a pod ends before its containers start, the kubelet reports an end without a start.
    """
    states = [status.get("state", {}) for status in statuses(pod)]
    return any("running" in state or state.get("terminated", {}).get("startedAt") for state in states)


def unfinished_others(pod: Pod) -> list[str]:
    """Other containers that have not succeeded: with them the pod does not become Succeeded."""
    names = []
    for status in pod.get("status", {}).get("containerStatuses") or []:
        end = container_end(status)
        if status["name"] != SCRIPT_CONTAINER and (end is None or end.exit_code != 0):
            names.append(status["name"])
    return names


def lacks_success(pod: Pod) -> bool:
    """Whether the pod of a script that ended with 0 does not become Succeeded."""
    return phase(pod) == "Failed" or bool(unfinished_others(pod))


def running_others(pod: Pod) -> list[str]:
    """Other containers that run or wait to start."""
    statuses = pod.get("status", {}).get("containerStatuses") or []
    return [s["name"] for s in statuses if s["name"] != SCRIPT_CONTAINER and container_end(s) is None]


def has_unknown_end(pod: Pod) -> bool:
    """Whether the script may have begun on a node while no end of it was reported."""
    return node(pod) is not None and script_end(pod) is None


def is_terminal(pod: Pod) -> bool:
    """Whether nothing of the pod runs any more, by its phase."""
    return phase(pod) in ("Failed", "Succeeded")


def is_being_deleted(pod: Pod) -> bool:
    """Whether the pod is being deleted."""
    return bool(pod["metadata"].get("deletionTimestamp"))


def deletion_grace_period(pod: Pod) -> int:
    """The seconds between the pod's deletion and the SIGKILL, 0 while it is not being deleted."""
    return int(pod.get("metadata", {}).get("deletionGracePeriodSeconds") or 0)


def ends_by_itself(pod: Pod) -> bool:
    """Whether the script has ended, or the installation failed, before anything ended the pod.

    A script that was stopped may end with any exit code, and that of a container of which the node
    no longer knows is made up. If it was 0 and the phase is ``Failed``, other containers that
    failed are an innocent reason, and so is a disruption after the script's end.
    """
    end = script_end(pod) or failed_end(pod)
    is_ended = is_being_deleted(pod) or disruption(pod) is not None
    if end is None or end.reason in LOST or failure(pod) or (is_ended and not _is_before_deletion(end, pod)):
        return False
    is_explained = bool(unfinished_others(pod)) or disruption(pod) is not None
    return failed_end(pod) is not None or phase(pod) != "Failed" or is_explained


def _is_before_deletion(end: ContainerEnd, pod: Pod) -> bool:
    """Whether a container had ended when the deletion of its pod was requested."""
    killed_at = pod["metadata"].get("deletionTimestamp")
    if killed_at is None or end.finished_at is None or "deletionGracePeriodSeconds" not in pod["metadata"]:
        return False
    seconds = (parse_time(killed_at) - parse_time(end.finished_at)).total_seconds()
    return seconds > deletion_grace_period(pod) + CLOCK_DIFFERENCE


def seconds_of_script(pod: Pod) -> float:
    """How long the script ran, by the node's clock in whole seconds; 0 before its end."""
    end = script_end(pod)
    if end is None or not end.started_at or not end.finished_at:
        return 0.0
    return (parse_time(end.finished_at) - parse_time(end.started_at)).total_seconds()


def has_failed(pod: Pod) -> bool:
    """Whether the pod is an attempt that failed."""
    return failed_end(pod) is not None or pod.get("status", {}).get("phase") == "Failed"


def failed_init(pod: Pod) -> tuple[str, ContainerEnd] | None:
    """Which init container of the author failed, as a clause, and how; None if none failed."""
    for status in pod.get("status", {}).get("initContainerStatuses") or []:
        end = container_end(status)
        if status["name"] != labels.INSTALL_CONTAINER and end is not None and end.exit_code != 0:
            return f'init container "{status["name"]}" ended with {end_text(end)}', end
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


def memory_limit(pod: Pod | None) -> list[str]:
    """The memory limit of the script's container, as words; empty without one."""
    containers = (pod or {}).get("spec", {}).get("containers") or []
    ours: Mapping[str, Any] = next((c for c in containers if c["name"] == SCRIPT_CONTAINER), {})
    limits = ours.get("resources", {}).get("limits", {})
    return [f"limit {limits['memory']}"] if "memory" in limits else []


def phase(pod: Pod) -> str:
    """The pod's phase."""
    return str(pod.get("status", {}).get("phase", ""))


def attempt(pod: Pod) -> Attempt:
    """The attempt that this pod represents, for the result."""
    end = script_end(pod)
    word = pod.get("status", {}).get("reason") or (_reason_of(end) if end else None)
    return Attempt(
        pod_name=name(pod),
        node_name=node(pod),
        exit_code=end.exit_code if end else None,
        reason=word or reason(pod),
        started_at=script_started_at(pod) or None,
        finished_at=end.finished_at if end else None,
    )


def disruption(pod: Pod) -> Disruption | None:
    """Why the cluster ended the pod (eviction, drain, preemption), by the pod's condition.

    Such an end does not count as an attempt. The condition alone only announces an end: while the
    pod is neither deleted nor failed, the cluster may still give it up.
    """
    condition = _condition(pod, "DisruptionTarget")
    if condition is None or not (is_being_deleted(pod) or has_failed(pod)):
        return None
    return Disruption(condition.get("reason") or "", condition.get("message") or "")


def reason(pod: Pod) -> str | None:
    """Kubernetes' word for why the pod as a whole ended, None if it has none."""
    disrupted = disruption(pod)
    return pod.get("status", {}).get("reason") or (disrupted.reason if disrupted else "") or None


def end_text(end: ContainerEnd) -> str:
    """How a container ended, as words after "ended with"."""
    if end.has_killed_child:
        return f"exit code {end.exit_code}; {CHILD_KILLED} (OOMKilled)"
    reason = "" if end.reason in ("", "Completed", "Error") else f", {end.reason}"
    return f"exit code {end.exit_code}{reason}"


def _reason_of(end: ContainerEnd) -> str:
    """The reason of an end. With cgroup v1 a killed child marks a success as OOMKilled."""
    return "Completed" if end.exit_code == 0 and end.reason else end.reason


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


def statuses(pod: Pod) -> list[Mapping[str, Any]]:
    """The statuses of its containers, init containers first."""
    status = pod.get("status", {})
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def conditions(pod: Pod) -> list[Mapping[str, Any]]:
    """The pod's conditions."""
    return pod.get("status", {}).get("conditions") or []


def _condition(pod: Pod, kind: str) -> Mapping[str, Any] | None:
    return next((c for c in conditions(pod) if c["type"] == kind and c["status"] == "True"), None)
