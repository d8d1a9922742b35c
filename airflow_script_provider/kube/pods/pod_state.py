"""What a pod does or waits for, for the log and for verdicts before its script starts."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_script_provider.kube.causes import cluster_messages, signs
from airflow_script_provider.kube.causes.patterns import compiled_later
from airflow_script_provider.kube.hiding import Hide, shown_report
from airflow_script_provider.kube.labels import SCRIPT_CONTAINER
from airflow_script_provider.kube.pods import pod_status
from airflow_script_provider.kube.pods.pod_status import Pod
from airflow_script_provider.kube.request import provision
from airflow_script_provider.kube.wording import one_line
from airflow_script_provider.result import Category

IMAGE_TROUBLE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError")

_WILL_NOT_APPEAR = (
    Category.IMAGE_NOT_FOUND, Category.IMAGE_UNAUTHORIZED, Category.INVALID_IMAGE_NAME, Category.ERR_IMAGE_NEVER_PULL,
)  # fmt: skip
# What the scheduler adds to its reasons where ending other pods would not help either.
_NO_PREEMPTION = compiled_later(
    r" (no new claims to deallocate, )?preemption: \d+/\d+ nodes are available: "
    r"(\d+ (Preemption is not helpful for scheduling|No preemption victims found for incoming pods?)[.,] ?)+$"
)


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


def waiting(pod: Pod) -> Waiting | None:
    """The container that keeps the pod from starting, None if none does."""
    for status in pod_status.statuses(pod):
        state = status.get("state", {}).get("waiting")
        if state and state.get("reason") and state["reason"] not in pod_status.INITIAL:
            return Waiting(state["reason"], state.get("message", ""), status["name"])
    return None


def unscheduled(pod: Pod) -> tuple[str, str] | None:
    """Reason and message of why the scheduler has no node for the pod, None if it does not say."""
    scheduled = next((c for c in pod_status.conditions(pod) if c["type"] == "PodScheduled"), None)
    if scheduled is None or scheduled["status"] != "False":
        return None
    return scheduled.get("reason", ""), _NO_PREEMPTION.sub("", scheduled.get("message", ""))


def trouble(pod: Pod) -> tuple[str, str] | None:
    """Reason and message of what keeps the pod from starting: a waiting container, or no node."""
    if why := unscheduled(pod):
        return why
    stuck = waiting(pod)
    return (stuck.reason, stuck.message) if stuck else None


def pull_error(pod: Pod) -> str | None:
    """Why an image of the pod cannot be pulled, None also where the message does not say it."""
    stuck = waiting(pod)
    is_told = stuck and stuck.reason in IMAGE_TROUBLE and cluster_messages.registry_answer(stuck.message)
    return stuck.message if stuck and is_told else None


def has_image_trouble(pod: Pod) -> bool:
    """Whether an image keeps the pod from starting, for any reason."""
    return (waiting(pod) or Waiting()).reason in IMAGE_TROUBLE


def has_hopeless_image(pod: Pod) -> bool:
    """Whether the image cannot be pulled for a permanent reason."""
    stuck = waiting(pod) or Waiting()
    answer = cluster_messages.registry_answer(stuck.message, pod_status.image_of(pod, stuck.container) or "")
    category = signs.category_of(signs.OF_A_REGISTRY, answer, stuck.reason)
    return has_image_trouble(pod) and category in _WILL_NOT_APPEAR


def lacks_program(pod: Pod) -> bool:
    """Whether a container is not created because its image lacks the program, as CRI-O reports."""
    stuck = waiting(pod) or Waiting()
    return stuck.reason in signs.OF_RUNTIMES and cluster_messages.program_fault(stuck.message) is not None


def state(pod: Pod, hide: Hide | None = None) -> PodState:
    """The pod's state for the log. ``hide`` makes what a container runtime reports safe for it."""
    if end := pod_status.script_end(pod):
        cause = f", {failed}" if (failed := pod_status.failure(pod)) else ""
        return PodState("ended", f"ended{pod_status.where(pod)}: {pod_status.end_text(end)}{cause}")
    if failed := install_failure(pod, hide):
        return PodState("ended", f"failed{pod_status.where(pod)}: {pod_status.failure(pod) or failed}")
    if pod_status.is_being_deleted(pod):
        cause = f": {disrupted}" if (disrupted := pod_status.disruption(pod)) else ""
        return PodState("terminating", f"is being deleted{pod_status.where(pod)}{cause}", is_trouble=bool(cause))
    if pod.get("status", {}).get("phase") == "Failed":
        return PodState("failed", f"failed{pod_status.where(pod)}: {_status_text(pod)}", is_trouble=True)
    if pod_status.script_has_started(pod):
        return PodState("running", f"is running{pod_status.where(pod)}")
    return _state_before_the_script(pod, hide)


def install_failure(pod: Pod, hide: Hide | None) -> str | None:
    """What could not be installed, safe for a message; None if no installation failed.

    An installer may quote a value of ``env`` or of a requirement, such as the URL of an index.
    """
    end, why = pod_status.failed_end(pod), one_line(pod_status.install_failure(pod) or "")
    if end is None or not why:
        return None
    if end.reason in pod_status.START_ERRORS:
        reported = cluster_messages.start_error(end.message)
        return f"{why.removesuffix(reported)}{shown_report(hide, reported)}".removesuffix(":")
    if why not in one_line(end.message):
        return why
    return (hide(why) if hide else "") or provision.cause_in_our_words(why)


def _state_before_the_script(pod: Pod, hide: Hide | None) -> PodState:
    if pod_status.installation_has_started(pod):
        return PodState("installing", f"is installing dependencies{pod_status.where(pod)}")
    if stuck := trouble(pod):
        reason, message = stuck
        key = "image" if reason in IMAGE_TROUBLE else reason
        shown = "" if reason in signs.OF_HOOKS else cluster_messages.without_logins(message)
        shown = shown_report(hide, cluster_messages.start_error(shown)) if reason in signs.OF_RUNTIMES else shown
        return PodState(key, f"is waiting{pod_status.where(pod)}: {reason}: {shown}".rstrip(": "), is_trouble=True)
    where = pod_status.where(pod)
    return PodState("starting", f"is starting{where}" if where else "is waiting for a node")


def _status_text(pod: Pod) -> str:
    init = pod_status.failed_init(pod)
    return pod_status.failure(pod) or (init[0] if init else "no reason given")
