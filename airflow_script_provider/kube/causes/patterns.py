"""Patterns that only some runs need: of failures, and of what their messages must not show."""

from __future__ import annotations

import re
from typing import Any, cast


class _CompiledLater:
    """Passes on what is asked of the pattern, which it then compiles."""

    def __init__(self, text: str, flags: int) -> None:
        self._text = text
        self._flags = flags

    def __getattr__(self, name: str) -> Any:
        found = getattr(re.compile(self._text, self._flags), name)
        setattr(self, name, found)
        return found


def compiled_later(text: str, flags: int = 0) -> re.Pattern[str]:
    """A pattern that is compiled when it is first used.

    A failure is looked for in a hundred patterns. A task that starts a process of its own and
    succeeds would compile them in 35 ms for nothing.
    """
    return cast("re.Pattern[str]", _CompiledLater(text, flags))
