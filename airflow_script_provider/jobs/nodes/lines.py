"""The lines of runs on nodes in one log: live for one node at a time, otherwise run by run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace

from airflow_script_provider.api.stream_slots import StreamSlots
from airflow_script_provider.jobs.context import JobContext
from airflow_script_provider.jobs.job_logs import JobLogs, Outputs
from airflow_script_provider.jobs.log_reader import SILENCE
from airflow_script_provider.kube.job import termination
from airflow_script_provider.kube.job.follow_state import FollowState
from airflow_script_provider.kube.job.observed.view import View
from airflow_script_provider.kube.job.verdict import Verdict
from airflow_script_provider.kube.logs.groups import AFTER_A_LOSS, END_OF_GROUP, GROUP
from airflow_script_provider.kube.logs.output import Output
from airflow_script_provider.kube.nodes.board import NodeRun
from airflow_script_provider.kube.nodes.plan import Start
from airflow_script_provider.kube.nodes.progress import Lost
from airflow_script_provider.kube.pods import pod_status
from airflow_script_provider.run_log import RunLog

BUFFER = 1024 * 1024
"""Bytes of a run's lines that wait for those of another run; a longer log is read when its turn
has come."""
EARLY = 16
"""Runs whose log is read while their pods are ended."""

_CUT = f"Later lines are not shown: the pod was deleted, and {BUFFER // 1024} KiB are kept of its log"


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
        if self._is_over:
            self._logs.see_gone(view)
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
    """A log whose lines wait until they may be shown; ``is_full`` when they are too many.

    From then on it keeps only the ends of the groups that it has.
    """

    def __init__(self, log: RunLog) -> None:
        self.lines: list[str] = []
        self.is_full = asyncio.Event()
        self._log = log
        self._size = 0
        self._dropped_groups = 0

    def note(self, text: str, level: int = logging.INFO) -> None:
        """A line of ours, which does not wait."""
        self._log.note(text, level)

    def output(self, lines: Sequence[str]) -> None:
        """Lines of the script."""
        self._size += sum(map(len, lines))
        if self._size <= BUFFER:
            self.lines.extend(lines)
            return
        self.is_full.set()
        for line in lines:
            if line.startswith(GROUP):
                self._dropped_groups += 1
            elif line == END_OF_GROUP and self._dropped_groups:
                self._dropped_groups -= 1
            elif line == END_OF_GROUP:
                self.lines.append(line)


class _Buffered:
    """The lines of a run that wait until they may be shown."""

    def __init__(self, context: JobContext, view: View) -> None:
        self.waiting = _Waiting(context.log)
        self.lines = RunLines(replace(context, log=self.waiting), FollowState())
        self.lines.see(view)
        self.reading = asyncio.create_task(self.lines.follow())

    async def read_rest(self, view: View) -> None:
        """Read to the end of a run that is over. Lines that are too many to wait are lost."""
        self.lines.see(view, is_over=True)
        await self.reading

    async def fits(self, view: View) -> bool:
        """``read_rest``, but False as soon as the lines are too many to wait."""
        self.lines.see(view, is_over=True)
        full = asyncio.create_task(self.waiting.is_full.wait())
        try:
            await asyncio.wait({self.reading, full}, return_when=asyncio.FIRST_COMPLETED)
            if self.waiting.is_full.is_set():
                return False
            await self.reading
            return True
        finally:
            for task in (self.reading, full):
                task.cancel()
            await asyncio.wait({self.reading, full})


class NodeLines:
    """Shows the lines of all runs in one log, those of different runs never mixed."""

    def __init__(self, context: JobContext, slots: StreamSlots | None = None, silence: float = SILENCE) -> None:
        self._context, self._slots, self._silence = context, slots, silence
        self._turn = asyncio.Lock()
        self._early: dict[Start, _Buffered] = {}

    def begin(self, run: NodeRun, decision: Verdict | Lost, *, is_live: bool = False) -> None:
        """Begin to read the log of a run whose pod is ended, unless it is shown already.

        With the pod, its log may be gone a moment after the script's end, before the API server
        has confirmed the decision.
        """
        if is_live or isinstance(decision, Lost) or run.start in self._early or len(self._early) >= EARLY:
            return
        view, uid = run.seen.view, decision.pod_uid or ""
        pod = view.pods.get(uid)
        stays = pod is None or (pod_status.is_terminal(pod) and not pod_status.is_being_deleted(pod))
        goes = decision.ends_pods and not stays and uid not in view.gone
        if goes or termination.may_run_on(run.seen.view_of_ends, decision):
            self._early[run.start] = _Buffered(self._context, view)

    def forget(self, run: NodeRun) -> None:
        """Drop what was read of a run that goes on; it is read again."""
        if (early := self._early.pop(run.start, None)) is not None:
            early.reading.cancel()

    def see(self, run: NodeRun) -> None:
        """The run as it is now, if the reading of its log has begun."""
        if run.start in self._early:
            self._early[run.start].lines.see(run.seen.view)

    @property
    def early(self) -> list[asyncio.Task[None]]:
        """What has begun to read, and is not shown yet."""
        return [buffered.reading for buffered in self._early.values()]

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

    async def whole(self, run: NodeRun, title: str, uid: str | None) -> Output:
        """Show a run that has ended, as one group; the output of the pod that decided."""
        early = self._early.get(run.start)
        buffered, is_read = early or _Buffered(self._context, run.seen.view), True
        if early is not None:
            await early.read_rest(run.seen.view)
            del self._early[run.start]
        else:
            is_read = await buffered.fits(run.seen.view)
        is_full = buffered.waiting.is_full.is_set()
        async with self._turn:
            self.open(title)
            try:
                if is_full and (not is_read or _has_log(run.seen.view, uid)):
                    again = await self._shown_again(run)
                    return (buffered.lines if is_read else again).output_of(uid)
                self._context.log.output(buffered.waiting.lines)
                if is_full:
                    self._context.log.note(_CUT, logging.WARNING)
                return buffered.lines.output_of(uid)
            finally:
                self.close()

    async def _shown_again(self, run: NodeRun) -> RunLines:
        """Read a log that is too long to wait for its turn, and show it."""
        lines = RunLines(self._context, FollowState())
        lines.see(run.seen.view, is_over=True)
        await lines.follow()
        return lines

    def open(self, title: str) -> None:
        """Begin a group."""
        self._context.log.output([GROUP + title])

    def close(self) -> None:
        """End it."""
        self._context.log.output([END_OF_GROUP])


def _has_log(view: View, uid: str | None) -> bool:
    """Whether the pod stays for now, and its log with it."""
    pod = view.pods.get(uid or "")
    return pod is not None and uid not in view.gone and not pod_status.is_being_deleted(pod)
