"""What is meant by a script that was named: a file, a URI, or text.

Files and text are read without importing Airflow; the other sources need its hooks.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_script_provider.kube.request.interpreters import has_known_extension
from airflow_script_provider.sources.base import ScriptSource
from airflow_script_provider.sources.file import SCHEME as FILE_SCHEME
from airflow_script_provider.sources.file import FileScript
from airflow_script_provider.sources.inline import InlineScript
from airflow_script_provider.spec.source import SourceSettings, source_settings

_URI = re.compile(r"[a-z][a-z0-9+.-]*://[^\n]*", re.IGNORECASE)
_BY_CONNECTION = ("s3", "gs")


def source_of_argument(text: str, conn_id: str | None) -> ScriptSource:
    """What a word of the command line names; ``ValueError`` if it is nothing."""
    if text == "-":
        return InlineScript(sys.stdin.read())
    if _URI.fullmatch(text.strip()):
        return _source_of_uri(text.strip(), conn_id)
    if conn_id:
        raise ValueError("--script-conn-id belongs to http(s)://, s3:// and gs:// URIs")
    if not _is_text(text) and Path(text).is_file():
        return FileScript(text)
    if len(text.split()) > 1:
        return InlineScript(text)
    raise ValueError(f"there is no file {text!r}, no task of that name, and it is no URI")


def source_of_task(script: Any, folder: Path, conn_id: str | None) -> tuple[ScriptSource, bool]:
    """What a task's ``script`` names, and whether it is the text of a command: files start from the file's folder."""
    if isinstance(script, Mapping):
        return source_of_step(source_settings(script)), False
    if not isinstance(script, str):
        raise ValueError(f"script must be text, a path, a URI or a mapping, not {type(script).__name__}")
    text = script.strip()
    if _URI.fullmatch(text):
        return _source_of_uri(text, conn_id), False
    if not _is_text(text) and (has_known_extension(text) or (folder / text).is_file()):
        return FileScript(text), False
    return InlineScript(script), not text.startswith("#!")


def source_of_file(file: Any, folder: Path, path: str) -> ScriptSource:
    """What one of a task's ``files`` names: as a script, but an empty text is a file too (``__init__.py``)."""
    if isinstance(file, str) and not file.strip():
        return InlineScript(file)
    try:
        return source_of_task(file, folder, None)[0]
    except ValueError as error:
        raise ValueError(f"files[{path!r}]: {error}") from None


def source_of_step(settings: SourceSettings) -> ScriptSource:
    """What a step's ``script`` names."""
    if settings.kind == "inline":
        return InlineScript(settings.arguments["text"])
    if settings.kind == "file":
        return FileScript(**settings.arguments)
    from airflow_script_provider.sources.parse import source_of

    return source_of(settings)


def _is_text(text: str) -> bool:
    """Whether it cannot be a path."""
    return "\n" in text or "\0" in text or len(text) > 4096


def _source_of_uri(uri: str, conn_id: str | None) -> ScriptSource:
    """Without a connection's name, buckets are read with the cloud's own environment: no database is asked."""
    if uri.lower().startswith(FILE_SCHEME):
        if conn_id:
            raise ValueError("--script-conn-id has no use: a file:// script needs none")
        return FileScript(uri)
    from airflow_script_provider.sources.parse import parse

    source = parse(uri, conn_id=conn_id)
    if conn_id is None and uri.lower().split("://", 1)[0] in _BY_CONNECTION:
        source.conn_id = None  # type: ignore[attr-defined]  # both have it
    return source
