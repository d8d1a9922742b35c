"""The state of a task instance, as Airflow has it."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from airflow_script_provider._airflow import task_state
from airflow_script_provider.kube.kill import NO_STATE
from tests.builders import a_task


@pytest.mark.parametrize(
    ("states", "map_index", "state"),
    [
        ({"r1": {"load": "running"}}, -1, "running"),
        ({"r1": {"load_3": "failed"}}, 3, "failed"),
        ({"r1": {"load": None}}, -1, NO_STATE),
        ({"r1": {}}, -1, "gone"),
        ({}, -1, "gone"),
    ],
)
def test_a_task_without_a_state_is_not_gone(
    states: dict[str, Any], map_index: int, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scheduler takes the state of a task away when it resets the task (R2)."""
    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", lambda *_, **__: states)
    assert task_state(a_task(map_index=map_index)) == state
