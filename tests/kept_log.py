"""The log of a run that a test looks at."""

from __future__ import annotations

import logging
from collections.abc import Sequence


class KeptLog:
    """All ``lines`` in their order, and of them the ``notes``, which are ours."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.notes: list[str] = []

    def note(self, text: str, level: int = logging.INFO) -> None:
        """Keep a line of ours."""
        self.lines.append(text)
        self.notes.append(text)

    def output(self, lines: Sequence[str]) -> None:
        """Keep lines of the script."""
        self.lines.extend(lines)
