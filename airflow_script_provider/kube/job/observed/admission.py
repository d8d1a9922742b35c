"""What admission answers the Job controller, which creates the pods of a Job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from airflow_script_provider.kube.causes import cluster_messages, events, quota


@dataclass(frozen=True, slots=True)
class Admission:
    """The answers since the last pod was created.

    ``refused_since`` is when admission first refused a pod for good, with ``refusal``.
    ``shortage`` is the quota without room by the newest event, whose time is ``reported_at``.
    """

    refused_since: float | None = None
    refusal: str = ""
    shortage: quota.Shortage | None = None
    reported_at: datetime | None = None

    def after(self, event: Mapping[str, Any], now: float) -> Admission:
        """The answers with that of an event. Events of a list come in any order."""
        if refusal := cluster_messages.refusal(event):
            since = now if self.refused_since is None else self.refused_since
            return replace(self, refused_since=since, refusal=refusal)
        shortage, moment = quota.shortage(event), events.last_time(event)
        is_old = moment is not None and self.reported_at is not None and moment < self.reported_at
        return self if shortage is None or is_old else replace(self, shortage=shortage, reported_at=moment)
