"""A script as it was read: its bytes, their origin and their name."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, replace
from functools import cached_property

_BOM = "\ufeff"
_BEFORE_SHEBANG = re.compile(r"[\s\ufeff]*(?=#!)")


@dataclass(frozen=True)
class ScriptFacts:
    """Facts of a script for log and result; ``size`` in bytes."""

    origin: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Script:
    """A script, or a file beside it.

    ``text`` is what the interpreter gets, line ends untouched. ``origin`` says where the script
    came from, fit for a log (``inline``, a path, a URL without credentials). ``name`` is the file
    name that it had there, ``script`` if none. ``details`` is more for the log, such as the ETag.
    ``raw`` has the bytes if they are not UTF-8; ``text`` then has a character for each byte.
    """

    text: str
    origin: str = "inline"
    name: str = "script"
    details: str = ""
    raw: bytes | None = None

    @classmethod
    def from_bytes(cls, data: bytes, *, origin: str, name: str, details: str = "") -> Script:
        """Decode UTF-8, dropping a byte order mark. Other bytes are kept as they are."""
        try:
            text, raw = data.decode("utf-8").removeprefix(_BOM), None
        except UnicodeDecodeError:
            text, raw = data.decode("latin-1"), data
        return cls(text, origin=origin, name=name, details=details, raw=raw)

    @cached_property
    def data(self) -> bytes:
        """The script's bytes; ``ValueError`` where the text has half of a surrogate pair."""
        if self.raw is not None:
            return self.raw
        try:
            return self.text.encode("utf-8")
        except UnicodeEncodeError as error:
            why = f"no text that UTF-8 can spell ({self.origin}): character {error.start} is a surrogate"
            raise ValueError(f"script is {why}") from None

    @property
    def size(self) -> int:
        """Size in bytes."""
        return len(self.data)

    @cached_property
    def sha256(self) -> str:
        """Hexadecimal digest of the bytes."""
        return hashlib.sha256(self.data).hexdigest()

    def is_pinned_by(self, sha256: str) -> bool:
        """Whether this is the digest of the text, or of the text behind a byte order mark.

        Reading drops the mark; ``sha256sum`` of the file that was read counts it.
        """
        with_mark = hashlib.sha256(_BOM.encode() + self.data).hexdigest()
        return sha256.strip().lower() in (self.sha256, with_mark)

    @property
    def facts(self) -> ScriptFacts:
        """The script's facts."""
        return ScriptFacts(self.origin, self.sha256, self.size)

    @property
    def shebang(self) -> str | None:
        """The ``#!`` command of the first line that is not blank, None without one."""
        before = _BEFORE_SHEBANG.match(self.text)
        return self.text[before.end() + 2 :].split("\n", 1)[0].strip() if before else None

    def as_run(self) -> Script:
        """The script without a byte order mark, with the ``#!`` line first, where programs look.

        Blank lines before it come after it, so that all other lines keep their numbers. If the
        ``#!`` is indented, as in a triple-quoted string, the indentation of all lines is removed.
        """
        text = _shebang_first(self.text.removeprefix(_BOM))
        if text == self.text:
            return self
        return replace(self, text=text, raw=None if self.raw is None else text.encode("latin-1"))


def _shebang_first(text: str) -> str:
    before = _BEFORE_SHEBANG.match(text)
    if not before or not before.group():
        return text
    start = before.group().rfind("\n") + 1
    shebang, *lines = _without_indentation(text[start:].split("\n"))
    return shebang[shebang.index("#!") :] + "\n" * (1 + before.group().count("\n")) + "\n".join(lines)


def _without_indentation(lines: list[str]) -> list[str]:
    """The lines without the indentation that all of them have."""
    indentations = [line[: len(line) - len(line.lstrip(" \t"))] for line in lines if line.strip()]
    common = os.path.commonprefix(indentations)  # noqa: RUF071  # of characters, as is wanted here
    return [line.removeprefix(common) for line in lines]
