"""Read the ``script`` part of a step: the settings of the script's source."""

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
_SOURCE_KEYS = ("type", *TRANSPORT)
_SCRIPT_KEYS = ("type", "content", "uri", "source", *TRANSPORT)
# The settings that each type reads besides the script itself.
_READ_BY = {
    "inline": (),
    "local": (),
    "file": (),
    "http": ("auth", "endpoint", "method", "headers", "timeout"),
    "gcs": ("auth",),
    "s3": ("auth", "region", "endpoint"),
}


LATER = "later"
"""The kind of a source whose settings must be rendered before they say what it is."""
# Settings that may hold a secret; every user would see it in an error of the DAG's parsing.
_NOT_SHOWN = ("headers", "content", "uri")


@dataclass(frozen=True)
class SourceSettings:
    """A source by its kind (``inline``, ``file``, ``http``, ``gcs``, ``s3``) and its arguments.

    With the kind ``later``, ``arguments`` are those of ``source_settings``, for a second call
    after rendering.
    """

    kind: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


def source_settings(script: Any, variables: Mapping[str, Any] | None = None) -> SourceSettings:
    """Read the source in ``script``: the flat form has ``type``, the nested form ``source.type``.

    ``type: local`` looks up the script in ``variables``. ``ValueError`` names the bad key. A
    template may be the type, or what the type does not read if it renders empty.
    """
    merged = _merged(a_mapping(script, WHERE))
    if has_template(merged.get("type")):
        return _later(merged, variables)
    kind = _kind(merged)
    unread = [name for name in merged if name not in _names_read_by(kind)]
    if unread and all(has_template(merged[name]) for name in unread):
        return _later(merged, variables)
    _check_use(merged, kind)
    if kind in ("inline", "local"):
        return SourceSettings("inline", {"text": _READERS[kind](merged, variables or {})})
    uri = _checked_uri(merged, kind)
    arguments = {ours: merged[name] for name, ours in _names_in(kind).items() if name in merged}
    return SourceSettings(kind, {"path" if kind == "file" else "uri": uri} | arguments)


def _later(merged: dict[str, Any], variables: Mapping[str, Any] | None) -> SourceSettings:
    return SourceSettings(LATER, {"script": merged, "variables": dict(variables or {})})


def is_nested(script: Any) -> bool:
    """Whether the script has the nested form; its Jobs have other names."""
    return isinstance(script, Mapping) and isinstance(script.get("source"), Mapping)


def _merged(script: Mapping[str, Any]) -> dict[str, Any]:
    """Both levels in one mapping; a setting in both must have the same value."""
    source = a_mapping(script.get("source"), f"{WHERE}.source")
    check_keys(script, _SCRIPT_KEYS, WHERE)
    check_keys(source, _SOURCE_KEYS, f"{WHERE}.source")
    outer, inner = _given(script), _given(source)
    for name in outer.keys() & inner.keys():
        if outer[name] != inner[name]:
            settings = f"{name}: {outer[name]!r} and source.{name}: {inner[name]!r}"
            if name in _NOT_SHOWN:
                settings = f"different values of {name} and source.{name}"
            raise ValueError(f"script has {settings}; keep one of them")
    return outer | inner


def _given(level: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of one level that have a value; an empty text is none, except as a script."""
    given = {
        name: value
        for name, value in level.items()
        if name != "source" and value is not None and (value != "" or name not in TRANSPORT)
    }
    return given | ({"timeout": as_number(given["timeout"])} if "timeout" in given else {})


def _kind(merged: Mapping[str, Any]) -> str:
    kind = merged.get("type")
    if kind is None:
        raise ValueError(f"script has no type: set script.type or script.source.type to one of {', '.join(TYPES)}")
    if kind not in TYPES:
        hint = did_you_mean(str(kind), TYPES) or f"; known types: {', '.join(TYPES)}"
        raise ValueError(f"script has the unknown type {kind!r}{hint}")
    return str(kind)


def _names_read_by(kind: str) -> tuple[str, ...]:
    own = {"inline": ("content",), "local": ("content", "uri")}.get(kind, ("uri",))
    return ("type", *own, *_READ_BY[kind])


def _check_use(merged: Mapping[str, Any], kind: str) -> None:
    """Refuse settings that a source of this type does not read."""
    known = _names_read_by(kind)
    for name in merged:
        if name not in known:
            raise ValueError(f"script has {name!r}, which type {kind!r} does not read; it reads {', '.join(known[1:])}")
    for name in ("auth", "region", "endpoint", "method"):
        if not isinstance(merged.get(name, ""), str):
            raise ValueError(f"script has {name}: {merged[name]!r}, which must be text")
    a_mapping(merged.get("headers"), "headers of script")


def _names_in(kind: str) -> dict[str, str]:
    """Maps the tool's name of each setting to the source's argument."""
    renamed = {"auth": "conn_id"} | ({"endpoint": "endpoint_url"} if kind == "s3" else {})
    return {name: renamed.get(name, name) for name in _READ_BY[kind]}


def _checked_uri(merged: Mapping[str, Any], kind: str) -> str:
    uri = merged.get("uri")
    if not isinstance(uri, str) or not uri.strip():
        raise ValueError(f"script has the type {kind!r} but no uri")
    if has_template(uri):
        return uri
    scheme, shown = _SCHEME.match(uri), _shown(uri)
    expected = " or ".join(f"{name}://" for name in _SCHEMES[kind])
    if scheme and scheme["scheme"].lower() not in _SCHEMES[kind]:
        raise ValueError(
            f"script has the type {kind!r} and the uri {shown!r}; a uri of that type begins with {expected}"
        )
    if not scheme and kind in ("gcs", "s3"):
        raise ValueError(
            f"script has the type {kind!r} and the uri {shown!r}; a uri of that type begins with {expected}"
        )
    if not scheme and kind == "http" and not merged.keys() & {"endpoint", "auth"}:
        raise ValueError(f"script has the relative uri {shown!r}; set source.endpoint, or source.auth with a host")
    return uri


def _inline(merged: Mapping[str, Any], variables: Mapping[str, Any]) -> str:
    content = merged.get("content")
    if not isinstance(content, str) or not content.strip():
        raise ValueError(f"script has the type {merged['type']!r} but no content")
    return content


def _local(merged: Mapping[str, Any], variables: Mapping[str, Any]) -> str:
    """The text in ``content``, or the text of the variable that ``content`` or ``uri`` names."""
    name = merged.get("uri", merged.get("content"))
    if isinstance(name, str) and name.strip() in variables:
        return _inline({"type": "local", "content": variables[name.strip()]}, variables)
    if "uri" in merged:
        known = ", ".join(sorted(variables)) or "none"
        hint = did_you_mean(str(name), variables) or f"; known variables: {known}"
        raise ValueError(f"script has the type 'local', but variables has no {name!r}{hint}")
    return _inline(merged, variables)


_READERS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any]], str]] = {"inline": _inline, "local": _local}


def _shown(uri: str) -> str:
    """A URI without its login and its query, which may be a signature."""
    return re.sub(r"//[^/@\s]*@", "//", uri.partition("?")[0])
