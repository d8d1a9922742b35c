"""What becomes of a Job whose run is interrupted: it is deleted, or left to the task's next try."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from airflow_script_provider import _shielded
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.jobs import launching
from airflow_script_provider.kube.job.adoption import Kill
from airflow_script_provider.kube.job.launched import JobRef
from airflow_script_provider.run_log import RunLog


@dataclass(frozen=True)
class JobGuard:
    """``meaning_of_kill`` is asked when a run is interrupted; without an answer its Job is deleted."""

    api: KubernetesApi
    log: RunLog
    meaning_of_kill: Callable[[], Awaitable[Kill | None]] | None = None

    @asynccontextmanager
    async def protecting(self, ref: JobRef) -> AsyncIterator[None]:
        """Whatever interrupts the block, the Job is seen to first, and the interruption says how."""
        try:
            yield
        except BaseException as interruption:
            fate = await _shielded.shielded(self._end(ref))
            interruption.add_note(fate)
            self.log.note(fate, logging.WARNING)
            raise

    async def _end(self, ref: JobRef) -> str:
        """Delete the Job of an interrupted run, or leave it, within ``ABANDON_TIMEOUT``; what became of it."""
        began = time.monotonic()
        kill = await self.meaning_of_kill() if self.meaning_of_kill is not None else None
        if kill is not None and kill.leaves_job:
            return f"{kill.seen}: Job {ref} is left to the next try, which takes it over."
        left = _shielded.ABANDON_TIMEOUT - (time.monotonic() - began)
        fate = launching.fate(ref, deleted=await launching.abandon(self.api, ref, left))
        return f"{kill.seen}: {fate}" if kill is not None else fate
