"""The log of one container: live while it runs, complete when it has ended, never an error."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from airflow_script_provider import exceptions
from airflow_script_provider._event_loop import raise_interruption_behind
from airflow_script_provider.api.client import KubernetesApi, backoff
from airflow_script_provider.api.resources import Call
from airflow_script_provider.api.stream_slots import TURN, StreamSlots
from airflow_script_provider.kube.logs.pod_lines import LogLines, LogPosition
from airflow_script_provider.kube.wording import message_of, one_line

SILENCE = 60.0
"""Seconds without a byte after which the stream is opened again: a silent script and a dead
connection look alike."""
IF_GONE = "so the result has no output"
IF_KEPT = "so the result has the end of its output that the triggerer has kept"
IDLE_AFTER_END = 0.1
"""Seconds that an open stream may stay silent once the container has ended, before what is missing
is read."""
OPENING_AFTER_END = 2.0
"""Seconds that a live stream may still take to open once the container has ended."""
FIRST_SILENCE = 10.0
"""Seconds without a byte after which the first read of the rest is given up, so that there is time
for a second one."""
FINAL_PATIENCE = 20.0
"""Seconds in which the rest of the log must be readable after the container's end."""
AFTER_CLEAN_END = 1.0
"""Seconds to wait for news of the container when its stream has ended well, before it is opened
again."""
GATHER = 0.1
"""Seconds in which a live stream gathers lines: a busy script would otherwise be read in
thousands of small pieces."""
REFUSALS = 2
"""Refusals in a row that are doubted: an API server that has just started may not know a right
yet."""

BURST = 100
"""Lines within a container's last two seconds after which its log is read once more: see
``_read_what_is_late``."""
LATE_FLUSH = 0.25
"""Seconds that the node gets to write the end of a burst."""

_CHUNK = 16 * 1024
"""Bytes that are dealt with in one go: about a millisecond of decoding and logging."""
_READ_ERRORS = (aiohttp.ClientError, OSError, TimeoutError)


Deliver = Callable[[Sequence[bytes], Sequence[bytes]], None]
"""Gets lines of a log with their line ends: all that are read, and those of them that no earlier
reader has shown."""


