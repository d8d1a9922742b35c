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


class Logger(Protocol):
    """What is used of a logger: the standard library's has it, and so has Airflow's."""

    def log(self, level: int, message: str, /, *args: Any) -> object:
        """Log at a level."""

    def info(self, message: str, /, *args: Any) -> object:
        """Log at INFO."""


@dataclass
class LoggerRunLog:
    """Notes into one logger, the script's lines into another; None drops them."""

    logger: Logger
    lines: Logger | None

    def note(self, text: str, level: int = logging.INFO) -> None:
        """A line of ours."""
        self.logger.log(level, "%s", text)

    def output(self, lines: Sequence[str]) -> None:
        """Lines of the script, at INFO: a pod's log does not tell stdout from stderr."""
        if self.lines is not None:
            info = self.lines.info
            for line in lines:
                info(line)


@dataclass
class CountingRunLog(LoggerRunLog):
    """One that tells whether the script has printed: since somebody last cleared ``printed``, and ever."""

    has_printed: bool = False
    printed: asyncio.Event = field(default_factory=asyncio.Event)

    def output(self, lines: Sequence[str]) -> None:
        """Lines of the script."""
        super().output(lines)
        if lines:
            self.has_printed = True
            self.printed.set()
