"""What is kept of a script's output: its tail, and the value that it printed as JSON."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from airflow_script_provider.kube.logs.value import MAX_VALUE, Value, clean_text, parse_json

DEFAULT_MAX_OUTPUT = 64 * 1024

_BLOCK = 64 * 1024


@dataclass(frozen=True)
class End:
    """The end of some lines.

    ``lacks_start`` says that there were others before, ``is_torn`` that the first line lacks its
    beginning.
    """

    text: str = ""
    lacks_start: bool = False
    is_torn: bool = False

    @classmethod
    def cut(cls, data: bytes) -> End:
        """The end of lines that are cut anywhere: in whole lines, where there is one."""
        is_torn = b"\n" not in data[:-1]
        text = data if is_torn else data.partition(b"\n")[2]
        return cls(text.decode("utf-8", "replace"), lacks_start=True, is_torn=is_torn)


class Tail:
    """The last ``max_bytes`` of lines, for the case that their log goes with its pod.

    ``size`` is the number of bytes of all lines. ``lacks_start`` says that there were others
    before, which another process has read, and ``is_torn`` that it has read a part of the first.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.size = 0
        self.lacks_start = False
        self.is_torn = False
        self._blocks: deque[bytes] = deque()
        self._kept = 0

    def restart(self) -> None:
        """Forget all lines: they were not the script's."""
        self._blocks.clear()
        self.size = self._kept = 0

    def add(self, lines: Iterable[bytes]) -> None:
        """Append lines with their line ends."""
        block = b"".join(lines)
        self._blocks.append(block)
        self.size += len(block)
        self._kept += len(block)
        while self._kept - len(self._blocks[0]) >= self.max_bytes and len(self._blocks) > 1:
            self._kept -= len(self._blocks.popleft())

    def text(self, max_bytes: int | None = None) -> str:
        """That of ``end``."""
        return self.end(max_bytes).text

    def end(self, max_bytes: int | None = None) -> End:
        """In whole lines, where more than one fits; at most ``max_bytes``."""
        most = self.max_bytes if max_bytes is None else min(max_bytes, self.max_bytes)
        data = b"".join(self._blocks)
        if self.size > most:
            return End.cut(data[-most:] if most else b"")
        return End(data.decode("utf-8", "replace"), self.lacks_start, self.is_torn)


