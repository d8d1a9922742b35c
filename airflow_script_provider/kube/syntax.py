"""Kubernetes' rules of spelling: names, labels, images, quantities, environment names, paths.

Every check raises ``ValueError`` and names the operator's argument that holds the bad value.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

MAX_LABEL = 63
"""Characters of a label's value and of most names."""
MAX_SUBDOMAIN = 253
"""Characters of names that may have dots."""
MAX_DEPTH = 100
"""Levels of a nested value: more than an author writes, less than Jinja and JSON can process."""

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
_LABEL_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_DNS_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_ENV_NAME = re.compile(r"(?!\.\.|\.$)[-._A-Za-z][-._A-Za-z0-9]*")
_C_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?\d+)?", re.ASCII)
_UNITS = {unit: Decimal(1000) ** power for power, unit in enumerate(["n", "u", "m", "", *"kMGTPE"], start=-3)}
_UNITS |= {f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", start=1)}
# The grammar of container image references: [host[:port]/]path[:tag][@digest].
_IMAGE = re.compile(
    r"(?:(?:[a-zA-Z0-9](?:[-a-zA-Z0-9.]*[a-zA-Z0-9])?|\[[0-9a-fA-F:]+\])(?::\d+)?/)?"
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
    r"(?::\w[\w.-]{0,127})?(?:@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?",
    re.ASCII,
)


def check_dns_label(value: str, argument: str) -> None:
    """Refuse an invalid DNS label: the form of namespaces and of our objects' names."""
    if not isinstance(value, str) or not _DNS_LABEL.fullmatch(value) or len(value) > MAX_LABEL:
        raise ValueError(
            f"{argument}={value!r} is not a legal Kubernetes name: lower case letters, digits and '-', "
            f"starting and ending with a letter or digit, at most {MAX_LABEL} characters"
        )


def check_dns_subdomain(value: str, argument: str) -> None:
    """Refuse an invalid DNS subdomain.

    A DNS subdomain is labels with dots between them. A service account's name has this form.
    """
    if not isinstance(value, str) or not _DNS_SUBDOMAIN.fullmatch(value) or len(value) > MAX_SUBDOMAIN:
        raise ValueError(
            f"{argument}={value!r} is not a legal Kubernetes name: lower case letters, digits, '-' and '.', "
            f"starting and ending with a letter or digit, at most {MAX_SUBDOMAIN} characters"
        )


def check_labels(labels: Mapping[str, Any], argument: str) -> None:
    """Refuse label keys or values that the API server would refuse."""
    for key, value in labels.items():
        _check_qualified_name(key, argument)
        if not isinstance(value, str) or not _LABEL_VALUE.fullmatch(value) or len(value) > MAX_LABEL:
            raise ValueError(
                f"{argument}[{key!r}]={value!r} is not a legal label value: a string of at most {MAX_LABEL} letters, "
                "digits, '-', '_' and '.', starting and ending with a letter or digit"
            )


def check_annotations(annotations: Mapping[str, Any], argument: str) -> None:
    """Refuse annotation keys that are not qualified names, and values that are not strings."""
    for key, value in annotations.items():
        _check_qualified_name(key, argument)
        if not isinstance(value, str):
            raise ValueError(f"{argument}[{key!r}] must be a string, not {type(value).__name__}")


def _check_qualified_name(key: Any, argument: str) -> None:
    prefix, slash, name = key.rpartition("/") if isinstance(key, str) else ("", "", "")
    legal_prefix = not slash or (len(prefix) <= MAX_SUBDOMAIN and _DNS_SUBDOMAIN.fullmatch(prefix))
    if not legal_prefix or len(name) > MAX_LABEL or not _LABEL_NAME.fullmatch(name):
        raise ValueError(f"{argument} has an illegal key {key!r}: expected NAME or PREFIX/NAME, as kubectl label takes")


def check_image(value: str, argument: str) -> None:
    """Refuse an invalid image reference."""
    if not isinstance(value, str) or not _IMAGE.fullmatch(value):
        raise ValueError(
            f"{argument}={value!r} is not an image reference such as python:3.11-slim or host/name@sha256:…"
        )


def check_env_names(names: Iterable[Any], argument: str) -> None:
    """Refuse names of environment variables that some version of Kubernetes does not take."""
    for name in names:
        if not is_env_name(name):
            words = "letters, digits, '_', '-' and '.', neither a digit nor '..' first"
            raise ValueError(f"{argument} has an illegal name {name!r}: {words}")


def is_env_name(name: Any) -> bool:
    """Whether every version of Kubernetes takes this name of an environment variable."""
    return isinstance(name, str) and _ENV_NAME.fullmatch(name) is not None


def check_shell_names(names: Iterable[Any], argument: str, advice: str = "") -> None:
    """Refuse names of variables that a shell cannot set."""
    for name in names:
        if not isinstance(name, str) or not _C_IDENTIFIER.fullmatch(name):
            words = "letters, digits and '_', no digit first"
            raise ValueError(f"{argument} has an illegal name {name!r}: {words}{advice}")


def check_quantity(value: Any, argument: str) -> None:
    """Refuse an invalid Kubernetes quantity (``500m``, ``2Gi``, 1) or a negative one."""
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not _QUANTITY.fullmatch(str(value)):
        raise ValueError(
            f"{argument}={value!r} is not a quantity: a number with an optional unit, "
            "m k M G T P E or Ki Mi Gi Ti Pi Ei (500m, 0.5, 512Mi, 2Gi)"
        )
    if str(value).startswith("-"):
        raise ValueError(f"{argument}={value!r} is negative; a quantity is at least 0")


def quantity(value: str | float) -> Decimal:
    """The number of a legal quantity."""
    match = _QUANTITY.fullmatch(str(value))
    if match is None:
        raise ValueError(f"{value!r} is not a quantity")
    number, unit = match[1], match[2] or ""
    return Decimal(number) * _UNITS[unit] if unit in _UNITS else Decimal(number + unit)


def check_resources(resources: Mapping[str, Any], argument: str) -> None:
    """Refuse unknown keys, invalid quantities, and requests over their limits."""
    check_keys(resources, ("requests", "limits", "claims"), argument)
    for section in ("requests", "limits"):
        entries = resources.get(section) or {}
        if not isinstance(entries, Mapping):
            raise ValueError(f"{argument}[{section!r}] must be a mapping of resource name to quantity")
        for name, value in entries.items():
            check_quantity(value, f"{argument}[{section!r}][{name!r}]")
    requests, limits = (resources.get(section) or {} for section in ("requests", "limits"))
    for name in requests:
        if name in limits and quantity(requests[name]) > quantity(limits[name]):
            more = f"{argument}['requests'][{name!r}]={requests[name]!r}"
            raise ValueError(f"{more} is more than its limit {limits[name]!r}; raise the limit or ask for less")


def check_depth(value: Any, argument: str) -> None:
    """Refuse mappings and lists that contain themselves or are nested too deeply to render."""
    if value is None:
        return
    level = _containers([value])
    for _ in range(MAX_DEPTH):
        if not level:
            return
        level = _containers(item for container in level for item in _items(container))
    raise ValueError(f"{argument} is nested more than {MAX_DEPTH} levels deep, or holds itself")


def _items(container: Any) -> Iterable[Any]:
    return container.values() if isinstance(container, Mapping) else container


def _containers(values: Iterable[Any]) -> list[Any]:
    """The values that contain others, each once."""
    return list({id(value): value for value in values if isinstance(value, Mapping | list | tuple | set)}.values())


def check_relative_path(path: str, argument: str) -> None:
    """Refuse paths that would leave the folder they are mounted in."""
    parts = path.split("/") if isinstance(path, str) else [""]
    if {"", ".", ".."} & set(parts) or parts[0].startswith(".."):
        raise ValueError(
            f"{argument} has an illegal path {path!r}: relative, without '..' and empty parts (lib/util.py)"
        )


def check_flag(value: Any, argument: str, *, none_allowed: bool = False) -> None:
    """Refuse a value that is neither True nor False: ``"no"`` would be true."""
    if not isinstance(value, bool) and not (value is None and none_allowed):
        raise ValueError(f"{argument}={value!r} must be True or False{' or None' if none_allowed else ''}")


def check_keys(mapping: Mapping[str, Any], known: Iterable[str], argument: str) -> None:
    """Refuse unknown keys, and suggest the nearest known one."""
    names = tuple(known)
    for key in mapping:
        if key not in names:
            raise ValueError(f"{argument} has an unknown key {key!r}{did_you_mean(str(key), names)}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The nearest known name as the end of a sentence, empty if none is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
