"""A pod's log as complete lines, each exactly once however often the stream is opened again.

The API's ``sinceTime`` counts in whole seconds, so a stream that is opened again starts with lines
that were seen before: https://github.com/kubernetes/kubernetes/issues/92389. The time stamps that
``timestamps=true`` puts before every line show which ones. Where a node or a proxy drops the time
stamps, ``sinceTime`` cannot be used either: the log comes again from its start, and as many bytes
as were delivered are dropped.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, timedelta
from functools import lru_cache
from typing import Any

from airflow_script_provider.kube.times import parse_time

MAX_LINE = 1024 * 1024
"""Bytes after which a line is delivered in pieces, so that output without line ends needs no
unbounded memory."""

_SECOND = len("2026-01-01T00:00:00")
_NANOSECONDS = slice(_SECOND + 1, _SECOND + 10)
_OF_KUBELET = re.compile(
    rb"(?i)unable to retrieve container logs|failed to (?:try resolving|open log|create fsnotify|watch)|rpc error: code"
)
"""How the messages begin that kubelet and the container runtime send in the place of a log."""
# The kubelet's form. A script may begin its lines with stamps of its own.
_STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(?:Z|[+-]\d\d:\d\d)(?: |$)")
_TORN_STAMP = re.compile(rb"[\dTZ:.+-]*")
_DISORDER = 1_000_000
"""Nanoseconds by which a line may have an earlier stamp than the line before it: stdout and stderr
are stamped separately."""


@dataclass(frozen=True)
class LogPosition:
    """How far a container's log was delivered, for the next reader. Only complete lines count.

    ``newest`` is the newest time stamp, empty for none. Lines older than
    a millisecond before it were all delivered; of those since then, ``offsets`` has the
    nanoseconds before ``newest`` of each that was. ``cut`` is the stamp of an over-long line whose
    first bytes were delivered, and how many. ``unstamped`` counts the delivered bytes of a log
    without time stamps. ``complete`` says that there is nothing to come. ``groups`` counts the
    groups that the script has open.
    """

    newest: str = ""
    offsets: tuple[int, ...] = ()
    cut: tuple[str, int] | None = None
    complete: bool = False
    unstamped: int = 0
    groups: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        given = {
            "newest": self.newest,
            "offsets": list(self.offsets),
            "cut": self.cut and list(self.cut),
            "unstamped": self.unstamped,
            "groups": self.groups,
        }
        return {name: value for name, value in given.items() if value} | ({"complete": True} if self.complete else {})

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> LogPosition:
        """From ``to_dict``. Raises an error for a position that no log can have."""
        cut_stamp, cut_size = given.get("cut") or ("", 0)
        position = cls(
            newest=_text(given.get("newest", "")),
            offsets=tuple(map(_count, given.get("offsets", ()))),
            cut=(_text(cut_stamp), _count(cut_size)) if cut_size else None,
            complete=bool(given.get("complete")),
            unstamped=_count(given.get("unstamped", 0)),
            groups=_count(given.get("groups", 0)),
        )
        if position.newest:
            parse_time(position.newest)
        LogLines(position).resume()
        return position


class LogLines:
    """Cuts the bytes of one container's log into lines and drops what was delivered before.

    ``feed`` takes what the stream brings. Call ``resume`` before the stream is opened again, and
    ``finish`` when the container has ended and everything was read. Lines up to a ``position``
    count as delivered; call ``resume`` also before the first stream then. A line without a time
    stamp is not the container's but kubelet's, such as "unable to retrieve container logs for …":
    https://github.com/kubernetes/kubernetes/issues/142258. It is kept in ``of_kubelet``. If the
    log's first line is another one, the log ``is_unstamped``, and all its lines are delivered.
    """

    def __init__(self, position: LogPosition = LogPosition()) -> None:
        self.of_kubelet: list[str] = []
        self._partial: list[bytes] = []
        self._partial_size = 0
        self._newest = _in_utc(position.newest.encode())
        self._second = self._newest[:_SECOND]
        self._stamps = [[_earlier(self._newest, offset) for offset in position.offsets]]
        self._in_second_before = 0
        self._replayed: Counter[bytes] = Counter()
        self._old_before = _earlier(self._newest, _DISORDER) if self._newest else b""
        self._is_old_before = b""
        self._cut_stamp, self._cut_size = (b"", 0) if position.cut is None else _encoded(position.cut)
        self._to_skip = 0
        self.is_unstamped = position.unstamped > 0
        self._unstamped_size, self._unstamped_to_skip = position.unstamped, 0

    @property
    def in_last_seconds(self) -> int:
        """How many lines were delivered that bear the newest second, or the one before it.

        A burst may begin in one second and end in the next.
        """
        return self._in_second_before + self._in_second

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that this chunk completes, with their line end and without time stamp.

        A piece of an over-long line has no line end.
        """
        head, separator, rest = chunk.partition(b"\n")
        if not separator:
            return self._keep_partial(chunk)
        first = b"".join((*self._partial, head))
        *middle, tail = rest.split(b"\n")
        self._partial, self._partial_size = [], 0
        lines = self._deliver([first + b"\n", *(line + b"\n" for line in middle)])
        return lines + self._keep_partial(tail) if tail else lines

    def resume(self) -> str | None:
        """The ``sinceTime`` to open the next stream with, None for the log's start.

        The line that was incomplete comes again.
        """
        self._partial, self._partial_size = [], 0
        self._to_skip, self._cut_size = self._to_skip + self._cut_size, 0
        self._replayed = Counter(stamp for stamps in self._stamps for stamp in stamps)
        self._is_old_before = self._old_before
        self._unstamped_to_skip = self._unstamped_size
        return f"{self._newest[:_SECOND].decode()}Z" if self._newest else None

    def position(self, *, complete: bool = False) -> LogPosition:
        """What was delivered so far."""
        stamps = [stamp for stamps in self._stamps for stamp in stamps]
        newest = max(stamps, default=b"")
        oldest = _earlier(newest, _DISORDER) if newest else b""
        cut = (self._cut_stamp.decode(), self._cut_size + self._to_skip) if self._cut_size + self._to_skip else None
        return LogPosition(
            newest=newest.decode(),
            offsets=tuple(_nanoseconds(newest) - _nanoseconds(stamp) for stamp in stamps if stamp >= oldest and newest),
            cut=cut,
            complete=complete,
            unstamped=self._unstamped_size,
        )

    def finish(self) -> list[bytes]:
        """The last line, if it has no line end; a stamp without text is none."""
        last, self._partial, self._partial_size = b"".join(self._partial), [], 0
        if not self.is_unstamped and _TORN_STAMP.fullmatch(last):
            return []  # a stamp that the stream's end has torn
        return [text for text in self._deliver([last]) if text] if last else []

    def _keep_partial(self, tail: bytes) -> list[bytes]:
        self._partial.append(tail)
        self._partial_size += len(tail)
        if self._partial_size < MAX_LINE:
            return []
        return self._deliver_piece(b"".join(self._partial))

    def _deliver_piece(self, start: bytes) -> list[bytes]:
        """A piece of an over-long line; its time stamp stays in front of the rest of the line."""
        if self._is_of_unstamped_log(start):
            self._partial, self._partial_size = [], 0
            return self._not_yet_delivered([start])
        written, _, text = start.partition(b" ")
        self._partial, self._partial_size = [written + b" "], len(written) + 1
        stamp = _in_utc(written)
        if self._replayed[stamp] or stamp < self._is_old_before:
            return []
        if stamp != self._cut_stamp:
            self._cut_stamp, self._cut_size, self._to_skip = stamp, 0, 0
        self._cut_size += len(text)
        piece = self._without_delivered(stamp, text)
        return [piece] if piece else []

    def _without_delivered(self, stamp: bytes, text: bytes) -> bytes:
        if stamp != self._cut_stamp or not self._to_skip:
            return text
        skipped = min(self._to_skip, len(text))
        self._to_skip -= skipped
        return text[skipped:]

    def _is_of_unstamped_log(self, line: bytes) -> bool:
        """Whether the log has no time stamps, as its first line shows."""
        if line and not self._newest and not _is_stamped(line):
            self.is_unstamped = True
        return self.is_unstamped

    def _not_yet_delivered(self, raw: Iterable[bytes]) -> list[bytes]:
        """Lines of a log without time stamps, but for the bytes that were delivered before."""
        texts = []
        for line in raw:
            skipped = min(self._unstamped_to_skip, len(line))
            self._unstamped_to_skip -= skipped
            texts.append(line[skipped:])
        self._unstamped_size += sum(map(len, texts))
        return [text for text in texts if text]

    def _deliver(self, raw: Iterable[bytes]) -> list[bytes]:
        stamps, texts = [], []
        lines = list(raw)
        if self._is_of_unstamped_log(next((line for line in lines if not _OF_KUBELET.match(line)), b"")):
            return self._not_yet_delivered(lines)
        for line in lines:
            stamp, _, text = line.partition(b" ")
            if not _is_stamped(stamp):
                self.of_kubelet.append(line.decode("utf-8", "replace").strip())
                continue
            stamps.append(_in_utc(stamp))
            texts.append(text)
        if self._cut_stamp:
            texts = [self._without_delivered(stamp, text) for stamp, text in zip(stamps, texts, strict=True)]
            self._cut_stamp, self._cut_size = (b"", 0) if not self._to_skip else (self._cut_stamp, self._cut_size)
        if self._replayed or self._is_old_before:
            stamps, texts = self._not_replayed(stamps, texts)
        self._remember(stamps)
        return texts

    def _not_replayed(self, stamps: list[bytes], texts: list[bytes]) -> tuple[list[bytes], list[bytes]]:
        fresh = []
        for index, stamp in enumerate(stamps):
            if self._replayed[stamp] > 0:
                self._replayed[stamp] -= 1
            elif stamp >= self._is_old_before:
                fresh.append(index)
        if stamps and stamps[-1][:_SECOND] > self._second:
            self._replayed, self._is_old_before = Counter(), b""
        return [stamps[i] for i in fresh], [texts[i] for i in fresh]

    def _remember(self, stamps: list[bytes]) -> None:
        """Keep the time stamps that the next stream would repeat: those of the last second."""
        if not stamps:
            return
        newest = max(stamps[0], stamps[-1])
        if newest[:_SECOND] > self._second:
            older = [stamp[:_SECOND] for stamp in stamps if stamp[:_SECOND] < newest[:_SECOND]]
            before = max(older, default=self._second)
            count = older.count(before) + (self._in_second if before == self._second else 0)
            self._in_second_before = count if _follows(newest[:_SECOND], before) else 0
            self._second, self._newest = newest[:_SECOND], newest
            self._stamps, self._old_before = [], b""
        self._stamps.append([stamp for stamp in stamps if stamp[:_SECOND] >= self._second])

    @property
    def _in_second(self) -> int:
        return sum(len(stamps) for stamps in self._stamps)


