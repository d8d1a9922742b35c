"""The lines of runs on nodes in one log: live for one node at a time, otherwise run by run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any

from airflow_script_provider.api.stream_slots import StreamSlots
from airflow_script_provider.jobs.context import JobContext
from airflow_script_provider.jobs.job_logs import JobLogs, Outputs
from airflow_script_provider.jobs.log_reader import SILENCE
from airflow_script_provider.kube.job.follow_state import FollowState
from airflow_script_provider.kube.job.view import View
from airflow_script_provider.kube.logs.groups import AFTER_A_LOSS, END_OF_GROUP, GROUP
from airflow_script_provider.kube.logs.output import Output
from airflow_script_provider.run_log import RunLog

BUFFER = 1024 * 1024
"""Bytes of a run's lines that wait for those of another run; a longer log is read when its turn
has come."""


class RunLines:
    """The lines of one run; the context's log gets those that come after ``start``."""

    def __init__(
        self,
        context: JobContext,
        start: FollowState,
        *,
        slots: StreamSlots | None = None,
        silence: float = SILENCE,
    ) -> None:
        self._outputs = Outputs(context.job.max_output_bytes, whole=True)
        self._logs = JobLogs(
            context,
            start,
            self._outputs.begin,
            groups_installation=False,
            in_sequence=True,
            slots=slots,
            silence=silence,
        )
        self._view = View()
        self._changed = asyncio.Event()
        self._is_over = False

    @property
    def state(self) -> FollowState:
        """How far the lines were shown."""
        return FollowState(self._logs.positions)

    def output_of(self, uid: str | None) -> Output:
        """What the script has printed in a pod of the run."""
        return self._outputs.of(uid, lacks_end=self._logs.lacks_end(uid))

    def see(self, view: View, *, is_over: bool = False) -> None:
        """The run as it is now; ``is_over``: nothing more will be printed."""
        self._view, self._is_over = view, self._is_over or is_over
        self._changed.set()

    async def follow(self) -> None:
        """Show the lines until the run is over and everything was read."""
        async with self._logs.reading():
            while True:
                self._changed.clear()
                self._logs.see(self._view)
                if self._is_over:
                    break
                await self._changed.wait()
            await self._logs.finish()


class _Waiting:
    """A log whose lines wait until they may be shown; ``is_full`` when they are too many."""

    def __init__(self, log: RunLog) -> None:
        self.lines: list[str] = []
        self.is_full = asyncio.Event()
        self._log = log
        self._size = 0

    def note(self, text: str, level: int = logging.INFO) -> None:
        """A line of ours, which does not wait."""
        self._log.note(text, level)

    def output(self, lines: Sequence[str]) -> None:
        """Lines of the script."""
        self._size += sum(map(len, lines))
        if self._size > BUFFER:
            self.is_full.set()
        else:
            self.lines.extend(lines)


class NodeLines:
    """Shows the lines of all runs in one log, those of different runs never mixed."""

    def __init__(self, context: JobContext, slots: StreamSlots | None = None, silence: float = SILENCE) -> None:
        self._context, self._slots, self._silence = context, slots, silence
        self._turn = asyncio.Lock()

    def live(self, start: FollowState) -> RunLines:
        """The lines of the only run of its time."""
        return RunLines(self._context, start, slots=self._slots, silence=self._silence)

    async def follow(self, lines: RunLines, title: str, *, is_repeated: bool) -> None:
        """Show the lines of a live run as a group, which ends where this process stops."""
        if is_repeated:
            self._context.log.output(AFTER_A_LOSS)
        self.open(title)
        if is_repeated:
            self._context.log.note("What was shown of this node before is repeated below", logging.WARNING)
        try:
            await lines.follow()
        finally:
            self.close()

    async def whole(self, view: View, title: str, uid: str | None) -> Output:
        """Show a run that has ended, as one group; the output of the pod that decided."""
        waiting = _Waiting(self._context.log)
        output = await _unless(waiting.is_full, _output_of(view, replace(self._context, log=waiting), uid))
        async with self._turn:
            self.open(title)
            try:
                if output is None:
                    output = await _output_of(view, self._context, uid)
                else:
                    self._context.log.output(waiting.lines)
            finally:
                self.close()
        return output

    def open(self, title: str) -> None:
        """Begin a group."""
        self._context.log.output([GROUP + title])

    def close(self) -> None:
        """End it."""
        self._context.log.output([END_OF_GROUP])


async def _output_of(view: View, context: JobContext, uid: str | None) -> Output:
    """The output of a run that has ended, whose lines are shown."""
    lines = RunLines(context, FollowState())
    lines.see(view, is_over=True)
    await lines.follow()
    return lines.output_of(uid)


async def _unless(event: asyncio.Event, reading: Coroutine[Any, Any, Output]) -> Output | None:
    """What is read, None if the event comes first."""
    read, stopped = asyncio.ensure_future(reading), asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({read, stopped}, return_when=asyncio.FIRST_COMPLETED)
        return await read if read.done() and not event.is_set() else None
    finally:
        for task in (read, stopped):
            task.cancel()
        await asyncio.wait({read, stopped})
