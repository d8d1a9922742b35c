"""Times as Kubernetes writes them, in RFC 3339, and moments of the monotonic clock."""

from __future__ import annotations

import time
from datetime import datetime


def parse_time(text: str) -> datetime:
    """The time of a text. Raises ``ValueError`` for any other text."""
    return datetime.fromisoformat(text)


def parse_optional_time(text: str | None) -> datetime | None:
    """The time of a text, None without one."""
    return parse_time(text) if text else None


def to_monotonic(time_of_day: float) -> float:
    """A time of day, in seconds since 1970, on the monotonic clock."""
    return time.monotonic() - (time.time() - time_of_day)


def to_time_of_day(moment: float) -> float:
    """A moment of the monotonic clock as a time of day, in seconds since 1970."""
    return time.time() - (time.monotonic() - moment)
