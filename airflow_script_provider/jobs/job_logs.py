"""The logs of a Job's pods: read live, one container of a pod after the other."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from airflow_script_provider.api.stream_slots import StreamSlots
from airflow_script_provider.jobs.context import JobContext
from airflow_script_provider.jobs.log_reader import IF_GONE, SILENCE, Deliver, LogReader
from airflow_script_provider.kube.job.follow_state import FollowState, Kept
from airflow_script_provider.kube.job.observed.view import View
from airflow_script_provider.kube.job.verdict import Verdict
from airflow_script_provider.kube.labels import INSTALL_CONTAINER, SCRIPT_CONTAINER
from airflow_script_provider.kube.logs.container_logs import ContainerLog, LogKey, logs_to_begin
from airflow_script_provider.kube.logs.groups import END_OF_GROUP, GROUP, Groups
from airflow_script_provider.kube.logs.output import Output, Tail
from airflow_script_provider.kube.logs.pod_lines import LogPosition
from airflow_script_provider.kube.logs.prelude import Prelude
from airflow_script_provider.kube.logs.value import MAX_VALUE
from airflow_script_provider.kube.pods import pod_status

LOG_MARGIN = 25.0
"""Seconds without progress after which the rest of a log is given up, once its container has
ended; and all the seconds for the log of one that was not seen to end."""
MAX_KEPT = 64 * 1024
"""Bytes at most of an output that travel where its log goes with its pod. Of a success with a
sidecar, whose value would go as well, it is ``MAX_VALUE``."""

_LACKS_END = "The end of the log could not be read"
_GROUP = f"{GROUP}Installing dependencies"


class Outputs:
    """Keeps the output of the last two pods that printed; one of a Job's pods decides.

    A follower whose result another process makes keeps ends only (``whole`` is False). They are
    needed where the pod, and its log with it, is gone before the other process can read it.
    """

    def __init__(self, max_bytes: int, *, whole: bool, pod_of: Callable[[str], pod_status.Pod] = lambda _: {}) -> None:
        self._max_bytes = max_bytes
        self._pod_of = pod_of
        self._whole = whole
        self._outputs: dict[str, Output] = {}
        self._tails: dict[str, Tail] = {}

    def begin(self, uid: str) -> Output | Tail:
        """What the lines of a pod are to be added to."""
        if self._whole:
            newest_before = list(self._outputs)[-1:]
            self._outputs = {old: self._outputs[old] for old in newest_before} | {uid: Output(self._max_bytes)}
            return self._outputs[uid]
        has_sidecars = bool(pod_status.unfinished_others(self._pod_of(uid)))
        self._tails = {uid: Tail(MAX_VALUE if has_sidecars else MAX_KEPT)}
        return self._tails[uid]

    def of(self, uid: str | None, *, lacks_end: bool = False) -> Output:
        """The output of a pod, otherwise of the last pod that printed; none without a pod.

        It has no value if it is another pod's, or ``lacks_end``: the rest of the log could not be
        read.
        """
        if uid is None:
            return Output(self._max_bytes)
        output = self._outputs.get(uid, next(reversed(self._outputs.values()), Output(self._max_bytes)))
        if lacks_end:
            output.no_value_because = _LACKS_END
        elif uid not in self._outputs and output.size:
            output.no_value_because = "Only an earlier attempt has printed"
        return output

    def of_kept(self, kept: Kept, *, lacks_end: bool) -> Output:
        """The output that an earlier follower kept, of a log that has gone with its pod."""
        output = Output(self._max_bytes)
        output.lacks_start = kept.lacks_start
        output.add_end(kept.text, kept.size, is_torn=kept.is_torn)
        output.no_value_because = _LACKS_END if lacks_end else ""
        return output

    def kept(self, uid: str | None, *, is_success: bool = True) -> Kept:
        """The end of a pod's output, for a result that another process makes."""
        tail = self._tails.get(uid or "")
        return Kept() if tail is None else _kept_of(tail, MAX_VALUE if is_success else MAX_KEPT)


