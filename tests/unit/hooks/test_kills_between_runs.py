"""A ``@task`` that is killed, and goes on: its code caught the error, or was not in a hook at that moment."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import BaseOperator
from airflow.sdk.execution_time.context import set_current_context

from airflow_script_provider.clusters.access import ClusterRef
from airflow_script_provider.exceptions import LaunchError, RunKilledError, ScriptProviderError
from airflow_script_provider.hooks.exec import KubernetesExecScriptHook
from airflow_script_provider.hooks.node import KubernetesNodeScriptHook
from airflow_script_provider.hooks.script import KubernetesScriptHook
from tests.builders import a_launched_job
from tests.servers import WebServer
from tests.stand_in_api import access_to, requests, stand_in

ON_NODES: dict[str, Any] = {"script": "echo", "namespace": "etl", "nodes": ["node-1"]}
OLDER_HOOK = KubernetesScriptHook(None)
AS_A_JOB: dict[str, Any] = {"script": "echo", "namespace": "etl"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    """What is asked as the API server. It has nothing, and refuses whatever is to be created."""
    with stand_in() as server:
        monkeypatch.setattr(ClusterRef, "resolve", lambda _: access_to(server))
        yield server


def in_a_try(operator: BaseOperator, number: int = 1) -> AbstractContextManager[Any]:
    """Code of this try of a ``@task``."""
    ids = {"id": f"try-{number}", "dag_id": "d", "task_id": "t", "run_id": "r", "map_index": -1}
    ti = SimpleNamespace(task=operator, try_number=number, max_tries=0, **ids)
    return set_current_context({"ti": ti})  # type: ignore[typeddict-item]  # all that is needed


def run_as_a_job() -> object:
    """Run a script as a Job."""
    return KubernetesScriptHook(None).run(**AS_A_JOB)


def run_on_nodes() -> object:
    """Run a script on nodes."""
    return KubernetesNodeScriptHook(None).run(**ON_NODES)


def run_in_a_pod() -> object:
    """Run a script in a running pod."""
    return KubernetesExecScriptHook(None).run("echo", pod="api", namespace="etl")


def launch_a_job() -> object:
    """Launch a script as a Job."""
    return KubernetesScriptHook(None).launch(KubernetesScriptHook(None).prepare(**AS_A_JOB))


def launch_on_nodes() -> object:
    """Launch a script on nodes."""
    return KubernetesNodeScriptHook(None).launch(KubernetesNodeScriptHook(None).prepare(**ON_NODES))


def launch_with_an_older_hook() -> object:
    """Launch a script with a hook that was made outside of the task."""
    return OLDER_HOOK.launch(OLDER_HOOK.prepare(**AS_A_JOB))


LAUNCHES = [run_as_a_job, run_on_nodes, run_in_a_pod, launch_a_job, launch_on_nodes]


@pytest.mark.parametrize("begin", [KubernetesScriptHook, launch_with_an_older_hook])
@pytest.mark.parametrize("launch", LAUNCHES)
def test_a_killed_task_launches_nothing_more(
    server: WebServer, begin: Callable[[], object], launch: Callable[[], object]
) -> None:
    """Airflow calls ``on_kill`` and returns into the task; SIGKILL would leave what is launched now (R1, R3)."""
    operator = BaseOperator(task_id="task")
    with in_a_try(operator):
        with contextlib.suppress(LaunchError):
            begin()
        seen = len(server.requests)
        operator.on_kill()
        for _ in range(2):
            with pytest.raises(RunKilledError, match=r"the run was killed\. (No Job was created|Nothing was started)"):
                launch()
        assert len(server.requests) == seen


@pytest.mark.parametrize("launch", LAUNCHES)
def test_a_kill_ends_only_its_own_try(server: WebServer, launch: Callable[[], object]) -> None:
    """A process may run several tasks one after the other, as ``airflow dags test`` does (R2)."""
    operator = BaseOperator(task_id="task")
    with in_a_try(operator, 1):
        KubernetesScriptHook(None)
        operator.on_kill()
    with in_a_try(operator, 2), pytest.raises(ScriptProviderError) as refusal:
        launch()
    assert not isinstance(refusal.value, RunKilledError)
    assert requests(server, "GET") + requests(server, "POST") > 0


def test_what_was_launched_before_a_kill_is_deleted_when_it_is_followed(server: WebServer) -> None:
    """A kill may come between ``launch`` and ``follow``, also with a new hook (R3)."""
    operator = BaseOperator(task_id="task")
    with in_a_try(operator):
        hook = KubernetesScriptHook(None)
        request = hook.prepare(**AS_A_JOB)
        operator.on_kill()
        with pytest.raises(RunKilledError, match=r"Job etl/load is deleted\."):
            KubernetesScriptHook(None).follow(request, a_launched_job().ref)
    assert requests(server, "DELETE") == 1
