"""What keeps a run from starting, by the lines of Warning events about its Job and its pods."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from airflow_script_provider.kube.causes import signs
from airflow_script_provider.result import Category

_EVENT = re.compile(r"^\S+ \S+: (?P<reason>\w+): ")


class NotStarted(NamedTuple):
    """Why no container runs, and what to do. ``category`` and ``reason`` may be unknown."""

    why: str
    advice: str = ""
    category: Category | None = None
    reason: str | None = None


def about(kind: str, lines: Sequence[str]) -> list[str]:
    """The lines about objects of a kind. Those about a Job are settled once it has a pod."""
    return [line for line in lines if line.startswith(f"{kind} ")]


def last_cause(lines: Sequence[str]) -> NotStarted:
    """The last event that tells a cause, otherwise the last one."""
    found = [_of_event(line) for line in lines]
    return next((one for one in reversed(found) if one.category or one.advice), found[-1])


def _of_event(line: str) -> NotStarted:
    found = _EVENT.match(line)
    reason = found["reason"] if found else None
    category = signs.category_of(signs.OF_THE_CLUSTER, line, reason)
    return NotStarted(line, signs.advice(signs.OF_THE_CLUSTER, line), category, reason)
