"""Task processes that die, as by kill -9, right after a call of the Kubernetes API was answered."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from itertools import count
from typing import Any

from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.api.resources import Call
from tests.cluster.tasks import FakeTaskInstance, TaskRun, run_task
from tests.patience import PATIENCE

_workers = multiprocessing.get_context("forkserver")
_workers.set_forkserver_preload([__name__])  # importing Airflow takes longer than everything else


def die_after(is_last: Callable[[int, str], bool]) -> None:
    """Let this process die after the first call that is the last one: its number and its verb and resource decide."""
    numbers, ask = count(1), KubernetesApi._request

    async def asked(self: KubernetesApi, call: Call, *others: Any, **named: Any) -> Any:
        answer = await ask(self, call, *others, **named)
        if is_last(next(numbers), f"{call.verb} {call.resource}"):
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    KubernetesApi._request = asked  # type: ignore[method-assign]  # in a process that is about to die


def run_doomed_task(
    last_call: str, ti: dict[str, Any], *, run: Callable[..., TaskRun] = run_task, **arguments: Any
) -> None:
    """Execute an operator in a process of its own, which is lost after that call."""
    worker = _workers.Process(target=_work, args=(last_call, ti, run, arguments))
    worker.start()
    worker.join(PATIENCE)
    if worker.exitcode != -signal.SIGKILL:
        worker.kill()
        raise AssertionError(f"the worker was not lost after {last_call}; it ended with {worker.exitcode}")


def _work(last_call: str, ti: dict[str, Any], run: Callable[..., TaskRun], arguments: dict[str, Any]) -> None:
    die_after(lambda number, call: call == last_call)
    done = run(ti=FakeTaskInstance(**ti), **arguments)
    raise AssertionError("the worker has lived on") from done.error
