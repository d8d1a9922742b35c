"""Checks of script and files: what a ConfigMap and the API server accept."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

from airflow_script_provider.kube import syntax
from airflow_script_provider.script import Script

MAX_CONFIG_MAP = 1024 * 1024
"""Bytes that a ConfigMap may hold: the script and its files together."""
MAX_BODY = 3 * 1024 * 1024 - 64 * 1024
"""Bytes of the texts as JSON.

The API server accepts bodies of 3 MiB. Names and paths need a little of it.
"""

MAX_JOB = 960 * 1024
"""Bytes of a Job as JSON.

A request to etcd has 1.5 MiB. The API server adds the owner of each field, a third of the size,
and the Job's pods are larger than the Job. With 5,500 ``arguments`` a pod could still be created.
"""


def check_script(script: Script) -> None:
    """Refuse a script without anything to run."""
    if not script.text.strip():
        raise ValueError(f"script is empty ({script.origin})")
    if "\0" in script.text:
        raise ValueError(f"script contains a NUL character ({script.origin}); a script must be text, not a binary file")


def check_files(files: Mapping[str, Script], script_file: str) -> None:
    """Refuse files whose paths are not free in the script's folder."""
    for path in files:
        syntax.check_relative_path(path, "files")
        if path == script_file:
            raise ValueError(
                f"files has the path {path!r}, which is the script's own in the container; choose another path"
            )
    places = {*files, script_file}
    for path in files:
        if folder := next((str(parent) for parent in PurePosixPath(path).parents if str(parent) in places), None):
            raise ValueError(f"files has the path {path!r}, but {folder!r} is a file, not a folder")


def check_size(script: Script, files: Mapping[str, Script], tools: Mapping[str, str]) -> None:
    """Refuse a script and files that do not fit into one ConfigMap."""
    total = script.size + sum(file.size for file in files.values()) + sum(len(text.encode()) for text in tools.values())
    if total > MAX_CONFIG_MAP:
        what = "script has" if not files else "script and files have"
        raise ValueError(
            f"{what} {total:,} bytes ({script.origin}), more than the {MAX_CONFIG_MAP:,} that a ConfigMap holds; "
            "put code into the image or onto a volume, and let a short script start it"
        )


def check_body_size(script: Script, files: Mapping[str, Script]) -> None:
    """Refuse texts that are too large as JSON: a control character has six bytes there."""
    sizes = {"script": _json_size(script.text)} | {f"files[{path!r}]": _json_size(f.text) for path, f in files.items()}
    if sum(sizes.values()) > MAX_BODY:
        largest = max(sizes, key=lambda name: sizes[name])
        raise ValueError(
            f"{largest} has {sizes[largest]:,} bytes as JSON, and the API server accepts {MAX_BODY:,} in all; "
            "JSON escapes control characters and quotes: compress and encode the data, or put it into the image"
        )


def check_job_size(job: Mapping[str, Any], parts_of_job: Callable[[], Mapping[str, Any]]) -> None:
    """Refuse a Job that is too large. The message names its largest part, by argument."""
    size = _json_size(job)
    if size > MAX_JOB:
        parts = parts_of_job()
        largest = max(parts, key=lambda name: _json_size(parts[name]))
        raise ValueError(
            f"{largest} makes the Job too large: {size:,} bytes, and the API server can store {MAX_JOB:,}; "
            "a Job names each of arguments and env: pass many values as one, in args, or as a file, through files=…"
        )


def _json_size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str).encode())
