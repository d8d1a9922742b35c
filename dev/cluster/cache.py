"""The cache of binaries, image layers and locks, which all checkouts share."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from progress import Step
from steps import Steps, say


def folder() -> Path:
    """The cache folder, created if it is missing."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = base / "airflow-script-provider"
    path.mkdir(parents=True, exist_ok=True)
    return path


def key(parts: Iterable[bytes]) -> str:
    """A digest of all parts; each is preceded by its length."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:16]


@contextmanager
def lock(name: str) -> Iterator[None]:
    """Hold a lock on the whole machine; the kernel frees it when the process ends."""
    with (folder() / f"{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another run holds the lock {file.name}")
            with Steps([]).doing(Step("wait for the other run")):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def scratch(name: str) -> Iterator[Path]:
    """An empty folder inside the cache; its contents can be renamed to their place atomically.

    The caller holds a lock. Files that are already there are the rest of a run that was killed.
    """
    path = folder() / f"building-{name}"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