class Output:
    """Collects lines in bounded memory: the last ``max_bytes``, and what may hold a value.

    ``no_value_because`` is a clause that says why what looks like a value may not be the script's.
    ``lacks_start`` says that there were other lines before those that were added, and ``is_torn``
    that the first of those lacks its beginning.
    """

    def __init__(self, max_bytes: int = DEFAULT_MAX_OUTPUT) -> None:
        self.max_bytes = max_bytes
        self.size = 0
        self._keep = max(max_bytes, MAX_VALUE)
        self._blocks: deque[bytes] = deque()
        self._kept = 0
        self._older_document: Value | None = None
        self._found: Value | None = None
        self._torn_start = b""
        self._torn_size = 0
        self._start = b""
        self.lacks_start = False
        self.is_torn = False
        self.no_value_because = ""

    def restart(self) -> None:
        """Forget all lines: they were not the script's."""
        self._blocks.clear()
        self.size = self._kept = 0
        self._older_document, self._torn_start, self._torn_size = None, b"", 0
        self._start, self._found = b"", None

    def add(self, lines: Iterable[bytes]) -> None:
        """Append lines with their line ends; one without is continued by the next."""
        block = b"".join(lines)
        self._found = None
        self._start = self._start or block.lstrip()[:1]
        self.size += len(block)
        self._kept += len(block)
        # Blocks of some size: a short line by itself costs several times its bytes.
        if self._blocks and len(self._blocks[-1]) + len(block) <= _BLOCK:
            self._blocks[-1] += block
        else:
            self._blocks.append(block)
        while self._kept - len(self._blocks[0]) >= self._keep:
            for piece in _pieces(self._blocks.popleft()):
                self._evict(piece)

    def add_end(self, text: str, size: int, *, is_torn: bool = False) -> None:
        """Append the end of ``size`` bytes that can no longer be read.

        ``is_torn`` says that its first line lacks its beginning.
        """
        self.add([text.encode("utf-8", "replace")])
        kept = len(text.encode("utf-8", "replace"))
        self.is_torn = is_torn
        # A byte that is not valid UTF-8 has become a character of three bytes.
        self.lacks_start = self.lacks_start or is_torn or size > kept - 2 * text.count("\ufffd")
        self.size += max(0, size - kept)

    def tail(self) -> str:
        """The last ``max_bytes`` as text, in whole lines where more than one fits.

        Bytes that are not valid UTF-8 are replaced.
        """
        data = b"".join(self._blocks)[-self.max_bytes :] if self.max_bytes else b""
        is_cut = self._kept > self.max_bytes or (self.size > self.max_bytes and not self.lacks_start)
        if is_cut and b"\n" in data[:-1]:
            data = data.partition(b"\n")[2]
        return clean_text(data.decode("utf-8", "replace"))

    @property
    def truncated(self) -> bool:
        """Whether ``tail`` is less than everything."""
        return self.lacks_start or self.size > self.max_bytes

    def last_lines(self, count: int) -> list[str]:
        """The last lines that are not blank, as text."""
        lines = b"".join(self._blocks).split(b"\n")[-2 * count :]
        texts = [clean_text(line.decode("utf-8", "replace")).rstrip() for line in lines]
        return [text for text in texts if text][-count:]

    def value(self) -> Value:
        """The JSON that the script printed.

        The whole output if it is one document, else the last line that is an object or array, else
        the last line. What may be a part of a document that is not kept whole is no value, nor is
        the last line if there may have been an object before it. It is read once, because an event
        loop stands still meanwhile.
        """
        found = self._found = self._found or self._printed_value()
        if found.value is None or not self.no_value_because:
            return found
        return Value(None, (f"{self.no_value_because}, so the result has no value",))

    def _printed_value(self) -> Value:
        data, is_whole = b"".join(self._blocks), self.size <= MAX_VALUE and not self.lacks_start
        if is_whole and (whole := parse_json(data)):
            return whole
        first, *others = data.split(b"\n")
        last = next((line.strip() for line in (*reversed(others), first) if line.strip()), b"")
        if not is_whole and self._may_end_document(last):
            return Value() if self.lacks_start else _too_long(self.size)
        for line in reversed(others):
            if found := _document(line):
                return found
        if found := self._document_of_first(first):
            return found
        if self._older_document:
            return self._older_document
        return Value() if self.lacks_start else parse_json(last) or Value()

    def _may_end_document(self, last: bytes) -> bool:
        """Whether the last line may end a document of several lines, which is the whole output."""
        if not self.lacks_start:
            return self._start in (b"{", b"[") and not last.strip(b"]} \t\r")
        return last[-1:] in (b"}", b"]") and _document(last) is None

    def _document_of_first(self, first: bytes) -> Value | None:
        """The document that the first line is that is kept; none if it may be a part of one."""
        if self.is_torn:
            return None
        return self._torn_document(first) if self._torn_size else _document(first)

    def _evict(self, piece: bytes) -> None:
        """Forget a line, or a piece of one, but not the document that it was."""
        self._kept -= len(piece)
        if not piece.endswith(b"\n"):
            self._torn_start = self._torn_start or piece[:1]
            self._torn_size += len(piece)
            return
        document = self._torn_document(piece) if self._torn_size else _document(piece)
        self._older_document = document or self._older_document
        self._torn_start, self._torn_size = b"", 0

    def _torn_document(self, rest: bytes) -> Value | None:
        """What is left of a document whose start was dropped."""
        is_document = self._torn_start in (b"{", b"[") and rest.rstrip()[-1:] in (b"}", b"]")
        return _too_long(self._torn_size + len(rest.rstrip())) if is_document else None


def _pieces(block: bytes) -> list[bytes]:
    """The lines of a block with their line ends, and what follows the last one."""
    *lines, rest = block.split(b"\n")
    return [*(line + b"\n" for line in lines), *([rest] if rest else [])]


def _document(line: bytes) -> Value | None:
    """The object or array of a line, None if it is neither; its size only where it is too long."""
    text = line.strip()
    if text[:1] not in (b"{", b"[") or text[-1:] not in (b"}", b"]"):
        return None
    return parse_json(text) if len(text) <= MAX_VALUE else _too_long(len(text))


def _too_long(size: int) -> Value:
    words = f"value: the result has {size:,} bytes, more than the {MAX_VALUE:,} that are kept"
    return Value(None, (f"{words}; write it to storage and print where it is",))
