"""The time that Airflow leaves a task that it kills."""

from __future__ import annotations

import inspect

from airflow.sdk.execution_time.supervisor import WatchedSubprocess

from airflow_script_provider._shielded import ABANDON_TIMEOUT


def test_a_killed_run_is_removed_before_airflow_ends_its_process() -> None:
    """Airflow's supervisor waits five seconds after SIGTERM; we need less (R3)."""
    delay = inspect.signature(WatchedSubprocess.kill).parameters["escalation_delay"].default
    assert delay > ABANDON_TIMEOUT
