"""Each form of a kubeconfig means the same to worker, trigger and command line, and what it means to kubectl."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_script_provider import exceptions
from airflow_script_provider.clusters.access import DEFAULT_CONN_ID, ClusterRef
from airflow_script_provider.hooks._task_run import TaskRun
from airflow_script_provider.runners.pod import PodRunner
from airflow_script_provider.runners.script_run import ScriptRun, Target
from airflow_script_provider.sources.inline import InlineScript
from airflow_script_provider.triggers.shared_cluster import shared_access, shared_cluster
from tests.unit.clusters.forms import FORMS, REFUSED, Stand, a_stand


def a_ref(arguments: dict[str, Any]) -> ClusterRef:
    """What the operator's arguments name."""
    return ClusterRef(arguments.get("kubernetes_conn_id", DEFAULT_CONN_ID), None,
                      arguments.get("config_file"), arguments.get("cluster_context"))  # fmt: skip


def in_worker(arguments: dict[str, Any], stand: Stand) -> str:
    """Ask the server as a task in a worker does; the error."""
    try:
        TaskRun(a_ref(arguments), logging.getLogger("script")).call(lambda api: api.get("pods", "etl", "load"))
    except exceptions.ScriptProviderError as error:
        return str(error)
    return ""


def in_trigger(arguments: dict[str, Any], stand: Stand) -> str:
    """Ask the server as a trigger does; the error."""

    async def ask() -> None:
        async with shared_cluster(await shared_access(a_ref(arguments))) as cluster:
            await cluster.api.get("pods", "etl", "load")

    try:
        asyncio.run(ask())
    except exceptions.ScriptProviderError as error:
        return str(error)
    return ""


def on_command_line(arguments: dict[str, Any], stand: Stand) -> str:
    """Ask the server as the command line does, which has KUBECONFIG and ``--context``; the error."""
    if path := arguments.get("config_file"):
        stand.environment.setenv("KUBECONFIG", path)
    where = {"conn_id": arguments.get("kubernetes_conn_id"), "context": arguments.get("cluster_context")}
    target = Target(deployment="load", namespace="etl", **where)
    try:
        return PodRunner().why_unavailable(ScriptRun(source=InlineScript("print(1)"), target=target)) or ""
    except ValueError as error:
        return str(error)


WAYS: dict[str, Callable[[dict[str, Any], Stand], str]] = {
    "worker": in_worker,
    "trigger": in_trigger,
    "command line": on_command_line,
}


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stand]:
    """Where a form is tried."""
    with a_stand(tmp_path, monkeypatch) as found:
        yield found


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("form", FORMS)
def test_the_server_gets_what_kubectl_would_send(
    form: str, way: str, stand: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    """Identity, TLS and proxy of each form, by each way, and no credential in a message or log (R16, R40)."""
    caplog.set_level("DEBUG")
    wanted = FORMS[form]
    error = WAYS[way](wanted.given(stand), stand)
    assert "not found" in error or "does not exist" in error, error  # what the stand-in answers
    assert stand.server is not None
    request = stand.server.requests[0]
    assert {name: request.headers.get(name) for name in wanted.headers} == dict(wanted.headers)
    if wanted.of_proxy is not None:
        assert stand.proxy is not None
        asked = stand.proxy.requests[0].headers
        assert {name: asked.get(name) for name in wanted.of_proxy} == dict(wanted.of_proxy)
    assert "hunter2" not in error + caplog.text


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("form", REFUSED)
def test_what_is_refused_has_a_reason(form: str, way: str, stand: Stand, caplog: pytest.LogCaptureFixture) -> None:
    """The same by each way, and without a credential (R26, R40)."""
    caplog.set_level("DEBUG")
    given, reason = REFUSED[form]
    error = WAYS[way](given(stand), stand)
    assert reason in error
    assert "hunter2" not in error + caplog.text


def test_nothing_of_a_key_is_left_on_the_disk(stand: Stand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSSL reads a certificate's key from a file, which is then gone (R26)."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    in_worker(FORMS["client certificate"].given(stand), stand)
    assert list((tmp_path / "temporary").iterdir()) == []


async def test_a_websocket_carries_the_identity(stand: Stand) -> None:
    """Impersonation stands in every request, also in the one that becomes a websocket (R40)."""
    from airflow_script_provider.api.websocket import Upgrade
    from airflow_script_provider.clusters.credentials import open_api

    wanted = FORMS["impersonation"]
    access = a_ref(wanted.given(stand)).resolve()
    async with open_api(access) as api:
        with contextlib.suppress(exceptions.KubernetesApiError):
            await api.connect("pods/exec", "etl", "load", [], Upgrade(("v5.channel.k8s.io",), 10.0))
    assert stand.server is not None
    (request, *_) = stand.server.requests
    assert request.headers["upgrade"] == "websocket"
    assert {name: request.headers.get(name) for name in wanted.headers} == dict(wanted.headers)
