"""Our own lines in the stdout of a program that was sent through stdin.

The container's shell prints a line before the program begins, and a line with the exit code when
the program has ended. Only that line proves an exit code of 0: when the connection to the node
breaks, the API server reports success by itself.
"""

from __future__ import annotations

import re
from typing import NamedTuple

READY = b"airflow-script ready\n"
"""A terminal awaits the code."""
_MAX_START = 200
_MARK = b"\x1e"
"""Begins the last line: a byte that no terminal shows, and that no output has to be held back for
as often as for a digit."""
_LONGEST_CODE = len(b"255 TERM\r\n")


class RemoteProcess(NamedTuple):
    """A process in a container: the group that it leads, and its start in the kernel's ticks."""

    group: int
    started: int


class OwnLines:
    """Removes our own lines from stdout, and reads them. ``nonce`` marks them.

    ``is_ready`` says that a terminal awaits the code. ``is_announced`` says that the shell has
    read the code, and begins the program or says why not. ``process`` is the process that runs,
    None where it does not lead its group. ``failure`` is the step at which the start failed:
    ``working_dir``, ``folder`` or ``write``. While ``is_silent``, nothing has begun. ``exit_code``
    is the program's, None while the shell has not reported it. ``got_sigterm`` says that the shell
    got SIGTERM: where it was sent to all processes or to the group, it may have stopped the
    program.
    """

    def __init__(self, nonce: str) -> None:
        self.is_ready = False
        self.is_silent = True
        self.is_announced = False
        self.process: RemoteProcess | None = None
        self.failure: str | None = None
        self.exit_code: int | None = None
        self.got_sigterm = False
        self._first = nonce.encode() + b" "
        self._last = _MARK + nonce.encode() + b" ended "
        self._whole_last = re.compile(re.escape(self._last) + rb"(\d{1,3})( TERM)?\r?\n")
        self._waiting: bytes | None = b""
        self._held = b""

    @property
    def has_begun(self) -> bool:
        """Whether all further output is the program's, up to our last line."""
        return self._waiting is None

    def feed(self, data: bytes) -> bytes:
        """Take output; return the bytes of it that are the program's."""
        self.is_silent = False
        return self._without_last(data if self._waiting is None else self._without_first(self._waiting + data))

    def skip_first(self) -> None:
        """Expect no first line."""
        self._waiting = None

    def rest(self) -> bytes:
        """End the output; return what was held back for our lines."""
        rest, self._waiting = self._without_last(self._waiting or b""), None
        rest, self._held = rest + self._held, b""
        return rest

    def _without_first(self, waiting: bytes) -> bytes:
        if waiting.startswith(READY):
            self.is_ready = True
            waiting = waiting.removeprefix(READY)
        self._waiting = waiting
        line, end, rest = waiting.partition(b"\n")
        if not end and self._may_be_first(line):
            return b""
        self._waiting = None
        if not line.startswith(self._first):
            return waiting
        self._read(line.removeprefix(self._first).decode())
        return rest

    def _may_be_first(self, start: bytes) -> bool:
        begins = any(ours.startswith(start) for ours in (self._first, READY))
        return begins or (start.startswith(self._first) and len(start) < _MAX_START)

    def _read(self, line: str) -> None:
        self.is_announced = True
        kind, *words = line.split()
        if kind == "failed":
            self.failure = " ".join(words)
        elif len(words) == 2:
            self.process = RemoteProcess(int(words[0]), int(words[1]))

    def _without_last(self, data: bytes) -> bytes:
        """The data without our last line, which may follow a line without an end.

        The program's descendants may write before and after it.
        """
        data = self._held + data
        for found in self._whole_last.finditer(data):
            self.exit_code, self.got_sigterm = int(found[1]), found[2] is not None
        data = self._whole_last.sub(b"", data)
        mark = data.rfind(_MARK)
        cut = mark if mark >= 0 and self._may_be_last(data[mark:]) else len(data)
        self._held = data[cut:]
        return data[:cut]

    def _may_be_last(self, start: bytes) -> bool:
        code = start.removeprefix(self._last)
        return self._last.startswith(start) or (start != code and len(code) < _LONGEST_CODE)
