"""Resuming a deferred task whose fields cannot be rendered at that moment."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.api.datamodels._generated import TIRunContext
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from airflow_script_provider._airflow import AirflowNotFoundException
from airflow_script_provider.hooks.node import NodesTaskRun
from airflow_script_provider.hooks.script import ScriptTaskRun
from airflow_script_provider.operators._base import ScriptTask
from airflow_script_provider.operators.node import KubernetesNodeScriptOperator
from airflow_script_provider.operators.script import KubernetesScriptOperator
from tests.builders import a_launched_job

EVENT: dict[str, Any] = {"job": a_launched_job().to_dict(), "ended": {}}


class Resumed(Exception):  # noqa: N818  # it says how far the task came
    """The task is resumed, with these inputs."""


def password() -> str:
    """What a connection's password is while the backend of secrets has a bad moment."""
    raise AirflowNotFoundException("The conn_id `db` isn't defined")


class SilentStore:
    """Airflow's task state store in a bad moment."""

    def get(self, key: str) -> None:
        """Fail."""
        raise RuntimeError(f"the backend does not answer what {key} is")


def a_context(*, is_resumed: bool) -> Any:
    """The context of a task, with a template's way to that password."""
    known = SimpleNamespace(next_method="execute_complete" if is_resumed else None)
    ids = {"dag_id": "etl", "task_id": "load", "run_id": "r1", "map_index": -1, "try_number": 2, "id": "last-of-two"}
    ti = SimpleNamespace(_ti_context_from_server=known, max_tries=1, **ids)
    return {"ti": ti, "password": password, "task_state_store": SilentStore()}


@pytest.fixture(params=[KubernetesScriptOperator, KubernetesNodeScriptOperator])
def operator(request: pytest.FixtureRequest) -> ScriptTask:
    """An operator whose Job was launched with that password."""
    where = {"nodes": ["node-1"]} if request.param is KubernetesNodeScriptOperator else {}
    found: ScriptTask = request.param(
        task_id="load", script="print(1)", env={"PW": "{{ password() }}"}, deferrable=True, **where
    )
    return found


def test_airflow_knows_while_it_renders_that_a_task_is_resumed() -> None:
    """Its own name for that is private (R4)."""
    assert "_ti_context_from_server" in RuntimeTaskInstance.__private_attributes__
    assert "next_method" in TIRunContext.model_fields


def test_a_launch_needs_its_arguments(operator: ScriptTask) -> None:
    """Only a task that is resumed has launched them already (R26)."""
    with pytest.raises(AirflowNotFoundException):
        operator.render_template_fields(a_context(is_resumed=False))


def test_a_resumed_task_goes_on_without_its_arguments_and_its_first_try(
    operator: ScriptTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its Job has them, and its script may have succeeded in the last try.

    Nor does it need Airflow's task state store, which knows the first try (R1, R2, R16).
    """

    def resumed(_: Any, event: Any, inputs: Any, **__: Any) -> None:
        raise Resumed(event, inputs)

    for run in (ScriptTaskRun, NodesTaskRun):
        monkeypatch.setattr(run, "resume", resumed)
    context = a_context(is_resumed=True)
    operator.render_template_fields(context)
    with pytest.raises(Resumed) as found:
        operator.resume_execution("execute_complete", {"event": EVENT}, context)
    assert found.value.args == (EVENT, None)


def test_a_job_that_is_looked_for_needs_the_arguments(operator: ScriptTask) -> None:
    """Without a trigger's event, a worker finds the Job by the request (R2, R4)."""
    context = a_context(is_resumed=True)
    operator.render_template_fields(context)
    with pytest.raises(AirflowNotFoundException):
        operator.resume_execution("__fail__", {"error": "Trigger failure"}, context)