class JobLogs:
    """Reads the logs of a Job's pods into the log of its context.

    ``start`` is how far an earlier reader came. ``output_of`` gives what the script's lines of a
    pod are added to. A reader that ``keeps_output`` reads each log from its start, and shows the
    lines that come after ``start``. ``groups_installation`` shows the installation's lines as a
    group of their own. ``in_sequence`` reads one log after the other; otherwise only the logs of
    one pod follow each other. ``if_gone`` says what it means that a log is gone which an earlier
    reader has shown.
    """

    def __init__(
        self,
        context: JobContext,
        start: FollowState,
        output_of: Callable[[str], Output | Tail],
        *,
        keeps_output: bool = True,
        groups_installation: bool = True,
        in_sequence: bool = False,
        slots: StreamSlots | None = None,
        silence: float = SILENCE,
        if_gone: str = IF_GONE,
    ) -> None:
        self._api, self._job, self._log = context.api, context.job, context.log
        self._folds_groups = context.folds_groups
        self._start = start
        self._output_of = output_of
        self._keeps_output = keeps_output
        self._groups_installation = groups_installation
        self._in_sequence = in_sequence
        self._slots, self._silence, self._if_gone = slots, silence, if_gone
        self._logs: dict[LogKey, LogReader] = {}
        self._groups: dict[LogKey, Groups] = {}
        self._noted_of: dict[str, LogKey] = {}
        self._installations: set[LogKey] = set()
        self._new_bytes: Counter[LogKey] = Counter()
        self._readers: dict[LogKey, asyncio.Task[None]] = {}
        self._newest_of_pod: dict[str, asyncio.Task[None]] = {}
        self._afterwards: dict[str, list[Callable[[], None]]] = {}
        self._tasks = asyncio.TaskGroup()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Read while the block runs, once; the rest is left to the next reader."""
        try:
            async with self._tasks:
                try:
                    yield
                finally:
                    for reader in self._readers.values():
                        reader.cancel()
        finally:
            for uid in [*self._afterwards]:
                self._do_afterwards(uid)

    @property
    def positions(self) -> dict[LogKey, LogPosition]:
        """How far each log was shown."""
        return {key: replace(log.position, groups=self._groups[key].open) for key, log in self._logs.items()}

    def lacks_end(self, uid: str | None) -> bool:
        """Whether the end of the log of a pod's script could not be read."""
        log = self._logs.get((uid or "", SCRIPT_CONTAINER))
        return log is not None and log.is_incomplete

    def is_lost(self, uid: str) -> bool:
        """Whether the log of a pod's script is gone with its pod."""
        log = self._logs.get((uid, SCRIPT_CONTAINER))
        return log is not None and log.is_lost

    def new_bytes(self, uid: str) -> int:
        """How many bytes of a script's log came after ``start``."""
        return self._new_bytes[uid, SCRIPT_CONTAINER]

    def see(self, view: View) -> None:
        """Begin the logs that are to be read now, and end those whose container has ended."""
        seen = container_logs(view)
        wanted = {"keeps_output": self._keeps_output, "get_logs": self._job.get_logs}
        for log in logs_to_begin(seen, self._logs, self._start.logs, **wanted):
            self._begin(log)
        ended = {log.key for log in seen if log.exit_code is not None}
        self.see_gone(view)
        for key, log_reader in self._logs.items():
            if log_reader.gone or key in ended:
                log_reader.ended.set()

    def see_gone(self, view: View) -> None:
        """Wait no longer for the log of a pod that is gone, also while the rest is read."""
        for key, log_reader in self._logs.items():
            log_reader.gone = key[0] in view.gone

    def afterwards(self, uid: str, do: Callable[[], None]) -> None:
        """Do something when the logs of a pod were read; at once, where none is being read."""
        if uid in self._newest_of_pod and not self._newest_of_pod[uid].done():
            self._afterwards.setdefault(uid, []).append(do)
        else:
            do()

    async def read_left(self, logs: Iterable[ContainerLog]) -> None:
        """Read these logs of a Job that is over."""
        for log in logs:
            self._begin(log)
            self._logs[log.key].gone = True  # a 404 is final: the same pod is never made again
            if log.exit_code is not None:
                self._logs[log.key].ended.set()
        await self.finish()

    async def finish(self) -> None:
        """Read the logs of containers that have ended, as long as there is progress.

        One that was not seen to end may print for ever, so its log is given up in any case.
        """
        running = [key for key, log in self._logs.items() if not log.ended.is_set()]
        for log in self._logs.values():
            log.ended.set()
        began = time.monotonic()
        while unread := [reader for reader in self._readers.values() if not reader.done()]:
            if running and time.monotonic() >= began + LOG_MARGIN:
                self._leave(running)
                running = []
            newest = max(log.progressed_at for log in self._logs.values())
            left = max(began, newest) + LOG_MARGIN - time.monotonic()
            if left <= 0:
                break
            await asyncio.wait(unread, timeout=min(left, LOG_MARGIN, 1.0))
        for key, reader in self._readers.items():
            if not reader.done():
                self._logs[key].give_up()

    def _leave(self, running: Iterable[LogKey]) -> None:
        """Stop reading the logs of containers that were not seen to end."""
        for key in running:
            if not self._readers[key].done():
                self._logs[key].give_up("its container was not seen to end")
                self._readers[key].cancel()

    def _begin(self, log: ContainerLog) -> None:
        """Read a log after those begun before: of its pod, or all ``in_sequence``."""
        if log.container == INSTALL_CONTAINER and log.key not in self._start.logs:
            self._open_installation(log.key)
        log_reader, before = self._reader_of(log), self._newest_of_pod.get(log.uid)
        if self._in_sequence:
            before = next(reversed(self._readers.values()), None)
        self._logs[log.key] = log_reader
        reader = self._tasks.create_task(self._read(log, log_reader, before))
        self._readers[log.key] = self._newest_of_pod[log.uid] = reader

    async def _read(self, log: ContainerLog, log_reader: LogReader, before: asyncio.Task[None] | None) -> None:
        try:
            if before is not None:
                await asyncio.wait({before})
            await log_reader.follow()
        finally:
            self._log.output(self._groups[log.key].close())
            if log.key in self._installations:
                self._log.output([END_OF_GROUP])
            if self._newest_of_pod.get(log.uid) is asyncio.current_task():
                self._do_afterwards(log.uid)

    def _do_afterwards(self, uid: str) -> None:
        for do in self._afterwards.pop(uid, ()):
            do()

    def _reader_of(self, log: ContainerLog) -> LogReader:
        def note(text: str) -> None:
            if self._noted_of.setdefault(text, log.key) == log.key:  # once for all containers of a pod
                self._log.note(text, logging.WARNING)

        position = self._start.position(*log.key)
        is_script = log.container == SCRIPT_CONTAINER
        self._groups[log.key] = Groups(
            position.groups,
            is_torn=position.cut is not None,
            mark=self._job.mark if is_script else None,
            folds=self._folds_groups,
        )
        return LogReader(
            self._api,
            self._job.ref.namespace,
            log.pod_name,
            self._script_lines(log) if is_script else self._installation_lines(log),
            note,
            log.container,
            start=position,
            replays=self._keeps_output and log.key in self._start.logs,
            slots=self._slots,
            silence=self._silence,
            if_gone=self._if_gone,
        )

    def _script_lines(self, log: ContainerLog) -> Deliver:
        groups = self._groups[log.key]
        # An earlier reader may have read the prelude's last line.
        position = self._start.position(*log.key)
        is_continued = not self._keeps_output and bool(position.newest)
        output = self._output_of(log.uid)
        output.lacks_start = output.lacks_start or is_continued
        output.is_torn = output.is_torn or (is_continued and position.cut is not None)
        prelude = Prelude(None if is_continued else self._job.mark, output)

        def deliver(lines: Sequence[bytes], new: Sequence[bytes]) -> None:
            prelude.add(lines)
            self._new_bytes[log.key] += sum(map(len, new))
            self._log.output(groups.shown(new))

        return deliver

    def _installation_lines(self, log: ContainerLog) -> Deliver:
        groups = self._groups[log.key]

        def deliver(lines: Sequence[bytes], new: Sequence[bytes]) -> None:
            if new:
                self._open_installation(log.key)
            self._log.output(groups.shown(new))

        return deliver

    def _open_installation(self, key: LogKey) -> None:
        """Begin the group of an installation's lines, once; a group does not outlive its reader.

        The next reader may show none of them, and begins its own before its first one.
        """
        if self._groups_installation and key not in self._installations:
            self._installations.add(key)
            self._log.output([_GROUP])


