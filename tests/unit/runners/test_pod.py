"""A script that the command line runs in a pod: how its end is explained."""

from __future__ import annotations

from typing import Any, cast

import pytest

from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.execs.choose import ChosenPod
from airflow_script_provider.execs.session import ExecSession
from airflow_script_provider.kube.exec.outcome import PodLocation
from airflow_script_provider.kube.exec.program import Invocation
from airflow_script_provider.runners.pod import PodProcess
from airflow_script_provider.runners.recording import ProcessEnd

POD: dict[str, Any] = {
    "metadata": {"uid": "uid-x1"},
    "status": {"phase": "Running", "containerStatuses": [{"name": "api", "state": {"running": {}}}]},
}
DELETED = POD | {"metadata": {"uid": "uid-x1", "deletionTimestamp": "2026-01-01T00:00:00Z"}}
INVOCATION = Invocation(["true"])


class StandInApi:
    """Has the pod, which is being deleted."""

    async def get(self, resource: str, namespace: str, name: str) -> dict[str, Any]:
        """The pod."""
        return DELETED


class StandInSession:
    """The connection of a script whose shell has reported this exit code."""

    status = None

    def __init__(self, code: int) -> None:
        lines = f"{INVOCATION.nonce} started 12 345\n\x1e{INVOCATION.nonce} ended {code}\n"
        self._pieces = [(1, lines.encode())]

    async def send(self, data: bytes) -> None:
        """Take it."""

    def __aiter__(self) -> StandInSession:
        return self

    async def __anext__(self) -> tuple[int, bytes]:
        if not self._pieces:
            raise StopAsyncIteration
        return self._pieces.pop()


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (3, None),
        (255, None),
        (137, "script failed: the pod is being deleted, perhaps by a rollout"),
    ],
)
async def test_only_a_signal_is_explained_by_the_end_of_the_pod(code: int, cause: str | None) -> None:
    """An exit code of the script's own, such as 255 of ssh, php or perl, is its own failure (R22)."""
    chosen = ChosenPod(POD, PodLocation("shop", "api-x1", "api", "api:1"))
    api, session = cast(KubernetesApi, StandInApi()), cast(ExecSession, StandInSession(code))
    end = await PodProcess(api, chosen, session, INVOCATION, terminal=False).follow(lambda _, __: None)
    assert end == ProcessEnd(None if cause else code, cause=cause)
