"""What a pod's status says."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_script_provider.kube.pods import pod_state, pod_status
from airflow_script_provider.result import Attempt
from tests.builders import a_container, a_pod

NO_ROOM = "0/2 nodes are available: 1 Insufficient memory, 1 node(s) were unschedulable."
NO_VICTIM = (
    "no new claims to deallocate, preemption: 0/2 nodes are available: "
    "1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling."
)
OLDER_NO_VICTIM = "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
OTHER_END = "preemption: not eligible due to preemptionPolicy=Never."


def test_the_end_of_another_container_is_not_the_scripts() -> None:
    """Only the container ``script`` tells how the script ended (R12)."""
    assert pod_status.script_end(a_pod(running=True, others=[a_container(name="proxy", exit_code=1)])) is None


def test_the_end_tells_code_reason_and_times() -> None:
    """The end of a script is what the kubelet reports of it."""
    end = pod_status.script_end(a_pod(exit_code=3))
    assert end == pod_status.ContainerEnd(3, "Error", "", "2026-01-01T00:00:01Z", "2026-01-01T00:00:05Z")


@pytest.mark.parametrize("pod", [a_pod(running=True), a_pod(exit_code=1)])
def test_a_script_that_ran_has_a_log(pod: pod_status.Pod) -> None:
    """Running or ended, there is a log to read."""
    assert pod_status.script_has_started(pod)


def test_a_script_that_waits_has_no_log() -> None:
    """Before the container runs there is no log."""
    assert not pod_status.script_has_started(a_pod(waiting="ImagePullBackOff"))


def test_a_pod_without_status_is_none_of_anything() -> None:
    """A pod right after its creation has no status yet; nothing raises."""
    pod: pod_status.Pod = {"metadata": {"name": "load-x1", "uid": "u"}, "spec": {}, "status": {}}
    questions = (
        pod_status.script_has_started,
        pod_status.has_started,
        pod_status.has_failed,
        pod_state.waiting,
        pod_status.script_end,
    )
    assert not any(question(pod) for question in questions)


def test_containers_that_ended_well_are_finished() -> None:
    """A sidecar that ended with 0 keeps nothing open; one that runs or failed does."""
    others = [
        a_container(name="good", exit_code=0),
        a_container(name="bad", exit_code=1),
        a_container(name="busy", running=True),
    ]
    assert pod_status.unfinished_others(a_pod(exit_code=0, others=others)) == ["bad", "busy"]


def test_only_containers_without_an_end_still_run() -> None:
    """A sidecar that failed no longer runs."""
    others = [a_container(name="bad", exit_code=1), a_container(name="busy", running=True)]
    assert pod_status.running_others(a_pod(exit_code=0, others=others)) == ["busy"]


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("ErrImagePull", "docker.io/library/python:9.99: not found"),
        ("ImagePullBackOff", 'Back-off pulling image "x": ErrImagePull: manifest unknown'),
        ("ErrImagePull", "pull access denied, repository does not exist"),
        ("ErrImagePull", "401 Unauthorized"),
        ("InvalidImageName", "couldn't parse image name"),
        ("ErrImageNeverPull", "Container image is not present with pull policy of Never"),
        ("ErrImagePull", "no match for platform in manifest"),
    ],
)
def test_some_images_will_never_come(reason: str, message: str) -> None:
    """What the registry says for good is not worth waiting for (R15)."""
    assert pod_state.has_hopeless_image(a_pod(waiting=reason, message=message))


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("ErrImagePull", "503 Service Unavailable"),
        ("ErrImagePull", "dial tcp: i/o timeout"),
        ("ImagePullBackOff", "Back-off pulling image"),
        ("ImagePullBackOff", 'Back-off pulling image "r/denied:1": ErrImagePull: Head "https://r/v2/denied": EOF'),
        ("ErrImagePull", "failed to resolve image: r/unauthorized:1: dial tcp: i/o timeout"),
        ("CreateContainerConfigError", 'secret "x" not found'),
    ],
)
def test_other_troubles_may_pass(reason: str, message: str) -> None:
    """A registry that is down, or an object that is missing, may come back (R15)."""
    assert not pod_state.has_hopeless_image(a_pod(waiting=reason, message=message))


@pytest.mark.parametrize(
    ("pod", "key", "text"),
    [
        (a_pod(node=None), "starting", "is waiting for a node"),
        (a_pod(), "starting", "is starting on node-1"),
        (a_pod(running=True), "running", "is running on node-1"),
        (a_pod(exit_code=0), "ended", "ended on node-1: exit code 0"),
        (a_pod(oom_killed=True), "ended", "ended on node-1: exit code 137, OOMKilled"),
        (a_pod(exit_code=7, reason="OOMKilled"), "ended",
         "ended on node-1: exit code 7; a process of it was killed for memory (OOMKilled)"),
        (a_pod(exit_code=143, phase="Failed", pod_reason="DeadlineExceeded", pod_message="too long"), "ended",
         "ended on node-1: exit code 143, DeadlineExceeded: too long"),
        (a_pod(running=True, being_deleted=True), "terminating", "is being deleted on node-1"),
        (a_pod(phase="Failed", pod_reason="Evicted"), "failed", "failed on node-1: Evicted"),
        (a_pod(unschedulable="0/2 nodes"), "Unschedulable", "is waiting: Unschedulable: 0/2 nodes"),
        (a_pod(waiting="ErrImagePull", message="503"), "image", "is waiting on node-1: ErrImagePull: 503"),
    ],
)  # fmt: skip
def test_states_in_words(pod: pod_status.Pod, key: str, text: str) -> None:
    """Each state has a key that tells it from others, and words for the log."""
    state = pod_state.state(pod)
    assert (state.key, state.text) == (key, text)


@pytest.mark.parametrize(
    ("pod", "trouble"),
    [
        (a_pod(waiting="ErrImagePull", message="503"), ("ErrImagePull", "503")),
        (a_pod(unschedulable="0/2 nodes"), ("Unschedulable", "0/2 nodes")),
        (a_pod(unschedulable=f"{NO_ROOM} {NO_VICTIM}"), ("Unschedulable", NO_ROOM)),
        (a_pod(unschedulable=f"{NO_ROOM} {OLDER_NO_VICTIM}"), ("Unschedulable", NO_ROOM)),
        (a_pod(unschedulable=f"{NO_ROOM} {OTHER_END}"), ("Unschedulable", f"{NO_ROOM} {OTHER_END}")),
        (a_pod(), None),
    ],
)
def test_trouble_is_reason_and_message(pod: pod_status.Pod, trouble: tuple[str, ...] | None) -> None:
    """What keeps a pod from starting: a container that waits, or no node for it."""
    assert pod_state.trouble(pod) == trouble


def test_pull_and_back_off_are_one_state() -> None:
    """The kubelet's alternation between pulling and waiting is said once (R15)."""
    assert pod_state.state(a_pod(waiting="ErrImagePull")).key == pod_state.state(a_pod(waiting="ImagePullBackOff")).key


