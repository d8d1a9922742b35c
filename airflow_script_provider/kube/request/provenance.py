"""Origin, size and digest of a script and its files, for the log, annotations and the result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from airflow_script_provider.kube.labels import FILES_ANNOTATION
from airflow_script_provider.script import Script

MAX_FILES_ANNOTATION = 16 * 1024
"""Bytes of the annotation.

Kubernetes allows 256 KiB for all annotations of an object. Most of that is left to the author.
"""


def description(script: Script) -> str:
    """Origin, size and digest, and details of the source such as the ETag."""
    details = f", {script.details}" if script.details else ""
    return f"{script.origin}, {script.size:,} bytes, sha256 {script.sha256}{details}"


def lines(script: Script, files: Mapping[str, Script]) -> list[str]:
    """The lines of the log. Those of the files are a folded group."""
    first = f"Script: {description(script)}"
    if not files:
        return [first]
    title = f"::group::Files: {len(files)}, {_size(files):,} bytes"
    return [first, title, *(f"{path}: {description(file)}" for path, file in files.items()), "::endgroup::"]


def of_files(files: Mapping[str, Script]) -> dict[str, dict[str, Any]]:
    """The entry of the files in the result: path to digest, origin and size."""
    return {path: {"sha256": f.sha256, "origin": f.origin, "bytes": f.size} for path, f in files.items()}


def annotation(files: Mapping[str, Script]) -> dict[str, str]:
    """The annotation of the files, as JSON.

    It has an entry for each path. If that is too long, it has one entry for all files together.
    The digest is then that of the lines which ``sha256sum`` prints for the files, sorted by path.
    """
    if not files:
        return {}
    text = _json(of_files(files))
    if len(text.encode()) > MAX_FILES_ANNOTATION:
        text = _json({"count": len(files), "bytes": _size(files), "sha256": _digest(files)})
    return {FILES_ANNOTATION: text}


def _digest(files: Mapping[str, Script]) -> str:
    sums = [f"{files[path].sha256}  {path}\n" for path in sorted(files)]
    return hashlib.sha256("".join(sums).encode()).hexdigest()


def _size(files: Mapping[str, Script]) -> int:
    return sum(file.size for file in files.values())


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
