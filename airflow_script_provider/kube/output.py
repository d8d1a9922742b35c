"""What is kept of a script's output: its tail, and the value that it printed as JSON."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

MAX_VALUE = 1024 * 1024
"""Bytes that a value's JSON may have."""
DEFAULT_MAX_OUTPUT = 64 * 1024

_REPLACEMENT = "\ufffd"


@dataclass(frozen=True)
class Value:
    """A value found in the output; ``warnings`` say what could not be kept of it."""

    value: Any = None
    warnings: tuple[str, ...] = ()


class Output:
    """Collects lines in bounded memory: the last ``max_bytes`` for ``tail``, and what ``value`` is sought in."""

    def __init__(self, max_bytes: int = DEFAULT_MAX_OUTPUT) -> None:
        self.max_bytes = max_bytes
        self.size = 0
        self._keep = max(max_bytes, MAX_VALUE)
        self._lines: deque[bytes] = deque()
        self._kept = 0
        self._older_document: Value | None = None
        self._too_long = 0

    def add(self, lines: Iterable[bytes], *, line_end: bytes = b"\n") -> None:
        """Append lines; ``line_end`` is empty for a last line without one."""
        for line in lines:
            entry = line + line_end
            self._lines.append(entry)
            self._kept += len(entry)
            self.size += len(entry)
        while self._kept - len(self._lines[0]) >= self._keep if self._lines else False:
            self._evict(self._lines.popleft())

    def tail(self) -> str:
        """The last ``max_bytes`` as text, in whole lines where more than one fits; bytes that are no text replaced."""
        data = b"".join(self._lines)[-self.max_bytes :] if self.max_bytes else b""
        if self.truncated and b"\n" in data[:-1]:
            data = data.partition(b"\n")[2]
        return clean_text(data.decode("utf-8", "replace"))

    @property
    def truncated(self) -> bool:
        """Whether ``tail`` is less than everything."""
        return self.size > self.max_bytes

    def last_lines(self, count: int) -> list[str]:
        """The last lines that are not blank, as text."""
        texts = [clean_text(line.decode("utf-8", "replace")).rstrip() for line in list(self._lines)[-2 * count :]]
        return [text for text in texts if text][-count:]

    def value(self) -> Value:
        """The JSON that the script printed.

        The whole output if it is one document, else the last line that is an object or array, else the last line.
        """
        if self.size <= MAX_VALUE and (whole := parse_json(b"".join(self._lines))):
            return whole
        for line in reversed(self._lines):
            if _looks_like_document(line) and (found := _parse_line(line)):
                return found
        if self._older_document:
            return self._older_document
        last = next((line for line in reversed(self._lines) if line.strip()), b"")
        return parse_json(last) or Value()

    def _evict(self, line: bytes) -> None:
        self._kept -= len(line)
        if _looks_like_document(line):
            self._older_document = _parse_line(line) or self._older_document


def parse_json(text: bytes) -> Value | None:
    """The JSON document in these bytes, None if they are none. NaN and Infinity become None, with a warning."""
    constants: list[str] = []
    try:
        parsed = json.loads(text, parse_constant=constants.append)
    except (ValueError, RecursionError):
        return None
    cleaned = _clean(parsed)
    warnings = [f"value: {name} is no JSON and became null" for name in dict.fromkeys(constants)]
    if cleaned != parsed:
        warnings.append("value: characters that no database can store were replaced")
    return Value(cleaned, tuple(warnings))


def clean_text(text: str) -> str:
    """Text that every database can store: no NUL, no half of a surrogate pair."""
    return text.replace("\0", _REPLACEMENT).encode("utf-8", "replace").decode("utf-8")


def _parse_line(line: bytes) -> Value | None:
    if len(line) > MAX_VALUE + 1:
        return Value(
            None, (f"value: the result has {len(line) - 1:,} bytes, more than the {MAX_VALUE:,} that are kept",)
        )
    return parse_json(line)


def _looks_like_document(line: bytes) -> bool:
    stripped = line.strip()
    return stripped[:1] in (b"{", b"[") and stripped[-1:] in (b"}", b"]")


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {clean_text(key): _clean(item) for key, item in value.items()}
    return value