def container_logs(view: View) -> list[ContainerLog]:
    """The logs there are of a Job, in the order of its pods and of their containers."""
    return [log for pod in view.pods.values() for log in pod_status.logs_of(pod)]


@dataclass(frozen=True)
class LastReading:
    """An ended script's log, read from its start while its pod is still there.

    ``positions`` are how far logs are shown now. ``is_lost`` says that the pod was gone.
    """

    kept: Kept
    positions: Mapping[LogKey, LogPosition]
    is_lost: bool


async def read_once_more(context: JobContext, start: FollowState, view: View, verdict: Verdict) -> LastReading:
    """Read the log of the deciding script from its start, and show what comes after ``start``."""
    uid, max_bytes = verdict.pod_uid or "", MAX_VALUE if verdict.is_success else MAX_KEPT
    tail = Tail(max_bytes)
    logs = JobLogs(context, start, lambda _: tail)
    async with logs.reading():
        await logs.read_left(log for log in container_logs(view) if log.key == (uid, SCRIPT_CONTAINER))
    kept = _kept_of(tail, max_bytes, new_bytes=logs.new_bytes(uid))
    if not logs.positions.get((uid, SCRIPT_CONTAINER), LogPosition()).complete:
        kept = replace(kept, lacks_end=True, is_whole=False)
    return LastReading(kept, {**start.logs, **logs.positions}, logs.is_lost(uid))


def _kept_of(tail: Tail, max_bytes: int, *, new_bytes: int | None = None) -> Kept:
    """What is kept of an output; all of it is new by default."""
    most = min(max_bytes, tail.max_bytes)
    end, is_whole = tail.end(most), tail.size <= most and not tail.lacks_start
    # One byte more: the line end before the new lines, so that the first of them counts as whole.
    new = "" if new_bytes == 0 else end.text if new_bytes is None else tail.text(min(most, new_bytes + 1))
    shown = len(end.text) - len(new)
    return Kept(end.text, tail.size, tail.lacks_start, is_torn=end.is_torn, is_whole=is_whole, shown=shown)
