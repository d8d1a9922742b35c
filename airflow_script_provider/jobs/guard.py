"""Clearing up when a run is interrupted: its Job is deleted, or left to the task's next try."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from airflow_script_provider import _shielded
from airflow_script_provider.jobs import launching
from airflow_script_provider.jobs.context import JobContext
from airflow_script_provider.kube.kill import EarlyEnd

MeaningOfKill = Callable[[BaseException], Awaitable[EarlyEnd | None]]
"""Asked with what interrupts a run; None means that it does not end a task with tries left."""


@dataclass(frozen=True)
class JobGuard:
    """Protects a Job from being left behind by an interrupted run.

    An interruption deletes the Job, unless ``meaning_of_kill`` answers that it is left to the next
    try. A run that has already deleted it has nothing to leave.
    """

    context: JobContext
    meaning_of_kill: MeaningOfKill | None = None

    @asynccontextmanager
    async def protecting(self) -> AsyncIterator[None]:
        """On interruption, delete or leave the Job first; attach a note on it to the exception."""
        try:
            yield
        except BaseException as interruption:
            fate = await _shielded.shielded(self._end(interruption))
            interruption.add_note(fate)
            self.context.log.note(fate, logging.WARNING)
            raise

    async def _end(self, interruption: BaseException) -> str:
        """Delete the Job, or leave it, within ``ABANDON_TIMEOUT``; the note that says which."""
        began, ref = time.monotonic(), self.context.job.ref
        end = await self.meaning_of_kill(interruption) if self.meaning_of_kill is not None else None
        is_left = end is not None and end.leaves_job
        if end is not None and is_left and not await launching.is_gone(self.context.api, ref):
            return end.left(str(ref))
        left = _shielded.ABANDON_TIMEOUT - (time.monotonic() - began)
        fate = launching.fate(ref, deleted=await launching.abandon(self.context.api, ref, left))
        return f"{end.reason}: {fate}" if end is not None else fate
