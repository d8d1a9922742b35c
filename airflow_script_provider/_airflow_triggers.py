"""What triggers need of Airflow, apart from ``_airflow``: a DAG file that is parsed need not load it."""

from __future__ import annotations

from airflow.triggers.base import BaseTrigger, TriggerEvent

__all__ = ["HAS_ON_KILL", "BaseTrigger", "TriggerEvent"]

HAS_ON_KILL = hasattr(BaseTrigger, "on_kill")
"""Whether Airflow reports a user's action to a trigger (3.3); before that it looks like a triggerer's end."""
