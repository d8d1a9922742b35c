"""Translate a step of the Script tool into the operator's arguments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_script_provider.spec.job import job_arguments
from airflow_script_provider.spec.source import LATER, SourceSettings, is_nested, source_settings
from airflow_script_provider.spec.step import Step, find_step
from airflow_script_provider.spec.text import read_yaml

STYLES = ("noetl", "airflow")
NAMESPACE = "noetl"
LABELS = {"app": "noetl-script"}
FLAT_NAME = "noetl-script"

_TOKEN = r"(?:session_|access_)?token\b"  # noqa: S105  # the name of a field
_ASKS_FOR_TOKEN = re.compile(rf"(?:\b(\w+)|\[['\"]([^'\"]+)['\"]\])(?:\.{_TOKEN}|\[['\"]{_TOKEN}['\"]\])")


@dataclass(frozen=True)
class PlaybookNames:
    """The meaning of the names in a spec's templates.

    ``keychain`` maps each name to its connection. ``workload`` are values that the DAG run's conf
    and params replace. ``short_lived`` are names whose token a template uses; all fields of such a
    name must belong to one set of short-lived credentials.
    """

    keychain: Mapping[str, str] = field(default_factory=dict)
    workload: Mapping[str, Any] = field(default_factory=dict)
    short_lived: frozenset[str] = frozenset()


@dataclass(frozen=True)
class OperatorSettings:
    """The operator's arguments in a spec; ``arguments["script"]`` are the settings of a source."""

    arguments: Mapping[str, Any]
    names: PlaybookNames


def operator_settings(
    spec: Any,
    *,
    step: str | None = None,
    variables: Mapping[str, Any] | None = None,
    style: str = "noetl",
    overrides: Mapping[str, Any] | None = None,
) -> OperatorSettings:
    """Translate a spec: a mapping, a list, or YAML text. ``ValueError`` names the bad key.

    Where the spec sets no namespace, name and label, ``style="noetl"`` uses the Script tool's
    defaults, and ``style="airflow"`` the operator's. ``overrides`` are arguments of the operator;
    they replace those of the spec.
    """
    if style not in STYLES:
        raise ValueError(f"style={style!r} must be one of {', '.join(STYLES)}")
    found = find_step(read_yaml(spec) if isinstance(spec, str) else spec, step)
    overrides = dict(overrides or {})
    defaults = _tool_defaults(found, overrides) if style == "noetl" else {}
    arguments = defaults | _step_arguments(found, variables) | overrides
    if arguments.get("script") is None:
        raise ValueError("spec has no script: add {type: …, content: … or uri: …}, or pass script=…")
    return OperatorSettings(
        arguments, PlaybookNames(found.keychain, found.workload, names_of_tokens([found.tool, overrides]))
    )


def names_of_tokens(value: Any) -> frozenset[str]:
    """The names whose token a template in the value uses: ``{{ keychain.NAME.token }}``."""
    if isinstance(value, str):
        return frozenset(bare or quoted for bare, quoted in _ASKS_FOR_TOKEN.findall(value))
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return frozenset().union(*(names_of_tokens(item) for item in items))


def _tool_defaults(step: Step, overrides: dict[str, Any]) -> dict[str, Any]:
    """The Script tool's defaults. A script without arguments gets ``{}``."""
    defaults: dict[str, Any] = {"namespace": NAMESPACE, "labels": dict(LABELS)}
    if not is_nested(step.tool.get("script")):
        defaults["name"] = FLAT_NAME
    if "arguments" not in overrides:
        defaults["args"] = {}
    if isinstance(overrides.get("labels"), Mapping):
        overrides["labels"] = LABELS | dict(overrides["labels"])
    return defaults


def _step_arguments(step: Step, variables: Mapping[str, Any] | None) -> dict[str, Any]:
    values = {"task_id": step.name, "doc_md": step.description, "args": step.tool.get("args")}
    arguments = {name: value for name, value in values.items() if value is not None}
    if step.tool.get("script") is not None:
        arguments["script"] = _with_connection(source_settings(step.tool["script"], variables), step.keychain)
    return arguments | job_arguments(step.tool.get("job"))


def _with_connection(settings: SourceSettings, keychain: Mapping[str, str]) -> SourceSettings:
    """The settings, with the keychain's connection if ``source.auth`` is one of its names."""
    if settings.kind == LATER:
        script = settings.arguments["script"]
        named = {"auth": keychain[script["auth"]]} if script.get("auth") in keychain else {}
        return SourceSettings(LATER, {**settings.arguments, "script": script | named})
    conn_id = settings.arguments.get("conn_id", "")
    if conn_id not in keychain:
        return settings
    return SourceSettings(settings.kind, {**settings.arguments, "conn_id": keychain[conn_id]})
