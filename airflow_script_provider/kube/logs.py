"""A pod's log as complete lines, each exactly once however often the stream is opened again.

The API's ``sinceTime`` counts in whole seconds (the nanoseconds are dropped), so a stream that is opened again starts
with lines that were seen already. They are told by the time stamps that ``timestamps=true`` puts before every line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime

MAX_LINE = 1024 * 1024
"""Bytes after which a line is delivered in pieces, so that output without line ends needs no unbounded memory."""

_SECOND = len("2026-01-01T00:00:00")


class LogLines:
    """Cuts the bytes of one container's log into lines and drops what was delivered before.

    ``feed`` takes what the stream brings; ``resume`` is called before the stream is opened again, ``finish`` when the
    container has ended and everything was read.
    """

    def __init__(self) -> None:
        self._partial: list[bytes] = []
        self._partial_size = 0
        self._stamps: list[list[bytes]] = []
        self._second = b""
        self._newest = b""
        self._replayed: Counter[bytes] = Counter()
        self._cut_stamp = b""
        self._cut_size = 0
        self._to_skip = 0

    @property
    def in_last_second(self) -> int:
        """How many lines were delivered that bear the newest second."""
        return sum(len(stamps) for stamps in self._stamps)

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
        """The ``sinceTime`` to open the stream with again, None for its start. What was incomplete comes again."""
        self._partial, self._partial_size = [], 0
        self._to_skip, self._cut_size = self._to_skip + self._cut_size, 0
        self._replayed = Counter(stamp for stamps in self._stamps for stamp in stamps)
        # Stamps bear the zone of the pod's node.
        newest = datetime.fromisoformat(self._newest.decode()).astimezone(UTC) if self._newest else None
        return newest.strftime("%Y-%m-%dT%H:%M:%SZ") if newest else None

    def finish(self) -> list[bytes]:
        """The last line, if it has no line end; a stamp without text is none."""
        last, self._partial, self._partial_size = b"".join(self._partial), [], 0
        return [text for text in self._deliver([last]) if text] if last else []

    def _keep_partial(self, tail: bytes) -> list[bytes]:
        self._partial.append(tail)
        self._partial_size += len(tail)
        if self._partial_size < MAX_LINE:
            return []
        return self._deliver_piece(b"".join(self._partial))

    def _deliver_piece(self, start: bytes) -> list[bytes]:
        """A piece of an over-long line; its time stamp stays in front of what follows of the line."""
        stamp, _, text = start.partition(b" ")
        self._partial, self._partial_size = [stamp + b" "], len(stamp) + 1
        if self._replayed[stamp]:
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

    def _deliver(self, raw: Iterable[bytes]) -> list[bytes]:
        stamps, texts = [], []
        for line in raw:
            stamp, _, text = line.partition(b" ")
            if stamp[4:11:6] != b"-T":  # not the container's, but kubelet's own "unable to retrieve container logs …"
                stamp, text = b"", line
            stamps.append(stamp)
            texts.append(text)
        if self._cut_stamp:
            texts = [self._without_delivered(stamp, text) for stamp, text in zip(stamps, texts, strict=True)]
            self._cut_stamp, self._cut_size = (b"", 0) if not self._to_skip else (self._cut_stamp, self._cut_size)
        if self._replayed:
            stamps, texts = self._not_replayed(stamps, texts)
        self._remember(stamps)
        return texts

    def _not_replayed(self, stamps: list[bytes], texts: list[bytes]) -> tuple[list[bytes], list[bytes]]:
        fresh = []
        for index, stamp in enumerate(stamps):
            if self._replayed[stamp] > 0:
                self._replayed[stamp] -= 1
            else:
                fresh.append(index)
        if stamps and stamps[-1][:_SECOND] > self._second:
            self._replayed = Counter()
        return [stamps[i] for i in fresh], [texts[i] for i in fresh]

    def _remember(self, stamps: list[bytes]) -> None:
        """Keep the time stamps that opening the stream again would bring once more: those of the last second."""
        if not stamps:
            return
        newest = max(stamps[0], stamps[-1])
        if newest[:_SECOND] > self._second:
            self._second, self._newest = newest[:_SECOND], newest
            self._stamps = []
        self._stamps.append([stamp for stamp in stamps if stamp[:_SECOND] >= self._second])
