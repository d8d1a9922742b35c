"""Times as Kubernetes writes them, in RFC 3339."""

from __future__ import annotations

from datetime import datetime


def parse_time(text: str) -> datetime:
    """The time of a text. Raises ``ValueError`` for any other text."""
    return datetime.fromisoformat(text)


def parse_optional_time(text: str | None) -> datetime | None:
    """The time of a text, None without one."""
    return parse_time(text) if text else None
