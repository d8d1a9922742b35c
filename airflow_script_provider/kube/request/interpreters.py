"""The choice of the program that runs a script.

The first of these decides: ``interpreter``, the shebang, the extension, the image. The default is
Python.
"""

from __future__ import annotations

import io
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from airflow_script_provider.kube.request.sizes import is_archive
from airflow_script_provider.script import Script

PYTHON = ("python3", "-u")

_BY_EXTENSION = {
    ".py": PYTHON,
    ".pyz": PYTHON,
    ".js": ("node",),
    ".mjs": ("node",),
    ".cjs": ("node",),
    ".sh": ("sh",),
    ".bash": ("bash",),
    ".pl": ("perl",),
    ".rb": ("ruby",),
    ".sql": ("psql", "-v", "ON_ERROR_STOP=1", "--single-transaction", "-f"),
}
_EXTENSION_OF = {
    "python": ".py", "node": ".js", "sh": ".sh", "dash": ".sh", "ash": ".sh", "bash": ".sh",
    "perl": ".pl", "ruby": ".rb", "psql": ".sql",
}  # fmt: skip
_BY_IMAGE = {
    "python": PYTHON,
    "bash": ("bash",),
    "node": ("node",),
    "postgres": _BY_EXTENSION[".sql"],
    "perl": ("perl",),
    "ruby": ("ruby",),
}


@dataclass(frozen=True)
class Interpreter:
    """The argv before the script's path, and what decided the choice."""

    argv: tuple[str, ...]
    chosen_by: str

    @property
    def program(self) -> str:
        """The program's base name without version: ``python`` for ``/usr/bin/python3.11``."""
        words = [word for word in self.argv if not word.startswith("-") and "=" not in word]
        names = [PurePosixPath(word).name for word in words] or [""]
        name = names[1] if names[0] == "env" and len(names) > 1 else names[0]
        return name.rstrip("0123456789.")

    def script_file(self, script: Script) -> str:
        """The file name of the mounted script: ``script`` with the extension of its language."""
        own = PurePosixPath(script.name).suffix
        extension = own if own in _BY_EXTENSION else _EXTENSION_OF.get(self.program, "")
        return f"script{extension}"

    def check_encoding(self, script: Script) -> None:
        """Refuse a script that is not UTF-8 and would be a SyntaxError of Python."""
        if script.raw is None or self.program != "python" or is_archive(script):
            return
        try:
            script.raw.decode(_python_encoding(script.raw))
        except (UnicodeError, LookupError):
            place = _first_byte_of_no_utf_8(script.raw)
            raise ValueError(
                f"script is not UTF-8 text ({script.origin}): byte {place} is 0x{script.raw[place]:02x}; "
                "save it as UTF-8, or write its encoding into the first or second line: # -*- coding: latin-1 -*-"
            ) from None


def choose(script: Script, image: str, explicit: Sequence[str] | None = None) -> Interpreter:
    """Choose the interpreter by the first of explicit, shebang, extension and image."""
    if explicit:
        return Interpreter(tuple(explicit), "interpreter")
    if script.shebang:
        return Interpreter(_from_shebang(script.shebang), "shebang")
    suffix = PurePosixPath(script.name).suffix
    if suffix in _BY_EXTENSION:
        return Interpreter(_BY_EXTENSION[suffix], f"extension {suffix}")
    by_image = _BY_IMAGE.get(_repository(image))
    return Interpreter(by_image, "image") if by_image else Interpreter(PYTHON, "default")


def has_known_extension(text: str) -> bool:
    """Whether the text ends in an extension that names a language."""
    return PurePosixPath(text).suffix in _BY_EXTENSION


def _from_shebang(shebang: str) -> tuple[str, ...]:
    """Split a shebang into its argv.

    Linux passes everything after the program as one word. ``env -S`` splits it, and authors expect
    that also of other shebangs.
    """
    words = tuple(shebang.split())
    if PurePosixPath(words[0]).name == "env":
        rest = words[2:] if words[1:2] == ("-S",) else words[1:]
        is_program = bool(rest) and not rest[0].startswith("-") and "=" not in rest[0]
        words = rest if is_program else (words[0], *rest)
    is_bare_python = len(words) == 1 and PurePosixPath(words[0]).name.startswith("python")
    return (*words, "-u") if is_bare_python else words


def _python_encoding(data: bytes) -> str:
    """The encoding that Python reads the script with."""
    try:
        return tokenize.detect_encoding(io.BytesIO(data).readline)[0]
    except SyntaxError:  # an unknown encoding, or none and another than UTF-8
        return "utf-8"


def _first_byte_of_no_utf_8(data: bytes) -> int:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return 0


def _repository(image: str) -> str:
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]
