"""The user's screen: the script's output, our notes, and a spinner before the first output."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from airflow_script_provider.cli import interruption, stdout
from airflow_script_provider.cli.arguments import PROGRAM
from airflow_script_provider.kube.wording import without_controls


class StreamScreen:
    """Writes output at once and unchanged to our own streams and to the log file.

    If one of them cannot be written, ``failure`` is the error, and the run is ended as by Ctrl+C.
    """

    def __init__(self, out: BinaryIO, err: BinaryIO, *, verbose: bool, log_file: BinaryIO | None) -> None:
        self.failure: OSError | None = None
        self._out = out
        self._err = err
        self._is_watched = verbose or sys.stderr.isatty()
        self._log = log_file
        self._spinner: Any = None

    def stdout(self, data: bytes) -> None:
        """Write the script's stdout."""
        self._write(self._out, data)

    def stderr(self, data: bytes) -> None:
        """Write the script's stderr."""
        self._write(self._err, data)

    def note(self, text: str, *, important: bool = False) -> None:
        """Write a line of our own to stderr."""
        if important or self._is_watched:
            self._write(self._err, f"{PROGRAM}: {without_controls(text)}\n".encode(errors="replace"))

    @contextlib.contextmanager
    def waiting(self, text: str | None) -> Iterator[None]:
        """Show a spinner with a text on a terminal until the first output; no text, no spinner."""
        self._spinner = _spinner(text) if text and sys.stderr.isatty() else None
        try:
            yield
        finally:
            self._stop_spinner()

    def _write(self, stream: BinaryIO, data: bytes) -> None:
        self._stop_spinner()
        for target in (self._log, stream):
            if target is not None:
                self._write_to(target, data)

    def _write_to(self, target: BinaryIO, data: bytes) -> None:
        try:
            stdout.write(target, data)
        except OSError as error:
            self.failure = error
            interruption.interrupt()

    def _stop_spinner(self) -> None:
        if self._spinner is not None:
            self._spinner.stop()
            self._spinner = None


@contextlib.contextmanager
def open_log_file(path: str | None) -> Iterator[BinaryIO | None]:
    """Open the log file, None without one; ``ValueError`` if it cannot be written."""
    if path is None:
        yield None
        return
    try:
        file = Path(path).open("wb")  # noqa: SIM115  # closed below, outside of this try
    except OSError as error:
        raise ValueError(f"--log-file {path} cannot be written: {error.strerror}") from None
    with file:
        yield file


def _spinner(text: str) -> Any:
    """A running spinner, None if rich is not installed."""
    try:
        from rich.console import Console
    except ImportError:
        return None
    status = Console(stderr=True).status(text)
    status.start()
    return status
