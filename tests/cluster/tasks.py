"""Running an operator as Airflow's task runner does, without its database."""

from __future__ import annotations

import asyncio
import copy
import importlib
import json
import os
import re
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from structlog.processors import TimeStamper
from structlog.testing import capture_logs

from airflow_script_provider._airflow import TaskDeferred
from airflow_script_provider.operators.node import KubernetesNodeScriptOperator
from airflow_script_provider.operators.script import KubernetesScriptOperator
from airflow_script_provider.triggers.script import ScriptTrigger
from tests.patience import wait_for
from tests.state_store import StateStore

OF_A_BUSY_NODE = re.compile(r"Pod \S+: FailedMount: .* failed to sync \w+ cache: .*")
"""An event of a kubelet that is late to see what was created; it tries again."""
KEEPS_LONG_LOGS = {"kubernetes.io/hostname": "node-1"}
"""Selects the node that does not rotate a log of 1 MiB: see ``LOG_ROTATION`` in ``dev/cluster/node.py``."""
ROTATES_LOGS = {"kubernetes.io/hostname": "node-2"}
_logs: list[list[Any]] = []
"""The log of the task that runs now, which grows."""

Operator = KubernetesScriptOperator | KubernetesNodeScriptOperator


@dataclass
class FakeTaskInstance:
    """What a context's ``ti`` gives an operator; keeps the XComs. ``max_tries`` is the number of retries.

    ``store`` is the context's task state store; without it all tasks of these ids are one task instance.
    """

    task_id: str = "task"
    dag_id: str = "dag"
    run_id: str = "manual__1"
    map_index: int = -1
    try_number: int = 1
    max_tries: int = 0
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    xcoms: dict[str, Any] = field(default_factory=dict)
    store: StateStore | None = None

    def xcom_push(self, key: str, value: Any) -> None:
        """Keep an XCom."""
        self.xcoms[key] = value


@dataclass
class TaskRun:
    """What running a task came to. An entry of the log has ``event``, ``log_level`` and ``at``, the time of day."""

    error: BaseException | None
    xcoms: dict[str, Any]
    log: list[dict[str, Any]]

    @property
    def result(self) -> dict[str, Any]:
        """The XCom ``return_value``."""
        found: dict[str, Any] = self.xcoms["return_value"]
        return found

    @property
    def lines(self) -> list[str]:
        """The log's lines."""
        return [str(entry["event"]) for entry in self.log]

    @property
    def warnings(self) -> list[str]:
        """The lines at WARNING and above, but for those of a busy node."""
        found = (str(entry["event"]) for entry in self.log if entry["log_level"] in ("warning", "error"))
        return [line for line in found if not OF_A_BUSY_NODE.search(line)]

    @property
    def headline(self) -> str:
        """The first line of the error."""
        return str(self.error).splitlines()[0]

    def succeeded(self) -> TaskRun:
        """This run, if it ended without an error."""
        if self.error is not None:
            raise AssertionError("the task failed") from self.error
        return self


def run_task(
    *, ti: FakeTaskInstance | None = None, folder: str | None = None, task_id: str = "task", **arguments: Any
) -> TaskRun:
    """Make an operator of these arguments, render and execute it; errors are kept, not raised."""
    return run_operator(KubernetesScriptOperator(task_id=task_id, **arguments), ti=ti, folder=folder)


def run_operator(operator: Operator, *, ti: FakeTaskInstance | None = None, folder: str | None = None) -> TaskRun:
    """Render and execute an operator; errors are kept, not raised."""
    ti = ti or FakeTaskInstance(task_id=operator.task_id)
    context: Any = {"ti": ti, "dag": SimpleNamespace(folder=folder), "run_id": ti.run_id, "params": {}}
    context |= {"task_state_store": ti.store} if ti.store is not None else {}
    error: BaseException | None = None
    deferral: TaskDeferred | None = None
    again = copy.copy(operator)
    with capture_logs([TimeStamper(fmt=None, key="at")]) as log, _seen_by_others(log):
        try:
            operator.render_template_fields(context)
            ti.xcoms["return_value"] = operator.execute(context)
        except TaskDeferred as deferred:
            deferral = deferred
        except BaseException as caught:  # noqa: BLE001  # the test looks at it
            error = caught
        if deferral is not None:  # not while it is handled: a triggerer is another process
            error = _resume(again, context, deferral)
    return TaskRun(error, ti.xcoms, [dict(entry) for entry in log])


def _resume(operator: Operator, context: Any, deferred: TaskDeferred) -> BaseException | None:
    """Run the trigger as a triggerer does, then the operator anew, as another worker does."""
    path, arguments = deferred.trigger.serialize()
    assert deferred.method_name == "execute_complete"
    try:
        module, _, name = path.rpartition(".")
        trigger = getattr(importlib.import_module(module), name)
        event = asyncio.run(_event_of(trigger(**json.loads(json.dumps(arguments)))))
        context["ti"]._ti_context_from_server = SimpleNamespace(next_method=deferred.method_name)
        operator.render_template_fields(context)
        context["ti"].xcoms["return_value"] = operator.execute_complete(context, event)
    except BaseException as caught:  # noqa: BLE001  # the test looks at it
        return caught
    return None


async def _event_of(trigger: ScriptTrigger) -> Any:
    try:
        (payload,) = [event.payload async for event in trigger.run()]
        return json.loads(json.dumps(payload))
    finally:
        await trigger.cleanup()


@contextmanager
def _seen_by_others(log: list[Any]) -> Iterator[None]:
    _logs.append(log)
    try:
        yield
    finally:
        _logs.pop()


def lines_so_far() -> list[str]:
    """What the task that runs meanwhile has logged."""
    return [str(entry["event"]) for log in _logs for entry in [*log]]


def wait_until_logged(text: str) -> None:
    """Wait until the task that runs meanwhile has logged a line with this text."""
    wait_for(lambda: any(text in line for line in lines_so_far()), f"a line with {text!r}")


def meanwhile(do: Callable[[], object]) -> threading.Thread:
    """Do something in a thread while the task runs in this one; join it afterwards."""
    thread = threading.Thread(target=do)
    thread.start()
    return thread


def run_and_kill(operator: Operator, *moments: Callable[[], object], ti: FakeTaskInstance | None = None) -> TaskRun:
    """Execute an operator in a process that gets SIGTERM, each time that one of these waits is over."""

    def kill() -> None:
        for moment in moments:
            moment()
            os.kill(os.getpid(), signal.SIGTERM)

    previous = signal.signal(signal.SIGTERM, lambda *_: operator.on_kill())
    killer = meanwhile(kill)
    try:
        return run_operator(operator, ti=ti)
    finally:
        killer.join()
        signal.signal(signal.SIGTERM, previous)
