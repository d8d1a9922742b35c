"""Where the lines of a run go: our own lines and the script's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

OUTPUT_LOGGER = "airflow.task.script"
"""Name of the logger that scripts' lines go to."""


class RunLog(Protocol):
    """Two kinds of lines: our notes, and the script's lines as printed."""

    def note(self, text: str, level: int = logging.INFO) -> None:
        """A line of ours."""

    def output(self, lines: Sequence[str]) -> None:
        """Lines of the script."""


class StreamsLog(Protocol):
    """The same for separate streams: lines of stderr are warnings."""

    def note(self, text: str, level: int = logging.INFO) -> None:
        """A line of ours."""

    def output(self, lines: Sequence[str], level: int = logging.INFO) -> None:
        """Lines of the script."""


class Logger(Protocol):
    """The methods of a logger that are used.

    Loggers of the standard library and of Airflow have them.
    """

    def log(self, level: int, message: str, /, *args: Any) -> object:
        """Log at a level."""

    def info(self, message: str, /, *args: Any) -> object:
        """Log at INFO."""

    def warning(self, message: str, /, *args: Any) -> object:
        """Log at WARNING."""


class Lines(Protocol):
    """Where a script's lines are written to."""

    def write(self, lines: Sequence[str], level: int, /) -> object:
        """Write them in this order."""


@dataclass
class LoggerRunLog:
    """Writes notes to a logger and the script's lines elsewhere; None drops the lines."""

    logger: Logger
    lines: Lines | None

    def note(self, text: str, level: int = logging.INFO) -> None:
        """A line of ours."""
        self.logger.log(level, "%s", text)

    def output(self, lines: Sequence[str], level: int = logging.INFO) -> None:
        """Lines of the script, those of stderr as warnings.

        A pod's log does not separate the streams.
        """
        if self.lines is not None:
            self.lines.write(lines, level)


@dataclass
class LinesOnly:
    """Passes the script's lines on to another log, and drops our own."""

    log: RunLog

    def note(self, text: str, level: int = logging.INFO) -> None:
        """A line of ours."""

    def output(self, lines: Sequence[str]) -> None:
        """Lines of the script."""
        self.log.output(lines)


class NoRunLog:
    """Drops all lines."""

    def note(self, text: str, level: int = logging.INFO) -> None:
        """A line of ours."""

    def output(self, lines: Sequence[str]) -> None:
        """Lines of the script."""


@dataclass
class CountingRunLog(LoggerRunLog):
    """A run log that knows whether the script printed: ever, and since ``printed`` was cleared."""

    has_printed: bool = False
    printed: asyncio.Event = field(default_factory=asyncio.Event)

    def output(self, lines: Sequence[str], level: int = logging.INFO) -> None:
        """Lines of the script."""
        super().output(lines, level)
        if lines:
            self.has_printed = True
            self.printed.set()
