"""What every source has in common."""

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
"""Seconds before each further attempt to read a script over the network."""
CHUNK = 16 * 1024
"""Bytes that are read at once: a compressed chunk may swell a thousandfold."""

_MAX_RETRY_AFTER = 30.0
_log = logging.getLogger(__name__)


@runtime_checkable
class ScriptSource(Protocol):
    """Reads a script.

    ``str()`` is fit for a log and for the page Rendered Templates: origin and size, never content or credentials.
    """

    @property
    def template_fields(self) -> Sequence[str]:
        """Names of the attributes that Airflow renders."""

    def fetch(self, *, folder: str | None = None) -> Script:
        """Read it. ``folder`` is what relative paths start from. Raises ``ScriptSourceError``."""


def with_retries(read: Callable[[], T]) -> T:
    """What ``read`` returns, tried again after each delay as long as its ``ScriptSourceError`` may pass."""
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


def collected(chunks: Iterable[bytes], *, origin: str, until: float) -> bytes:
    """All chunks together; refused once they are more than fits, or when ``time.monotonic()`` passes ``until``."""
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > MAX_CONFIG_MAP:
            raise too_large(origin)
        if time.monotonic() > until:
            raise ScriptSourceError(f"{origin} did not arrive in time; {len(data):,} bytes came", origin=origin)
    return bytes(data)


def refused(message: str, origin: str) -> ScriptSourceError:
    """An error that another try of the task will not mend."""
    return ScriptSourceError(message, origin=origin, retryable=False)


def decoded(data: bytes, *, origin: str, name: str, details: str = "") -> Script:
    """The bytes as a script, or the error that says why they are none."""
    if len(data) > MAX_CONFIG_MAP:
        raise too_large(origin, len(data))
    try:
        return Script.from_bytes(data, origin=origin, name=name, details=details)
    except ValueError as error:
        raise refused(str(error), origin) from None


def too_large(origin: str, size: int | None = None) -> ScriptSourceError:
    """The error for a script that no ConfigMap holds."""
    has = f"has {size:,} bytes" if size is not None else "is larger"
    return refused(
        f"{origin} {has}, more than the {MAX_CONFIG_MAP:,} that a ConfigMap holds; "
        "put code into the image or onto a volume, and let a short script start it",
        origin,
    )
