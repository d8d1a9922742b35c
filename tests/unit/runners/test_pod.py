"""A script that the command line runs in a pod: how its end is explained."""

from __future__ import annotations

from typing import Any, cast

import pytest

from airflow_script_provider import exceptions
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.execs.choose import ChosenPod
from airflow_script_provider.execs.session import ExecSession
from airflow_script_provider.kube.exec.outcome import PodLocation
from airflow_script_provider.kube.exec.program import Invocation
from airflow_script_provider.runners import stdin_feed
from airflow_script_provider.runners.pod import PodProcess
from airflow_script_provider.runners.recording import ProcessEnd

POD: dict[str, Any] = {
    "metadata": {"uid": "uid-x1"},
    "status": {"phase": "Running", "containerStatuses": [{"name": "api", "state": {"running": {}}}]},
}
DELETED = POD | {"metadata": {"uid": "uid-x1", "deletionTimestamp": "2026-01-01T00:00:00Z"}}
INVOCATION = Invocation(["true"])


class StandInApi:
    """Has the pod, which is being deleted by default; None for a server that does not answer."""

    def __init__(self, *pods: dict[str, Any] | None) -> None:
        self._pods = list(pods or (DELETED,))

    async def get(self, resource: str, namespace: str, name: str) -> dict[str, Any]:
        """The pod as it is now."""
        pod = self._pods.pop(0) if len(self._pods) > 1 else self._pods[0]
        if pod is None:
            raise exceptions.ApiUnreachableError("no answer")
        return pod


class StandInSession:
    """The connection of a script whose shell has reported this exit code, or code and signal."""

    status = None

    def __init__(self, code: int | str) -> None:
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


async def end_of(code: int | str, api: StandInApi) -> ProcessEnd:
    """The end of a script with this code, or code and signal."""
    chosen = ChosenPod(POD, PodLocation("shop", "api-x1", "api", "api:1"))
    session = cast(ExecSession, StandInSession(code))
    process = PodProcess(cast(KubernetesApi, api), chosen, session, INVOCATION, terminal=False)
    return await process.follow(lambda _, __: None)


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
    assert await end_of(code, StandInApi()) == ProcessEnd(None if cause else code, cause=cause)


STOPPED = "outcome unknown: script ended with exit code 0 after a SIGTERM; "
BEING_DELETED = "the pod is being deleted, perhaps by a rollout"


@pytest.mark.parametrize(
    ("code", "api", "end"),
    [
        (0, StandInApi(DELETED), ProcessEnd(0, cause=STOPPED + BEING_DELETED, is_unknown=True)),
        (0, StandInApi(POD, POD, DELETED), ProcessEnd(0, cause=STOPPED + BEING_DELETED, is_unknown=True)),
        (
            0,
            StandInApi(POD, None),
            ProcessEnd(0, cause=f"{STOPPED}the pod cannot be read, so it may have ended as well", is_unknown=True),
        ),
        (0, StandInApi(POD), ProcessEnd(0)),
        (3, StandInApi(DELETED), ProcessEnd(3, cause=f"script failed: {BEING_DELETED}")),
        (3, StandInApi(None), ProcessEnd(3)),
        (3, StandInApi(POD), ProcessEnd(3)),
    ],
)
async def test_a_script_that_stops_with_its_pod_has_not_succeeded(
    code: int, api: StandInApi, end: ProcessEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for the operator: PID 1 passes SIGTERM on, and the script may end with 0 half-way (R1, R36)."""
    monkeypatch.setattr(stdin_feed, "_CHECK_PAUSE", 0.0)
    assert await end_of(f"{code} TERM", api) == end
