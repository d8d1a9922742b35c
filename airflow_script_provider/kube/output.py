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
        self._line_size = 0
        self._line_opens_document = False
        self._evicted_line_end = True

    def add(self, lines: Iterable[bytes]) -> None:
        """Append lines with their line ends; one without is continued by the next."""
        for line in lines:
            self._lines.append(line)
            self._kept += len(line)
            self.size += len(line)
            self._measure(line)
        while self._lines and self._kept - len(self._lines[0]) >= self._keep:
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
        lines = b"".join(self._lines).split(b"\n")
        for line in reversed(lines):
            if len(line) <= MAX_VALUE and _looks_like_document(line) and (found := parse_json(line)):
                return found
        if self._older_document:
            return self._older_document
        last = next((line for line in reversed(lines) if line.strip()), b"")
        return parse_json(last) or Value()

    def _measure(self, line: bytes) -> None:
        """Notice a document that is too long to be kept: the value is then its size, said in a warning."""
        if self._line_size == 0:
            self._line_opens_document = line[:1] in (b"{", b"[")
        self._line_size += len(line)
        if line.endswith(b"\n"):
            size, self._line_size = self._line_size - 1, 0
            if size > MAX_VALUE and self._line_opens_document:
                warning = f"value: the result has {size:,} bytes, more than the {MAX_VALUE:,} that are kept"
                self._older_document = Value(None, (f"{warning}; write it to storage and print where it is",))

    def _evict(self, line: bytes) -> None:
        self._kept -= len(line)
        is_whole = self._evicted_line_end and line.endswith(b"\n")
        self._evicted_line_end = line.endswith(b"\n")
        if is_whole and _looks_like_document(line):
            self._older_document = parse_json(line) or self._older_document


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
