"""What triggers need of Airflow.

This module is apart from ``_airflow``, so that parsing a DAG file does not load it.
"""

from __future__ import annotations

from airflow.triggers.base import BaseTrigger, TriggerEvent

__all__ = ["HAS_ON_KILL", "BaseTrigger", "TriggerEvent"]

HAS_ON_KILL = hasattr(BaseTrigger, "on_kill")
"""Whether Airflow reports a user's action to a trigger (since 3.3).

Before that, a user's action looks like the end of the triggerer.
"""
