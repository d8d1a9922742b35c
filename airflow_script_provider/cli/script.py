"""The source of a script that the user named: a file, a URI, or text.

Files and text are read without importing Airflow. The other sources need Airflow's hooks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_script_provider.kube.request.interpreters import has_known_extension
from airflow_script_provider.runners import terminal
from airflow_script_provider.script import Script
from airflow_script_provider.sources.base import ScriptSource
from airflow_script_provider.sources.file import SCHEME as FILE_SCHEME
from airflow_script_provider.sources.file import FileScript
from airflow_script_provider.sources.inline import InlineScript
from airflow_script_provider.spec.source import SourceSettings, source_settings

_URI = re.compile(r"[a-z][a-z0-9+.-]*://[^\n]*", re.IGNORECASE)
_BUCKET_SCHEMES = ("s3", "gs")


@dataclass(frozen=True)
class GivenScript:
    """A script whose bytes the user gives: they need not be UTF-8, and keep their line ends."""

    data: bytes
    template_fields: Sequence[str] = ()

    def fetch(self, *, folder: str | None = None) -> Script:
        """The bytes as a script."""
        return Script.from_bytes(self.data, origin="inline", name="script")

    def __str__(self) -> str:
        return f"inline script, {len(self.data):,} bytes"


def source_of_argument(text: str, conn_id: str | None) -> ScriptSource:
    """The source that an argument of the command line names; ``ValueError`` if it names none."""
    if text == "-":
        return GivenScript(b"".join(iter(terminal.read_piece, b"")))
    if _URI.fullmatch(text.strip()):
        return _source_of_uri(text.strip(), conn_id)
    if conn_id:
        raise ValueError("--script-conn-id is only for http(s)://, s3:// and gs:// URIs")
    if not _is_text(text) and Path(text).is_file():
        return FileScript(text)
    if len(text.split()) > 1:
        return GivenScript(text.encode(errors="surrogateescape"))  # the bytes of the command line
    raise ValueError(f"SCRIPT {text!r} is neither a file, a task nor a URI")


def source_of_task(script: Any, folder: Path, conn_id: str | None) -> tuple[ScriptSource, bool]:
    """The source that a task's ``script`` names, and whether it is the text of a shell command.

    Relative paths start from ``folder``, which holds the task file.
    """
    if isinstance(script, Mapping):
        return source_of_step(source_settings(script)), False
    if not isinstance(script, str):
        raise ValueError(f"script must be text, a path, a URI or a mapping, not {type(script).__name__}")
    text = script.strip()
    if _URI.fullmatch(text):
        return _source_of_uri(text, conn_id), False
    if not _is_text(text) and (has_known_extension(text) or (folder / text).is_file()):
        return FileScript(text), False
    return InlineScript(script), Script(script).shebang is None


def source_of_file(file: Any, folder: Path, path: str) -> ScriptSource:
    """The source of one of a task's ``files``.

    Unlike a script, a file may be empty (``__init__.py``).
    """
    if isinstance(file, str) and not file.strip():
        return InlineScript(file)
    try:
        return source_of_task(file, folder, None)[0]
    except ValueError as error:
        raise ValueError(f"files[{path!r}]: {error}") from None


def source_of_step(settings: SourceSettings) -> ScriptSource:
    """The source that a step's ``script`` describes."""
    if settings.kind == "inline":
        return InlineScript(settings.arguments["text"])
    if settings.kind == "file":
        return FileScript(**settings.arguments)
    from airflow_script_provider.sources.parse import source_of

    return source_of(settings)


def _is_text(text: str) -> bool:
    """Whether the text cannot be a path."""
    return "\n" in text or "\0" in text or len(text) > 4096


def _source_of_uri(uri: str, conn_id: str | None) -> ScriptSource:
    """The source of a URI.

    Without a connection's name, a bucket is read with the cloud's own environment, and Airflow's
    database is not asked.
    """
    if uri.lower().startswith(FILE_SCHEME):
        if conn_id:
            raise ValueError("--script-conn-id has no effect on a file:// script; leave it out")
        return FileScript(uri)
    from airflow_script_provider.sources.parse import parse

    source = parse(uri, conn_id=conn_id)
    if conn_id is None and uri.lower().split("://", 1)[0] in _BUCKET_SCHEMES:
        source.conn_id = None  # type: ignore[attr-defined]  # both have it
    return source
