"""Files that outlive clusters and are shared by all checkouts: binaries, image layers, locks."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from steps import say


def folder() -> Path:
    """The cache folder, made on demand."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = base / "airflow-script-provider"
    path.mkdir(parents=True, exist_ok=True)
    return path


def key(parts: Iterable[bytes]) -> str:
    """A digest of all parts, each delimited by its length."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:16]


@contextmanager
def lock(name: str) -> Iterator[None]:
    """Hold a machine-wide lock; the kernel frees it with the process, so none can be left behind."""
    with (folder() / f"{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"  waiting for another run that holds the lock {file.name}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def scratch(name: str) -> Iterator[Path]:
    """An empty folder inside the cache, so that what is made there can be renamed into place atomically.

    The caller holds a lock, so what lies there already was left by a run that was killed.
    """
    path = folder() / f"building-{name}"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
