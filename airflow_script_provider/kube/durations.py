"""Durations that an author or a server writes, as seconds."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime

Duration = float | timedelta
DEFAULT_SCHEDULE_TIMEOUT = 3600
"""Seconds that a script may wait for a node, unless its author says otherwise."""
MAX_SECONDS = 2**31 - 1
"""The largest 32-bit integer, as which Kubernetes stores durations: 68 years."""


@dataclass(frozen=True)
class Deadline:
    """Seconds after which Kubernetes ends the Job, and the argument that sets them.

    None means never. That of ``timeout`` also has time for all that comes before the work.
    """

    seconds: int | None = None
    argument: str = "timeout"

    @classmethod
    def within(cls, timeout: int | None, seconds_left: float | None) -> Deadline:
        """These seconds, or the task's remaining time if that is less."""
        left = None if seconds_left is None else max(1, math.ceil(seconds_left))
        if left is not None and (timeout is None or left < timeout):
            return cls(left, "execution_timeout")
        return cls(timeout)


def positive_seconds(
    value: Duration | None, argument: str, *, none_allowed: bool = False, zero_allowed: bool = False
) -> int | None:
    """A duration as whole seconds, rounded up; ``ValueError`` names the argument."""
    if value is None and none_allowed:
        return None
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) <= MAX_SECONDS:
        raise ValueError(f"{argument}={value!r} must be seconds or a timedelta")
    if number < 0 or (number == 0 and not zero_allowed):
        raise ValueError(f"{argument}={value!r} must be {'at least 0' if zero_allowed else 'more than 0'} seconds")
    return math.ceil(number)


def retry_after(value: str, date: str = "") -> float | None:
    """Seconds of a header ``Retry-After``, which is a number or a date; None for any other text.

    A date counts from the header ``Date`` of the same answer: the clocks of two machines differ.
    """
    if not value:  # as in nearly every answer
        return None
    if value.isascii() and value.strip().isdigit():
        return float(value)
    try:
        until = parsedate_to_datetime(value).timestamp()
        now = parsedate_to_datetime(date).timestamp() if date else time.time()
    except (ValueError, OverflowError):
        return None
    return max(0.0, until - now)
