"""Which fields of a Job an API server does not keep, and whether it is too old for them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

OLDEST = (1, 31)
"""The oldest Kubernetes of which every version keeps the fields of our Jobs."""

_VERSION = re.compile(r"v?(\d+)\.(\d+)")


def lost_fields(asked: Mapping[str, Any], kept: Mapping[str, Any]) -> list[str]:
    """The fields of a Job's ``spec`` that were asked for and are not in the created object.

    A server drops a field without an error where it knows it and its feature gate is off.
    """
    return [f"spec.{name}" for name, value in asked["spec"].items() if value and name not in kept["spec"]]


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
    if is_too_old(version):
        return too_old(host, version)
    runs = f"the API server {host}, Kubernetes {version.removeprefix('v') or 'of unknown version'}"
    return f"{runs}, did not keep {', '.join(fields)} of the Job. Check its feature gates and its admission webhooks."
