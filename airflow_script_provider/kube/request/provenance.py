"""What log, annotations and result tell of a script and its files: where they came from, their digest and size."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from airflow_script_provider.kube.labels import FILES_ANNOTATION
from airflow_script_provider.script import Script

MAX_FILES_ANNOTATION = 16 * 1024
"""Bytes of ours: Kubernetes gives all annotations of an object 256 KiB together, and most are the author's."""


def told(script: Script) -> str:
    """Origin, size and digest for the log, and what else the source says, such as the ETag."""
    details = f", {script.details}" if script.details else ""
    return f"{script.origin}, {script.size:,} bytes, sha256 {script.sha256}{details}"


def lines(script: Script, files: Mapping[str, Script]) -> list[str]:
    """The log's lines; those of the files are a folded group."""
    said = [f"Script: {told(script)}"]
    if not files:
        return said
    title = f"::group::Files: {len(files)}, {_size(files):,} bytes"
    return [*said, title, *(f"{path}: {told(file)}" for path, file in files.items()), "::endgroup::"]


def of_files(files: Mapping[str, Script]) -> dict[str, dict[str, Any]]:
    """The result's entry: path to digest, origin and size."""
    return {path: {"sha256": f.sha256, "origin": f.origin, "bytes": f.size} for path, f in files.items()}


def annotation(files: Mapping[str, Script]) -> dict[str, str]:
    """The annotation of the files, as JSON: each by path, or where that is too long all of them in one.

    The digest of all is that of the lines which ``sha256sum`` prints of the files, sorted by path.
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
