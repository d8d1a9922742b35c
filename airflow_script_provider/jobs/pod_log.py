"""Following the log of one pod: live while its script runs, complete when it has ended, never an error."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from airflow_script_provider import exceptions
from airflow_script_provider.api.client import KubernetesApi, backoff
from airflow_script_provider.api.stream_slots import TURN, StreamSlots
from airflow_script_provider.kube.labels import SCRIPT_CONTAINER
from airflow_script_provider.kube.logs.kubelet import LogLines, LogPosition

SILENCE = 60.0
"""Seconds without a byte after which the stream is opened anew: a silent script and a dead connection look alike."""
IF_GONE = "so the result has no output"
IF_KEPT = "so the result has the end of its output that the triggerer has kept"
IDLE_AFTER_END = 0.1
"""Seconds that an open stream may stay silent once the container has ended, before what is missing is read."""
FINAL_PATIENCE = 20.0
"""Seconds in which the rest of the log must be readable after the container's end."""
AFTER_CLEAN_END = 1.0
"""Seconds to wait for news of the container when its stream has ended well, before it is opened again."""
GATHER = 0.1
"""Seconds in which a live stream gathers lines: a busy script would else be read in thousands of small pieces."""
REFUSALS = 2
"""Refusals of the rest of a log that are doubted: an API server that has just started may not know a right yet."""

BURST = 100
"""Lines within a container's last second after which its log is looked at once more: see ``_read_what_is_late``."""
LATE_FLUSH = 0.25
"""Seconds that the node gets to write the end of a burst."""

_CHUNK = 16 * 1024
"""Bytes that are dealt with in one go: about a millisecond of decoding and logging."""
_READ_ERRORS = (aiohttp.ClientError, OSError, TimeoutError)