def _is_stamped(line: bytes) -> bool:
    return _STAMP.match(line) is not None


def _follows(second: bytes, before: bytes) -> bool:
    """Whether one second follows another at once."""
    return bool(before) and parse_time(second.decode()) - parse_time(before.decode()) == timedelta(seconds=1)


def _nanoseconds(stamp: bytes) -> int:
    """Nanoseconds within the second."""
    return int(stamp[_NANOSECONDS])


def _earlier(stamp: bytes, nanoseconds: int) -> bytes:
    """The stamp so much earlier, but within its second: streams are opened from whole seconds."""
    fraction = max(0, _nanoseconds(stamp) - nanoseconds)
    return stamp[: _SECOND + 1] + b"%09d" % fraction + stamp[_NANOSECONDS.stop :]


def _text(given: Any) -> str:
    if not isinstance(given, str):
        raise TypeError("not a text")
    return given


def _count(given: Any) -> int:
    if type(given) is not int or given < 0:
        raise TypeError("not a count")
    return given


def _encoded(cut: tuple[str, int]) -> tuple[bytes, int]:
    stamp, size = cut
    return _in_utc(stamp.encode()), size


def _in_utc(stamp: bytes) -> bytes:
    """A time stamp in UTC, where stamps never go back; one of a node bears the node's zone."""
    if stamp.endswith(b"Z") or not _is_stamped(stamp):
        return stamp
    fraction = slice(_SECOND, _NANOSECONDS.stop)
    return _second_in_utc(stamp[:_SECOND] + stamp[_NANOSECONDS.stop :]) + stamp[fraction] + b"Z"


@lru_cache(maxsize=16)
def _second_in_utc(second: bytes) -> bytes:
    return parse_time(second.decode()).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()
