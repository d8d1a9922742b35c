"""What became of a script whose end is not reported."""

from __future__ import annotations

from typing import Any, cast

import pytest

from airflow_script_provider import exceptions
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.execs import look as look_module
from airflow_script_provider.execs.choose import ChosenPod
from airflow_script_provider.execs.look import Look, look
from airflow_script_provider.kube.exec.outcome import PodLocation
from airflow_script_provider.kube.exec.workloads import Gone

DELETED = "the pod is being deleted, perhaps by a rollout"
VANISHED = "the pod was deleted or replaced by a rollout while the script ran"
ENDED = 'container "api" ended while the script ran'


def a_pod(state: str = "running", **metadata: Any) -> dict[str, Any]:
    """The pod, whose container is in this state."""
    statuses = [{"name": "api", "containerID": "containerd://1", "state": {state: {}}}]
    return {"metadata": {"uid": "uid-x1", **metadata}, "status": {"phase": "Running", "containerStatuses": statuses}}


def a_restarted_pod() -> dict[str, Any]:
    """The pod, in which the container runs anew."""
    pod = a_pod()
    pod["status"]["containerStatuses"][0]["containerID"] = "containerd://2"
    return pod


def a_deleted_pod(state: str = "running") -> dict[str, Any]:
    """The pod, which the API server was asked to delete."""
    return a_pod(state, deletionTimestamp="2026-01-01T00:00:00Z", deletionGracePeriodSeconds=0)


class StandInApi:
    """Returns the pod as it is at each look, and as it is last from then on; None is its absence."""

    def __init__(self, *pods: dict[str, Any] | None) -> None:
        self._pods = list(pods)

    async def get(self, resource: str, namespace: str, name: str) -> dict[str, Any]:
        """The pod."""
        pod = self._pods.pop(0) if len(self._pods) > 1 else self._pods[0]
        if pod is None:
            raise exceptions.ApiNotFoundError("no such pod", status=404)
        return pod


@pytest.mark.parametrize(
    ("pods", "is_running", "seen", "has_ended"),
    [
        ([a_pod()], None, Look(None, None), False),
        ([a_pod()], True, Look(None, True), False),
        ([a_pod()], False, Look(None, False), False),
        ([a_pod(), a_pod("terminated")], None, Look(Gone(ENDED), None), True),
        ([None], None, Look(Gone(VANISHED), None), True),
        ([a_pod("terminated")], False, Look(Gone(ENDED), False), True),
        ([a_pod(uid="uid-x2")], None, Look(Gone(VANISHED), None), True),
        ([a_pod(uid="uid-x2")], True, Look(None, True), False),
        ([a_restarted_pod()], True, Look(None, True), False),
        ([a_deleted_pod()], None, Look(Gone(DELETED, is_over=False), None), False),
        ([a_deleted_pod()], True, Look(Gone(DELETED, is_over=False), True), False),
        ([a_deleted_pod()], False, Look(Gone(DELETED, is_over=False), False), True),
        ([a_deleted_pod()] * 5 + [a_deleted_pod("terminated")], None, Look(Gone(DELETED), None), True),
        ([a_deleted_pod()] * 5 + [None], None, Look(Gone(DELETED), None), True),
    ],
)
async def test_only_a_pod_that_has_ended_has_ended_the_script(
    monkeypatch: pytest.MonkeyPatch,
    pods: list[dict[str, Any] | None],
    is_running: bool | None,
    seen: Look,
    has_ended: bool,
) -> None:
    """A request to delete a pod ends nothing on a node that is cut off, so its end is waited for (R36)."""
    monkeypatch.setattr(look_module, "CHECK_PAUSE", 0.01)
    monkeypatch.setattr(look_module, "DELETION_MARGIN", 0.3)
    chosen = ChosenPod(a_pod(), PodLocation("shop", "api-x1", "api", "api:1"))

    async def process() -> bool | None:
        return is_running

    found = await look(cast(KubernetesApi, StandInApi(*pods)), chosen, process)
    assert (found, found.pod_end is not None) == (seen, has_ended)
