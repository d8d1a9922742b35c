"""Read settings that may be spelled in several ways."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)


def a_mapping(value: Any, where: str) -> Mapping[str, Any]:
    """The value as a mapping, None as an empty one; ``ValueError`` names its place."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} must be a mapping, not {type(value).__name__}")
    return value


def a_list(value: Any, where: str) -> list[Any]:
    """The value as a list, None as an empty one; ``ValueError`` names its place."""
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        raise ValueError(f"{where} must be a list, not {type(value).__name__}")
    return list(value)


def one_of(mapping: Mapping[str, Any], spellings: Collection[str], where: str) -> Any:
    """The value of a setting, or None; ``ValueError`` if two spellings have different values."""
    given = {name: mapping[name] for name in spellings if mapping.get(name) is not None}
    first, *others = given or [""]
    for name in others:
        if given[name] != given[first]:
            raise ValueError(f"{where} has {first}: {given[first]!r} and {name}: {given[name]!r}; keep one of them")
    return given.get(first)


def as_number(value: Any) -> Any:
    """The number that a text spells; any other value is returned unchanged.

    Authors quote numbers, and templates render to text.
    """
    if not isinstance(value, str) or not _NUMBER.fullmatch(value.strip()):
        return value
    number = float(value)
    return int(number) if number.is_integer() else number


def has_template(value: Any) -> bool:
    """Whether the value is only known after rendering."""
    return isinstance(value, str) and ("{{" in value or "{%" in value)
