"""What every source has in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from airflow_script_provider.exceptions import ScriptSourceError
from airflow_script_provider.kube.request import MAX_CONFIG_MAP
from airflow_script_provider.script import Script


@runtime_checkable
class ScriptSource(Protocol):
    """Reads a script.

    ``str()`` is fit for a log and for the Rendered
    Templates page: origin and size, never content or credentials.
    """

    @property
    def template_fields(self) -> Sequence[str]:
        """Names of the attributes that Airflow renders."""

    def fetch(self, *, folder: str | None = None) -> Script:
        """Read it. ``folder`` is what relative paths start from. Raises ``ScriptSourceError``."""


def decoded(data: bytes, *, origin: str, name: str) -> Script:
    """The bytes as a script, or the error that says why they are none."""
    if len(data) > MAX_CONFIG_MAP:
        raise too_large(origin, len(data))
    try:
        return Script.from_bytes(data, origin=origin, name=name)
    except ValueError as error:
        raise ScriptSourceError(str(error), origin=origin, retryable=False) from None


def too_large(origin: str, size: int | None = None) -> ScriptSourceError:
    """The error for a script that no ConfigMap holds."""
    has = f"has {size:,} bytes" if size is not None else "is larger"
    return ScriptSourceError(
        f"{origin} {has}, more than the {MAX_CONFIG_MAP:,} that a ConfigMap holds; "
        "put code into the image or onto a volume, and let a short script start it",
        origin=origin,
        retryable=False,
    )
