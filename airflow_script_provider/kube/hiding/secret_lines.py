"""The lines of a secret, such as a private key: a log shows it line by line, never as a whole."""

from __future__ import annotations

import re

MIN_LINE = 8
"""Characters from which a line of a secret is one itself: shorter ones are in any text."""
MOST_LINES = 64
"""Lines of a secret that are masked: a key of 4096 bits has 52.

Each of them slows every line of the log down a little.
"""

# JSON and the values of environments also write a line end as a backslash and an n.
_LINE_END = re.compile(r"[\r\n]+|(?:\\r)?\\n")
_FRAME = re.compile(r"-----(BEGIN|END) .*|[\W_]*")
"""What begins and ends a key, and lines without a letter."""


def secret_lines(value: str) -> list[str]:
    """The first lines of a value of several lines that are secret; none of a value of one line."""
    lines = [line.strip() for line in _LINE_END.split(value)]
    if len(lines) == 1:
        return []
    secret = (line for line in lines if len(line) >= MIN_LINE and not _FRAME.fullmatch(line))
    return list(dict.fromkeys(secret))[:MOST_LINES]
