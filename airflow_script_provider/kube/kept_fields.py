"""Which fields of a Job an API server does not keep, and whether it is too old for them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

OLDEST = (1, 31)
"""The oldest Kubernetes of which every version keeps the fields of our Jobs."""

_VERSION = re.compile(r"v?(\d+)\.(\d+)")


def lost_fields(asked: Mapping[str, Any], kept: Mapping[str, Any]) -> list[str]:
    """The fields of a Job's ``spec`` that were asked for and are not in the created object.

    A server drops a field without an error where it knows it and its feature gate is off.
    """
    return [f"spec.{name}" for name, value in asked["spec"].items() if value and name not in kept["spec"]]


def lost_below(asked: Mapping[str, Any], kept: Mapping[str, Any], path: str) -> Iterator[str]:
    """The paths of the fields of an object that were asked for and are not in the created one.

    Elements of a list are those of the same name, otherwise those of the same place in it if there
    are as many. Another value is none that was lost.
    """
    for name, value in asked.items():
        if not value:
            continue
        if name not in kept:
            yield f"{path}.{name}"
        elif isinstance(value, Mapping) and isinstance(kept[name], Mapping):
            yield from lost_below(value, kept[name], f"{path}.{name}")
        elif isinstance(value, list) and isinstance(kept[name], list):
            for place, one, its in _pairs(value, kept[name]):
                yield from lost_below(one, its, f"{path}.{name}[{place}]")


def _pairs(asked: Sequence[Any], kept: Sequence[Any]) -> Iterator[tuple[Any, Mapping[str, Any], Mapping[str, Any]]]:
    """The objects of two lists that belong together, with their name or their place."""
    if not all(isinstance(one, Mapping) for one in (*asked, *kept)):
        return
    names = [one.get("name") for one in asked]
    if None not in names and len(set(names)) == len(names):
        by_name = {one.get("name"): one for one in kept}
        yield from ((one["name"], one, by_name[one["name"]]) for one in asked if one["name"] in by_name)
    elif len(asked) == len(kept):
        yield from ((place, one, kept[place]) for place, one in enumerate(asked))


def is_too_old(version: str) -> bool:
    """Whether a ``gitVersion``, as in ``v1.30.4-eks-1``, is older than ``OLDEST``.

    One that says nothing is not.
    """
    found = _VERSION.match(version)
    return found is not None and (int(found[1]), int(found[2])) < OLDEST


def too_old(host: str, version: str) -> str:
    """The message for a server that is too old, in one line."""
    needed = ".".join(map(str, OLDEST))
    return f"the API server {host} runs Kubernetes {version.removeprefix('v')}. {needed} or newer is needed."


def not_kept(host: str, version: str, fields: list[str]) -> str:
    """The message for a server that drops fields, in one line; it may be too old for them."""
    return too_old(host, version) if is_too_old(version) else dropped(host, version, fields)


def dropped(host: str, version: str, fields: Sequence[str]) -> str:
    """The message for fields that a server dropped although it is new enough, in one line."""
    runs = f"the API server {host}, Kubernetes {version.removeprefix('v') or 'of unknown version'}"
    return f"{runs}, did not keep {', '.join(fields)} of the Job. Check its feature gates and its admission webhooks."
