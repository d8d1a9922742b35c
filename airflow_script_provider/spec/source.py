"""The ``script`` part of a step: where the script comes from."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_script_provider.kube.syntax import check_keys, did_you_mean
from airflow_script_provider.spec.settings import a_mapping, as_number, has_template

WHERE = "script"
TYPES = ("inline", "local", "file", "http", "gcs", "s3")

_SCHEME = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_SCHEMES = {"file": ("file",), "http": ("http", "https"), "gcs": ("gs",), "s3": ("s3",)}
TRANSPORT = ("auth", "region", "endpoint", "method", "headers", "timeout")
_OF_SOURCE = ("type", *TRANSPORT)
_OF_SCRIPT = ("type", "content", "uri", "source", *TRANSPORT)
# What each type reads besides the script itself.
_READ_BY = {
    "inline": (),
    "local": (),
    "file": (),
    "http": ("auth", "endpoint", "method", "headers", "timeout"),
    "gcs": ("auth",),
    "s3": ("auth", "region", "endpoint"),
}


# What may hold a secret, which an error at parse would show to all.
_NOT_SHOWN = ("headers", "content", "uri")


@dataclass(frozen=True)
class SourceSettings:
    """A source by its kind (``inline``, ``file``, ``http``, ``gcs``, ``s3``) and its arguments."""

    kind: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


def source_settings(script: Any, variables: Mapping[str, Any] | None = None) -> SourceSettings:
    """What ``script`` says of the source, whether flat (``type``) or nested (``source.type``).

    ``variables`` is where ``type: local`` looks for the script. Raises ``ValueError`` that names the key.
    """
    merged = _merged(a_mapping(script, WHERE))
    kind = _kind(merged)
    _check_use(merged, kind)
    if kind in ("inline", "local"):
        return SourceSettings("inline", {"text": _READERS[kind](merged, variables or {})})
    uri = _checked_uri(merged, kind)
    arguments = {ours: merged[name] for name, ours in _names_in(kind).items() if name in merged}
    return SourceSettings(kind, {"path" if kind == "file" else "uri": uri} | arguments)


def is_nested(script: Any) -> bool:
    """Whether the form with ``source.type`` is used, whose Jobs are named otherwise."""
    return isinstance(script, Mapping) and isinstance(script.get("source"), Mapping)


def _merged(script: Mapping[str, Any]) -> dict[str, Any]:
    """Both levels in one mapping; a setting that stands in both must be the same."""
    source = a_mapping(script.get("source"), f"{WHERE}.source")
    check_keys(script, _OF_SCRIPT, WHERE)
    check_keys(source, _OF_SOURCE, f"{WHERE}.source")
    outer, inner = _given(script), _given(source)
    for name in outer.keys() & inner.keys():
        if outer[name] != inner[name]:
            values = f"{outer[name]!r} and source.{name}: {inner[name]!r}"
            if name in _NOT_SHOWN:
                values = f"one thing and source.{name} another"
            raise ValueError(f"script says {name}: {values}; keep one of them")
    return outer | inner


def _given(level: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of one level that say something."""
    given = {name: value for name, value in level.items() if name != "source" and value is not None}
    return given | ({"timeout": as_number(given["timeout"])} if "timeout" in given else {})


def _kind(merged: Mapping[str, Any]) -> str:
    kind = merged.get("type")
    if kind is None:
        raise ValueError(f"script has no type: one of {', '.join(TYPES)}, as script.type or script.source.type")
    if kind not in TYPES:
        raise ValueError(f"script has the unknown type {kind!r}{did_you_mean(str(kind), TYPES) or _one_of_types()}")
    return str(kind)


def _one_of_types() -> str:
    return f"; known are {', '.join(TYPES)}"


def _check_use(merged: Mapping[str, Any], kind: str) -> None:
    """Refuse settings that a source of this type would not read."""
    own = {"inline": ("content",), "local": ("content", "uri")}.get(kind, ("uri",))
    known = ("type", *own, *_READ_BY[kind])
    for name in merged:
        if name not in known:
            raise ValueError(f"script has {name!r}, which type {kind!r} does not read; it reads {', '.join(known[1:])}")
    for name in ("auth", "region", "endpoint", "method"):
        if not isinstance(merged.get(name, ""), str):
            raise ValueError(f"script has {name}: {merged[name]!r}, which must be text")
    a_mapping(merged.get("headers"), "headers of script")


def _names_in(kind: str) -> dict[str, str]:
    """The tool's name of each setting, and the source's argument for it."""
    renamed = {"auth": "conn_id"} | ({"endpoint": "endpoint_url"} if kind == "s3" else {})
    return {name: renamed.get(name, name) for name in _READ_BY[kind]}


def _checked_uri(merged: Mapping[str, Any], kind: str) -> str:
    uri = merged.get("uri")
    if not isinstance(uri, str) or not uri.strip():
        raise ValueError(f"script has the type {kind!r} and no uri")
    if has_template(uri):
        return uri
    scheme, shown = _SCHEME.match(uri), _shown(uri)
    expected = " or ".join(f"{name}://" for name in _SCHEMES[kind])
    if scheme and scheme["scheme"].lower() not in _SCHEMES[kind]:
        raise ValueError(
            f"script has the type {kind!r} and the uri {_shown(uri)!r}; a uri of that type begins with {expected}"
        )
    if not scheme and kind in ("gcs", "s3"):
        raise ValueError(f"script has the type {kind!r}, whose uri begins with {expected}, and the uri {shown!r}")
    if not scheme and kind == "http" and not merged.keys() & {"endpoint", "auth"}:
        raise ValueError(f"script has the relative uri {shown!r}; give source.endpoint, or source.auth with a host")
    return uri


def _inline(merged: Mapping[str, Any], variables: Mapping[str, Any]) -> str:
    content = merged.get("content")
    if not isinstance(content, str) or not content.strip():
        raise ValueError(f"script has the type {merged['type']!r} and no content")
    return content


def _local(merged: Mapping[str, Any], variables: Mapping[str, Any]) -> str:
    """The text itself, or the variable that ``content`` or ``uri`` names."""
    name = merged.get("uri", merged.get("content"))
    if isinstance(name, str) and name.strip() in variables:
        return _inline({"type": "local", "content": variables[name.strip()]}, variables)
    if "uri" in merged:
        known = ", ".join(sorted(variables)) or "none"
        hint = did_you_mean(str(name), variables) or f"; it has {known}"
        raise ValueError(f"script has the type 'local' and the name {name!r}, which variables does not have{hint}")
    return _inline(merged, variables)


_READERS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any]], str]] = {"inline": _inline, "local": _local}


def _shown(uri: str) -> str:
    """A URI without its login and its query, which may be a presigned URL's."""
    return re.sub(r"//[^/@\s]*@", "//", uri.partition("?")[0])