@dataclass
class PodLog:
    """The log of a container, by default the script's.

    ``deliver`` gets its lines with their line ends, which the last one may lack: all of them, and those of them that
    come after ``start``, where an earlier reader stopped. ``again`` reads the log from its beginning all the same,
    else the two are one. ``note`` gets what the reader should know of the log itself. ``ended`` is set when the
    container has ended, ``gone`` when its pod is no more; ``if_gone`` says what that means where another has read all.
    """

    api: KubernetesApi
    namespace: str
    pod_name: str
    deliver: Callable[[Sequence[bytes], Sequence[bytes]], None]
    note: Callable[[str], None]
    container: str = SCRIPT_CONTAINER
    start: LogPosition = field(default_factory=LogPosition)
    again: bool = False
    slots: StreamSlots | None = None
    silence: float = SILENCE
    if_gone: str = IF_GONE
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    gone: bool = False
    progressed_at: float = field(default_factory=time.monotonic)
    _interrupted: bool = False
    _delivered: int = 0
    _turn_began: float = 0.0
    _complete: bool = False

    def __post_init__(self) -> None:
        self._lines = LogLines(LogPosition() if self.again else self.start)
        self._new = LogLines(self.start) if self.again else self._lines

    @property
    def position(self) -> LogPosition:
        """How far the lines after ``start`` were delivered."""
        return self._new.position(complete=self._complete)

    async def follow(self) -> None:
        """Deliver everything until the container has ended. Errors become notes; ``Exception`` never leaves."""
        try:
            await self._follow()
        except Exception as error:  # noqa: BLE001  # logs are best effort, whatever went wrong
            self._say_incomplete(error)

    def give_up(self) -> None:
        """Deliver what there is of the last line, and say that more may be missing."""
        self._finish()
        self._say_incomplete(TimeoutError("nothing more came"))

    async def _follow(self) -> None:
        failures = 0
        while not self.ended.is_set():
            error = await self._read(follow=True)
            failures = failures + 1 if error is not None else 0
            if error is not None:
                self._say_interrupted(error)
            if not self.ended.is_set():
                await self._pause(backoff(failures) if failures else AFTER_CLEAN_END)
        await self._read_rest()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.ended.wait()
        except TimeoutError:
            pass

    async def _read_rest(self) -> None:
        """What the stream has not brought: kubelet ends a followed log at a rotation, and connections break."""
        give_up = time.monotonic() + FINAL_PATIENCE
        error: Exception | None = None
        for attempt in range(1_000):
            error = await self._read(follow=False)
            is_lost = self.gone and isinstance(error, exceptions.ApiNotFoundError)
            is_refused = isinstance(error, exceptions.ApiForbiddenError) and attempt >= REFUSALS
            if error is None or is_lost or is_refused or time.monotonic() > give_up:
                break
            await asyncio.sleep(backoff(attempt, longest=2.0))
        if error is None and self._lines.in_last_second >= BURST:
            await self._read_what_is_late()
        self._finish()
        self._complete = error is None
        if error is not None:
            self._say_incomplete(error)

    async def _read_what_is_late(self) -> None:
        """Read on for as long as there is more.

        containerd tells a container's end without waiting for its logger, which may still hold 4 KiB of lines
        (``NewCRILogger``); where the disk is slow, the file ends before the output does.
        """
        give_up = time.monotonic() + FINAL_PATIENCE
        before = -1
        while self._delivered > before and time.monotonic() < give_up:
            before = self._delivered
            await asyncio.sleep(LATE_FLUSH)
            await self._read(follow=False)

    async def _read(self, *, follow: bool) -> Exception | None:
        """One stream from the last complete line on, to its end; the error that ended it, None if it ended well."""
        query = {"container": self.container, "timestamps": "true", "follow": str(follow).lower()}
        since = self._lines.resume()
        if self.again:
            self._new.resume()
        if since:
            query["sinceTime"] = since
        try:
            async with (
                self.slots.taken() if self.slots is not None and follow else contextlib.nullcontext(),
                self.api.stream(
                    "get", "pods/log", self.namespace, self.pod_name, read_timeout=self.silence, query=query
                ) as content,
            ):
                self._say_resumed()
                self._turn_began = time.monotonic()
                await self._drain(content, until_idle=follow)
        except TimeoutError as error:
            return None if follow else error
        except (exceptions.KubernetesApiError, *_READ_ERRORS) as error:
            return error
        return None

    async def _drain(self, content: aiohttp.StreamReader, *, until_idle: bool) -> None:
        while chunk := await self._next_chunk(content, until_idle=until_idle):
            async with self.slots.delivery if self.slots is not None else contextlib.nullcontext():
                lines = self._lines.feed(chunk)
                self._deliver(lines, self._new.feed(chunk) if self.again else lines)
                await asyncio.sleep(0)
            if until_idle and self._has_had_its_turn:
                return
            if until_idle and len(chunk) < _CHUNK:
                await self._pause(GATHER)

    @property
    def _has_had_its_turn(self) -> bool:
        """Whether somebody else wants the slot of this stream, which has had it for long enough."""
        is_wanted = self.slots is not None and self.slots.is_wanted
        return is_wanted and time.monotonic() >= self._turn_began + TURN and not self.ended.is_set()

    async def _next_chunk(self, content: aiohttp.StreamReader, *, until_idle: bool) -> bytes:
        """The next bytes; empty at the stream's end, or when the container has ended and nothing comes any more."""
        if not until_idle:
            return await content.read(_CHUNK)
        read = asyncio.create_task(content.read(_CHUNK))
        ended = asyncio.create_task(self.ended.wait())
        try:
            await self._either(read, ended)
            if not read.done() and ended.done():
                await asyncio.wait({read}, timeout=IDLE_AFTER_END)
            return await read if read.done() else b""
        finally:
            for task in (read, ended):
                task.cancel()

    async def _either(self, read: asyncio.Task[bytes], ended: asyncio.Task[Any]) -> None:
        """Wait for bytes or for the container's end; or until somebody else wants the slot of this stream."""
        both: set[asyncio.Task[Any]] = {read, ended}
        while not (read.done() or ended.done()):
            turn = TURN if self.slots is not None else None
            await asyncio.wait(both, timeout=turn, return_when=asyncio.FIRST_COMPLETED)
            if self._has_had_its_turn:
                return

    def _deliver(self, lines: Sequence[bytes], new: Sequence[bytes]) -> None:
        self.progressed_at = time.monotonic()
        self._delivered += len(lines)
        self._say_what_kubelet_said()
        if lines or new:
            self.deliver(lines, new)

    def _finish(self) -> None:
        """What came after the last line end, if it was not delivered before."""
        last = self._lines.finish()
        self._deliver(last, [] if self.start.complete else self._new.finish() if self.again else last)

    def _say_interrupted(self, error: Exception) -> None:
        if not self._interrupted:
            self._interrupted = True
            self.note(f"The log of pod {self.pod_name} cannot be read, trying again: {error or type(error).__name__}")

    def _say_resumed(self) -> None:
        if self._interrupted:
            self._interrupted = False
            self.note(f"The log of pod {self.pod_name} goes on where it was interrupted")

    def _say_what_kubelet_said(self) -> None:
        """In the place of lines; mostly that the file is gone, which the end of the log says again."""
        for words in dict.fromkeys(self._lines.of_kubelet):
            self.note(f"The log of pod {self.pod_name}: {words}")
        self._lines.of_kubelet.clear()

    def _say_incomplete(self, error: Exception) -> None:
        if self.start.complete:
            self.note(f"The log of pod {self.pod_name} is gone, {self.if_gone}: {error}")
        elif not self._interrupted:
            self.note(f"The log of pod {self.pod_name} is incomplete from here: {error or type(error).__name__}")
