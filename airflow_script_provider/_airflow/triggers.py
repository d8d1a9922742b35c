"""What triggers need of Airflow.

This module is apart, so that parsing a DAG file does not load it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

__all__ = ["HAS_ON_KILL", "BaseTrigger", "TriggerEvent", "failure_of_trigger", "is_resumed"]

HAS_ON_KILL = hasattr(BaseTrigger, "on_kill")
"""Whether Airflow reports a user's action to a trigger (since 3.3).

Before that, a user's action looks like the end of the triggerer.
"""

_FAILED = "__fail__"
"""The method that Airflow 3.1 to 3.3 resume a task with which has no event. It does not exist."""
_TIME_IS_OVER = "Trigger timeout"


def failure_of_trigger(next_method: str, next_kwargs: Mapping[str, Any] | None) -> str | None:
    """Why a task is resumed without an event of its trigger; None for any other resumption.

    A triggerer may lack the provider, or have another version of it.
    """
    given = next_kwargs or {}
    if next_method != _FAILED or given.get("error") == _TIME_IS_OVER:
        return None
    why = given.get("traceback") or str(given.get("error", "unknown"))
    return why if isinstance(why, str) else "\n".join(map(str, why))


def is_resumed(context: Mapping[str, Any]) -> bool:
    """Whether the task of this context was deferred and is resumed.

    Airflow 3.1 to 3.3 render the task's fields before they call the method that resumes it. What
    they then know of it is private.
    """
    known = getattr(context.get("ti"), "_ti_context_from_server", None)
    return bool(getattr(known, "next_method", None))