class LogReader:
    """The log of a container.

    ``deliver`` gets its lines; the log's last line may lack a line end. ``start`` is where an
    earlier reader stopped. A reader that ``replays`` reads the log from its beginning; otherwise
    it reads from ``start``, and all lines are new. ``note`` gets what the user should know of the
    log itself. ``if_gone`` says what it means that a log is gone which an earlier reader has read.

    The owner sets ``ended`` when the container has ended, and ``gone`` when its pod was deleted.
    ``is_incomplete`` says that the end of the log could not be read, and ``is_lost`` that this is
    because the pod is gone.
    """

    def __init__(
        self,
        api: KubernetesApi,
        namespace: str,
        pod_name: str,
        deliver: Deliver,
        note: Callable[[str], None],
        container: str,
        *,
        start: LogPosition,
        replays: bool = False,
        slots: StreamSlots | None = None,
        silence: float = SILENCE,
        if_gone: str = IF_GONE,
    ) -> None:
        self.ended = asyncio.Event()
        self.gone = False
        self.is_incomplete = self.is_lost = False
        self.progressed_at = time.monotonic()
        self._api, self._namespace, self._pod_name, self._container = api, namespace, pod_name, container
        self._deliver_lines, self._note = deliver, note
        self._start, self._replays, self._if_gone = start, replays, if_gone
        self._slots, self._silence = slots, silence
        self._lines = LogLines(LogPosition() if replays else start)
        self._new = LogLines(start) if replays else self._lines
        self._interrupted = self._refused = False
        self._delivered = 0
        self._turn_began = 0.0
        self._complete = False
        self._kubelet_said = False
        self._is_unstamped = start.unstamped > 0  # then the earlier reader has noted it

    @property
    def position(self) -> LogPosition:
        """How far the lines after ``start`` were delivered."""
        return self._new.position(complete=self._complete)

    async def follow(self) -> None:
        """Deliver everything until the container has ended. Errors become notes."""
        try:
            await self._follow()
        except Exception as error:  # noqa: BLE001  # logs are best effort, whatever went wrong
            self._note_incomplete(error)

    def give_up(self, why: str = "nothing more came") -> None:
        """Deliver what came of the last line, and note that more may be missing."""
        self._finish()
        self._note_incomplete(TimeoutError(why))

    async def _follow(self) -> None:
        failures = 0
        while not self.ended.is_set():
            error = await self._read(follow=True)
            if error is not None and not _is_doubted(error, failures):
                self._note_interrupted(error)
            failures = failures + 1 if error is not None else 0
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
        """Read what the stream did not bring, because its connection broke or the log was rotated.

        Kubelet may end a followed log at a rotation:
        https://github.com/kubernetes/kubernetes/issues/59902 and
        https://github.com/kubernetes/kubernetes/issues/115701
        """
        give_up = time.monotonic() + FINAL_PATIENCE
        error: Exception | None = None
        for attempt in range(1_000):
            error = await self._read(follow=False, silence=None if attempt else FIRST_SILENCE)
            self.is_lost = self.gone and isinstance(error, exceptions.ApiNotFoundError)
            is_refused = isinstance(error, exceptions.ApiForbiddenError) and not _is_doubted(error, attempt)
            if error is None or self.is_lost or is_refused or time.monotonic() > give_up:
                break
            await asyncio.sleep(backoff(attempt, longest=2.0))
        if error is None and self._lines.in_last_seconds >= BURST:
            await self._read_what_is_late()
        self._finish()
        self._complete = error is None and not self._kubelet_said
        self.is_incomplete = not self._complete
        if error is not None:
            self._note_incomplete(error)

    async def _read_what_is_late(self) -> None:
        """Read on for as long as there is more.

        containerd reports a container's end without waiting for its logger, which may still hold
        4 KiB of lines. Where the disk is slow, the file ends before the output does. See
        ``NewCRILogger``:
        https://github.com/containerd/containerd/blob/main/internal/cri/io/logger.go
        """
        give_up = time.monotonic() + FINAL_PATIENCE
        before = -1
        while self._delivered > before and time.monotonic() < give_up:
            before = self._delivered
            await asyncio.sleep(LATE_FLUSH)
            await self._read(follow=False)

    async def _read(self, *, follow: bool, silence: float | None = None) -> Exception | None:
        """Read one stream from the last complete line to its end; the error that ended it."""
        silence = self._silence if silence is None else min(silence, self._silence)
        query = {"container": self._container, "timestamps": "true", "follow": str(follow).lower()}
        since = self._lines.resume()
        if self._replays:
            self._new.resume()
        if since:
            query["sinceTime"] = since
        call = Call("get", "pods/log", self._namespace, self._pod_name, query=query)
        try:
            async with self._opened(call, silence, until_ended=follow) as content:
                self._note_resumed()
                self._turn_began, self._kubelet_said = time.monotonic(), False
                await self._drain(content, until_idle=follow)
        except TimeoutError as error:
            raise_interruption_behind(error)
            return None if follow else error
        except (exceptions.KubernetesApiError, *_READ_ERRORS) as error:
            raise_interruption_behind(error)
            return error
        return None

    @asynccontextmanager
    async def _opened(self, call: Call, silence: float, *, until_ended: bool) -> AsyncIterator[aiohttp.StreamReader]:
        """The stream, and its slot. One that is not open a moment after the end is given up."""
        async with contextlib.AsyncExitStack() as stack:
            async with asyncio.timeout(None) as opening:
                hurrying = asyncio.create_task(self._hurry(opening)) if until_ended else None
                try:
                    if self._slots is not None and until_ended:
                        await stack.enter_async_context(self._slots.taken())
                    content = await stack.enter_async_context(self._api.stream(call, read_timeout=silence))
                finally:
                    if hurrying is not None:
                        hurrying.cancel()
            yield content

    async def _hurry(self, opening: asyncio.Timeout) -> None:
        await self.ended.wait()
        opening.reschedule(asyncio.get_running_loop().time() + OPENING_AFTER_END)

    async def _drain(self, content: aiohttp.StreamReader, *, until_idle: bool) -> None:
        while chunk := await self._next_chunk(content, until_idle=until_idle):
            async with self._slots.delivery if self._slots is not None else contextlib.nullcontext():
                lines = self._lines.feed(chunk)
                self._deliver(lines, self._new.feed(chunk) if self._replays else lines)
                await asyncio.sleep(0)
            if until_idle and self._has_had_its_turn:
                return
            if until_idle and len(chunk) < _CHUNK:
                await self._pause(GATHER)

    @property
    def _has_had_its_turn(self) -> bool:
        """Whether this stream has had its slot for long enough, and another stream wants it."""
        is_wanted = self._slots is not None and self._slots.is_wanted
        return is_wanted and time.monotonic() >= self._turn_began + TURN and not self.ended.is_set()

    async def _next_chunk(self, content: aiohttp.StreamReader, *, until_idle: bool) -> bytes:
        """The next bytes; empty at the stream's end, or when nothing follows a container's end."""
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
        """Wait for bytes, for the container's end, or until another stream wants the slot."""
        both: set[asyncio.Task[Any]] = {read, ended}
        while not (read.done() or ended.done()):
            turn = TURN if self._slots is not None else None
            await asyncio.wait(both, timeout=turn, return_when=asyncio.FIRST_COMPLETED)
            if self._has_had_its_turn:
                return

    def _deliver(self, lines: Sequence[bytes], new: Sequence[bytes]) -> None:
        self.progressed_at = time.monotonic()
        self._delivered += len(lines)
        self._note_kubelets_messages()
        self._note_unstamped()
        if lines or new:
            self._deliver_lines(lines, new)

    def _finish(self) -> None:
        """What came after the last line end, if it was not delivered before."""
        last = self._lines.finish()
        self._deliver(last, [] if self._start.complete else self._new.finish() if self._replays else last)

    def _note_interrupted(self, error: Exception) -> None:
        if self._interrupted:
            return
        self._interrupted = True
        if isinstance(error, exceptions.ApiForbiddenError):
            self._note_refused(error)
        else:
            self._note(f"The log of pod {self._pod_name} cannot be read, trying again: {message_of(error)}")

    def _note_refused(self, error: exceptions.ApiForbiddenError) -> None:
        """Once, not again at the end: a missing right is asked for a second time all the same."""
        if not self._refused:
            self._refused = True
            self._note(f"The log of pod {self._pod_name} cannot be read: {error}")

    def _note_resumed(self) -> None:
        if self._interrupted:
            self._interrupted = self._refused = False
            self._note(f"The log of pod {self._pod_name} goes on where it was interrupted")

    def _note_kubelets_messages(self) -> None:
        """Note what the kubelet sent in the place of lines, mostly that the file is gone.

        It answers 200 all the same: https://github.com/kubernetes/kubernetes/issues/142258
        """
        for words in dict.fromkeys(self._lines.of_kubelet):
            self._kubelet_said = True
            self._note(f"The log of pod {self._pod_name}: {one_line(words)}")
        self._lines.of_kubelet.clear()

    def _note_unstamped(self) -> None:
        if self._lines.is_unstamped and not self._is_unstamped:
            self._is_unstamped = True
            self._note(
                f"The log of pod {self._pod_name} has no time stamps, which its node or a proxy drops: "
                "if it is opened again, lines may be lost or repeated"
            )

    def _note_incomplete(self, error: Exception) -> None:
        self.is_incomplete = True
        if self._start.complete:
            self._note(f"The log of pod {self._pod_name} is gone, {self._if_gone}: {error}")
        elif isinstance(error, exceptions.ApiForbiddenError):
            self._note_refused(error)
        else:
            self._note(f"The log of pod {self._pod_name} is incomplete from here: {message_of(error)}")


def _is_doubted(error: Exception, refusals: int) -> bool:
    """Whether so many refusals before this one leave a doubt of it."""
    return isinstance(error, exceptions.ApiForbiddenError) and refusals < REFUSALS
