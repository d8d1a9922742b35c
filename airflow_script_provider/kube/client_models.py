"""Kubernetes objects as plain dicts, from dicts or from models of the Python client."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any


def as_plain(value: Any, argument: str) -> Any:
    """A deep copy in API spelling, such as ``volumeMounts``.

    Models are recognised by their ``attribute_map``, so that no client library is imported for it.
    ``TypeError`` names a value that cannot stand in a manifest.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): as_plain(item, argument) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        # Each process has its own order of a set, and digests are compared with those of others.
        return sorted((as_plain(item, argument) for item in value), key=repr)
    if isinstance(value, list | tuple):
        return [as_plain(item, argument) for item in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    if hasattr(value, "attribute_map"):
        return _model_as_plain(value, argument)
    raise TypeError(
        f"{argument} holds a {type(value).__name__}; expected dicts in API spelling or kubernetes.client models"
    )


def _model_as_plain(model: Any, argument: str) -> dict[str, Any]:
    entries = {key: getattr(model, name) for name, key in model.attribute_map.items()}
    return {key: as_plain(item, argument) for key, item in entries.items() if item is not None}
