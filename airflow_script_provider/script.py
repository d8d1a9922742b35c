"""A script as it was read: its bytes, their origin and their name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

_BOM = "\ufeff"


@dataclass(frozen=True)
class ScriptFacts:
    """Facts of a script for log and result; ``size`` in bytes."""

    origin: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Script:
    """Text of a script.

    ``text`` is what the interpreter gets, line ends untouched. ``origin`` says where the script
    came from, fit for a log (``inline``, a path, a URL without credentials). ``name`` is the file
    name that it had there, ``script`` if none. ``details`` is more for the log, such as the ETag.
    """

    text: str
    origin: str = "inline"
    name: str = "script"
    details: str = ""

    @classmethod
    def from_bytes(cls, data: bytes, *, origin: str, name: str, details: str = "") -> Script:
        """Decode UTF-8, dropping a byte order mark.

        ``ValueError`` names the first byte that is not UTF-8.
        """
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{origin} is not UTF-8 text: byte {error.start} is 0x{data[error.start]:02x}") from None
        return cls(text.removeprefix(_BOM), origin=origin, name=name, details=details)

    @cached_property
    def data(self) -> bytes:
        """The text as UTF-8; ``ValueError`` where it holds half of a surrogate pair."""
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
        """The first line's ``#!`` command, None without one."""
        first = self.text.split("\n", 1)[0].strip()
        return first[2:].strip() if first.startswith("#!") else None
