"""What is kept of a pod's states."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_script_provider.kube.pods import pod_state, pod_status
from tests.builders import a_pod, a_view

WAITS = "CreateContainerConfigError"


@pytest.mark.parametrize("initial", ["PodInitializing", None])
def test_a_deleted_pod_still_says_what_it_waited_for(initial: str | None) -> None:
    """Of a container that never started, a kubelet then reports an end of its own (R15, R22)."""
    leaving: dict[str, Any] = {"being_deleted": True, "grace_period": 30}
    view = a_view(a_pod(waiting=WAITS, message='secret "missing" not found'))
    if initial:
        view = view.with_pod(a_pod(waiting=initial, **leaving), 10)
    lost = a_pod(exit_code=137, reason="ContainerStatusUnknown", phase="Failed", **leaving)
    lost["status"]["containerStatuses"][0]["state"]["terminated"] |= {"startedAt": None, "finishedAt": None}
    view = view.with_pod(lost, 11)
    assert pod_state.trouble(view.pods["uid-load-x1"]) == (WAITS, 'secret "missing" not found')
    assert view.unended_pods == []


def test_a_container_that_started_has_its_own_end() -> None:
    """What it waited for before is settled (R22)."""
    view = a_view(a_pod(waiting=WAITS)).with_pod(a_pod(exit_code=143, being_deleted=True, phase="Failed"), 10)
    assert pod_status.script_end(view.pods["uid-load-x1"]) is not None
    assert pod_state.trouble(view.pods["uid-load-x1"]) is None


def test_a_pod_that_is_found_again_is_not_gone() -> None:
    """A watch by labels reports as deleted what has lost its label (R1, R10)."""
    pod = a_pod(running=True)
    gone = a_view(pod).with_pod(pod, 1, deleted=True)
    assert (gone.gone, gone.unended_pods) == (frozenset({"uid-load-x1"}), [])
    found = gone.with_pod(pod, 2)
    assert (found.gone, found.unended_pods) == (frozenset(), ["uid-load-x1"])
