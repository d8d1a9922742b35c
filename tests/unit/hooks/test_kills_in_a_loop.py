"""Jobs that code in an event loop follows, as an async ``@task`` does, and what ends them."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import BaseOperator
from airflow.sdk.execution_time.context import set_current_context

from airflow_script_provider.clusters.access import ClusterRef
from airflow_script_provider.exceptions import RunKilledError
from airflow_script_provider.hooks.node import KubernetesNodeScriptHook
from airflow_script_provider.hooks.script import KubernetesScriptHook
from tests.builders import a_launched_job
from tests.patience import PATIENCE
from tests.servers import Answer, Request, WebServer
from tests.stand_in_api import access_to, an_object, requests, stand_in

JOB = "/apis/batch/v1/namespaces/etl/jobs/load"
REF = a_launched_job().ref
End = Callable[[Any, BaseOperator], object]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    """What is asked as the API server. It has the Job."""
    with stand_in() as server:
        server.answers(JOB, an_object(name="load", uid="job-uid"))
        monkeypatch.setattr(ClusterRef, "resolve", lambda _: access_to(server))
        yield server


@pytest.fixture(params=["script", "nodes"])
def hook(request: pytest.FixtureRequest) -> Any:
    """A hook of each kind that launches Jobs."""
    return {"script": KubernetesScriptHook, "nodes": KubernetesNodeScriptHook}[request.param](None)


@pytest.fixture
def task() -> Iterator[BaseOperator]:
    """The ``@task`` that the code is in; Airflow's handler of SIGTERM calls its ``on_kill`` and returns."""
    task = BaseOperator(task_id="task")
    before = signal.signal(signal.SIGTERM, lambda *_: task.on_kill())
    with set_current_context({"ti": SimpleNamespace(task=task)}):  # type: ignore[typeddict-item]  # all that is needed
        yield task
    signal.signal(signal.SIGTERM, before)


def prepared(hook: Any) -> Any:
    """A request of the hook's kind."""
    choice = {"nodes": ["node-1"]} if isinstance(hook, KubernetesNodeScriptHook) else {}
    return hook.prepare("echo", namespace="etl", **choice)


def do_on_read(server: WebServer, do: Callable[[], object], over: threading.Event) -> None:
    """Let the server do something when the Job is read; its answer comes when all is over."""
    as_written = server.answer_to

    def answer_to(request: Request) -> Answer:
        if request.method == "GET" and request.path == JOB:
            do()
            over.wait(PATIENCE)
        return as_written(request)

    server.answer_to = answer_to  # type: ignore[method-assign]


@pytest.mark.parametrize(
    "kill",
    [
        lambda hook, task: os.kill(os.getpid(), signal.SIGTERM),
        lambda hook, task: task.on_kill(),
        lambda hook, task: hook.kill(),
    ],
    ids=["SIGTERM", "on_kill", "the hook's kill"],
)
def test_a_killed_async_task_deletes_its_job(server: WebServer, hook: Any, task: BaseOperator, kill: End) -> None:
    """A kill ends ``afollow`` as it ends ``follow`` (R1, R3)."""
    over = threading.Event()
    do_on_read(server, lambda: kill(hook, task), over)
    try:
        with pytest.raises(RunKilledError, match=r"the run was killed\. Job etl/load is deleted\."):
            asyncio.run(asyncio.wait_for(hook.afollow(prepared(hook), REF), PATIENCE))
    finally:
        over.set()
    assert requests(server, "DELETE", JOB) == 1


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "cancelled"])
def test_what_ends_before_it_follows_deletes_its_job(server: WebServer, hook: Any, killed: bool) -> None:
    """The Job is launched already (R3)."""

    async def main() -> None:
        following = asyncio.create_task(hook.afollow(prepared(hook), REF))
        if not killed:
            await asyncio.sleep(0)
            following.cancel()
        await asyncio.wait_for(following, PATIENCE)

    if killed:
        hook.kill()
    with pytest.raises(RunKilledError if killed else asyncio.CancelledError):
        asyncio.run(main())
    assert requests(server, "GET") == 0
    assert requests(server, "DELETE", JOB) == 1
