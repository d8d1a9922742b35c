"""The interface of a source, and the parts that all sources share."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar, runtime_checkable

from airflow_script_provider.exceptions import ScriptSourceError
from airflow_script_provider.kube.request.sizes import MAX_CONFIG_MAP
from airflow_script_provider.script import Script

T = TypeVar("T")

RETRY_DELAYS = (0.5, 1.0, 2.0, 4.0)
"""Seconds of waiting before each further attempt to read a script over the network."""
CHUNK = 16 * 1024
"""Bytes that are read at once; a compressed chunk may become a thousand times larger."""

_MAX_RETRY_AFTER = 30.0
_log = logging.getLogger(__name__)


@runtime_checkable
class ScriptSource(Protocol):
    """Reads a script.

    ``str()`` is shown in logs and on the page Rendered Templates. It has origin and size, and
    never content or credentials.
    """

    @property
    def template_fields(self) -> Sequence[str]:
        """Names of the attributes that Airflow renders."""

    def fetch(self, *, folder: str | None = None) -> Script:
        """Read the script. Relative paths start from ``folder``. Raises ``ScriptSourceError``."""


def fetch_file(source: ScriptSource, path: str, folder: str | None) -> Script:
    """Read one of ``files``. Its path tells some sources what the author expects."""
    for_file = getattr(source, "for_file", None)
    found: ScriptSource = source if for_file is None else for_file(path)
    return found.fetch(folder=folder)


def with_retries(read: Callable[[], T]) -> T:
    """Call ``read``; repeat it after each delay while its error is retryable."""
    for delay in RETRY_DELAYS:
        try:
            return read()
        except ScriptSourceError as error:
            if not error.retryable:
                raise
            wait = delay if error.retry_after is None else min(error.retry_after, _MAX_RETRY_AFTER)
            _log.warning("%s; trying again in %g s", error.message.splitlines()[0], wait)
        time.sleep(wait)
    return read()


def collect(chunks: Iterable[bytes], *, origin: str, until: float) -> bytes:
    """Join the chunks.

    ``ScriptSourceError`` says that they are too large, or that ``time.monotonic()`` passed
    ``until``.
    """
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > MAX_CONFIG_MAP:
            raise too_large_error(origin)
        if time.monotonic() > until:
            raise ScriptSourceError(f"{origin} did not arrive in time; {len(data):,} bytes arrived", origin=origin)
    return bytes(data)


def permanent_error(message: str, origin: str) -> ScriptSourceError:
    """An error that another try of the task cannot solve."""
    return ScriptSourceError(message, origin=origin, retryable=False)


def decode(data: bytes, *, origin: str, name: str, details: str = "") -> Script:
    """The bytes as a script; ``ScriptSourceError`` says that they are too many."""
    if len(data) > MAX_CONFIG_MAP:
        raise too_large_error(origin, len(data))
    return Script.from_bytes(data, origin=origin, name=name, details=details)


def too_large_error(origin: str, size: int | None = None) -> ScriptSourceError:
    """The error for a script that does not fit into a ConfigMap."""
    has = f"has {size:,} bytes" if size is not None else "is larger"
    return permanent_error(
        f"{origin} {has}, more than the {MAX_CONFIG_MAP:,} that a ConfigMap holds; "
        "put code into the image or onto a volume, and let a short script start it",
        origin,
    )