def test_an_attempt_is_what_the_pod_was() -> None:
    """The result's attempt holds pod, node, code, reason and times."""
    assert pod_status.attempt(a_pod(oom_killed=True)) == Attempt(
        "load-x1", "node-1", 137, "OOMKilled", "2026-01-01T00:00:01Z", "2026-01-01T00:00:05Z"
    )


def test_a_success_has_no_reason_of_a_failure() -> None:
    """With cgroup v1 a killed child leaves OOMKilled on a container that ends with 0."""
    assert pod_status.attempt(a_pod(exit_code=0, reason="OOMKilled")).reason == "Completed"
    assert pod_status.attempt(a_pod(exit_code=0, phase="Failed", pod_reason="Evicted")).reason == "Evicted"


@pytest.mark.parametrize("reason", [None, "EvictionByEvictionAPI"])
def test_an_attempt_that_was_deleted_has_no_exit_code(reason: str | None) -> None:
    """Its reason is Kubernetes' own word: an eviction has one, ``kubectl delete pod`` has none."""
    attempt = pod_status.attempt(a_pod(running=True, being_deleted=True, disrupted=reason))
    assert (attempt.exit_code, attempt.reason) == (None, reason)


def test_the_pods_reason_is_above_the_containers() -> None:
    """What ended the pod tells more than what ended the container."""
    assert pod_status.attempt(a_pod(exit_code=137, pod_reason="Evicted")).reason == "Evicted"


def test_a_disruption_in_the_clusters_words() -> None:
    """Why the cluster ended the pod."""
    assert (
        str(pod_status.disruption(a_pod(being_deleted=True, disrupted="PreemptionByScheduler")))
        == "PreemptionByScheduler: the node is drained"
    )


@pytest.mark.parametrize("facts", [{"running": True}, {"waiting": "ContainerCreating"}, {"exit_code": 0}])
def test_an_announced_disruption_is_none(facts: dict[str, Any]) -> None:
    """The cluster may give it up, as when a webhook denies the pod's deletion (R7)."""
    assert pod_status.disruption(a_pod(**facts, disrupted="EvictionByEvictionAPI")) is None


def test_a_pod_that_nobody_disturbed_has_no_disruption() -> None:
    """An ordinary end is no disruption."""
    assert pod_status.disruption(a_pod(exit_code=1)) is None
