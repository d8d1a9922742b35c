"""Airflow's task state store as a task sees it, in memory."""

from __future__ import annotations

from typing import Any

from airflow_script_provider._task_identity import STORE_KEY


class StateStore:
    """What one task instance keeps for its later tries: in a deployment of Airflow, in a DAG run."""

    def __init__(self, first_try: str | None = None) -> None:
        self.kept: dict[str, Any] = {} if first_try is None else {STORE_KEY: first_try}

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key."""
        return self.kept.get(key, default)

    def set(self, key: str, value: Any) -> None:
        """Keep a value."""
        self.kept[key] = value
