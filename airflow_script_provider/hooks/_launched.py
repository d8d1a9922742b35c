"""What a run knows of its Job, outside of the session with the cluster."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from airflow_script_provider.jobs.context import Known
from airflow_script_provider.kube.hiding import Hide
from airflow_script_provider.kube.job.follow_state import JobEnd
from airflow_script_provider.kube.job.launched import JobRef, LaunchedJob


@dataclass
class Unguarded:
    """The Job that no ``JobGuard`` protects at the moment, None if there is none."""

    ref: JobRef | None = None


class Launched(threading.local):
    """The Job of a thread's run, None before there is one, what hides its values, and its end.

    ``end`` is what an earlier follower saw, ``known`` what this run has come to. Threads may run
    scripts at the same time, with the same hook.
    """

    job: LaunchedJob | None = None
    hide: Hide | None = None
    end: JobEnd | None = None

    def __init__(self) -> None:
        self.known: Known[Any] = Known()
