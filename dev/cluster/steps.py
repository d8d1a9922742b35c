"""Shows which step runs, how far it is and what comes next.

On a terminal, one line changes; in a log, there is a new line every 15 seconds.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import progress
from progress import Place, Step

TERMINAL_SECONDS = 0.5
LOG_SECONDS = 15.0
ERASE_LINE = "\r\x1b[K"

_printing = threading.Lock()


def say(text: str) -> None:
    """Print a line that stays, at once also into a pipe."""
    with _printing:
        print(f"{ERASE_LINE if _on_terminal() else ''}{text}", flush=True)


class Steps:
    """The planned steps of one run."""

    def __init__(self, plan: Sequence[Step], *, log_seconds: float = LOG_SECONDS) -> None:
        self._plan = plan
        self._log_seconds = log_seconds

    def announce(self, task: str) -> None:
        """Print what will be done, which part of it happens once, and how long that takes."""
        for line in progress.overview(task, self._plan):
            say(line)

    @contextmanager
    def doing(self, step: Step) -> Iterator[Callable[[str], None]]:
        """Show the step while the block runs; the block gets a function that sets the detail."""
        place = progress.place(self._plan, step)
        line = _Line(place, TERMINAL_SECONDS if _on_terminal() else self._log_seconds)
        try:
            yield line.set_detail
        except BaseException:
            say(progress.failed(place, line.stop(), line.detail))
            raise
        say(progress.finished(place, line.stop(), line.detail, name_next=not _on_terminal()))


class _Line:
    """The line of a running step, which a thread refreshes."""

    def __init__(self, place: Place, interval: float) -> None:
        self.detail = ""
        self._place = place
        self._interval = interval
        self._started = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._refresh, daemon=True)
        self._thread.start()

    def set_detail(self, detail: str) -> None:
        """Set what the next refresh shows."""
        self.detail = detail

    def stop(self) -> float:
        """End the refreshing and return the elapsed seconds."""
        self._stopped.set()
        self._thread.join()
        return time.monotonic() - self._started

    def _refresh(self) -> None:
        if _on_terminal():
            self._show()
        while not self._stopped.wait(self._interval):
            self._show()

    def _show(self) -> None:
        text = progress.running(self._place, time.monotonic() - self._started, self.detail)
        if not _on_terminal():
            say(text)
            return
        with _printing:
            print(ERASE_LINE + progress.fitted(text, shutil.get_terminal_size().columns), end="", flush=True)


def _on_terminal() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
