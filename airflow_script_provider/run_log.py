"""Where the words of a run go: the operator's own lines and the script's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

OUTPUT_LOGGER = "airflow.task.script"
"""Name of the logger that scripts' lines go to."""


class RunLog(Protocol):
    """Two kinds of lines: notes of ours, and the script's lines as printed."""

    def note(self, text: str, level: int = logging.INFO) -> None:
        """A line of ours."""

    def output(self, lines: Sequence[str]) -> None:
        """Lines of the script."""


class StreamsLog(Protocol):
    """The same, where stdout and stderr are told apart: lines of the latter are warnings."""

    def note(self, text: str, level: int = logging.INFO) -> None:
        """A line of ours."""

    def output(self, lines: Sequence[str], level: int = logging.INFO) -> None:
        """Lines of the script."""


class Logger(Protocol):
    """What is used of a logger: the standard library's has it, and so has Airflow's."""

    def log(self, level: int, message: str, /, *args: Any) -> object:
        """Log at a level."""

    def info(self, message: str, /, *args: Any) -> object:
        """Log at INFO."""

    def warning(self, message: str, /, *args: Any) -> object:
        """Log at WARNING."""


@dataclass
class LoggerRunLog:
    """Notes into one logger, the script's lines into another; None drops them."""

    logger: Logger
    lines: Logger | None

    def note(self, text: str, level: int = logging.INFO) -> None:
        """A line of ours."""
        self.logger.log(level, "%s", text)

    def output(self, lines: Sequence[str], level: int = logging.INFO) -> None:
        """Lines of the script, those of stderr as warnings; a pod's log does not tell it from stdout."""
        if self.lines is not None:
            write = self.lines.info if level < logging.WARNING else self.lines.warning
            for line in lines:
                write(line)


@dataclass
class CountingRunLog(LoggerRunLog):
    """One that tells whether the script has printed: since somebody last cleared ``printed``, and ever."""

    has_printed: bool = False
    printed: asyncio.Event = field(default_factory=asyncio.Event)

    def output(self, lines: Sequence[str], level: int = logging.INFO) -> None:
        """Lines of the script."""
        super().output(lines, level)
        if lines:
            self.has_printed = True
            self.printed.set()
