"""The task's own time, ``execution_timeout``: until when runs start, and when they are ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_script_provider.kube.job import earlier_tries
from airflow_script_provider.kube.job.launched import LaunchedJob

RUNS_EXPIRY_MARGIN = 30.0
"""Seconds after the task's own time and the grace period in which its runs, whose deadline is the
same, may end by themselves."""


@dataclass(frozen=True)
class TaskTime:
    """When the task's own time is over, None if never. Times are seconds of one monotonic clock.

    From that moment on nothing is started. What still runs ``margin`` seconds later is ended.
    """

    ends_at: float | None
    margin: float

    @classmethod
    def of(
        cls, expires_at: float | None, job: LaunchedJob, owner: Mapping[str, Any], now: datetime, monotonic: float
    ) -> TaskTime:
        """The time of a plan with this ``expires_at``.

        ``owner`` is the launched ``job`` as the API server has it, ``now`` that server's time of
        day. ``monotonic`` is the same moment by the monotonic clock.
        """
        margin = job.limits.grace_period + RUNS_EXPIRY_MARGIN
        if expires_at is None:
            return cls(None, margin)
        return cls(monotonic + earlier_tries.seconds_until(expires_at, job.launched_at, owner, now), margin)

    @property
    def ends_runs_at(self) -> float | None:
        """When what still runs is ended."""
        return None if self.ends_at is None else self.ends_at + self.margin

    def left(self, now: float) -> float | None:
        """Seconds that are left; 0 or less once the time is over."""
        return None if self.ends_at is None else self.ends_at - now

    def is_over(self, now: float) -> bool:
        """Whether the time is over."""
        return self.ends_at is not None and now >= self.ends_at

    def next_moment(self, now: float) -> float | None:
        """When to look again."""
        coming = (at for at in (self.ends_at, self.ends_runs_at) if at is not None and at > now)
        return min(coming, default=None)
