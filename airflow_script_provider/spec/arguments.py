"""From a step to the operator's arguments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_script_provider.spec.job import job_arguments
from airflow_script_provider.spec.source import SourceSettings, is_nested, source_settings
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
    """What the names in a spec's templates stand for.

    ``keychain``: the connection of each name. ``workload``: values that the run's conf and params go before.
    ``short_lived``: names whose token a template asks for; all fields of such a name must be of one short-lived set.
    """

    keychain: Mapping[str, str] = field(default_factory=dict)
    workload: Mapping[str, Any] = field(default_factory=dict)
    short_lived: frozenset[str] = frozenset()


@dataclass(frozen=True)
class OperatorSettings:
    """The operator's arguments that a spec gives; ``arguments["script"]`` are the settings of a source."""

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
    """Translate a spec: a mapping, list or YAML text. Raises ``ValueError`` that names the key.

    ``style="noetl"`` has that tool's namespace, names and label where the spec says nothing; ``"airflow"`` ours.
    ``overrides`` are arguments of the operator, and go before what the spec says.
    """
    if style not in STYLES:
        raise ValueError(f"style={style!r} is none of {', '.join(STYLES)}")
    found = find_step(read_yaml(spec) if isinstance(spec, str) else spec, step)
    overrides = dict(overrides or {})
    arguments = (_manner(found, overrides) if style == "noetl" else {}) | _said(found, variables) | overrides
    if arguments.get("script") is None:
        raise ValueError("spec has no script: {type: …, content: … or uri: …}; or give script=…")
    return OperatorSettings(
        arguments, PlaybookNames(found.keychain, found.workload, names_of_tokens([found.tool, overrides]))
    )


def names_of_tokens(value: Any) -> frozenset[str]:
    """The names whose token any template in a value asks for: ``{{ keychain.NAME.token }}``."""
    if isinstance(value, str):
        return frozenset(bare or quoted for bare, quoted in _ASKS_FOR_TOKEN.findall(value))
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return frozenset().union(*(names_of_tokens(item) for item in items))


def _manner(step: Step, overrides: dict[str, Any]) -> dict[str, Any]:
    """How the Script tool does it where the step says nothing: a script without arguments gets ``{}``."""
    manner: dict[str, Any] = {"namespace": NAMESPACE, "labels": dict(LABELS)}
    if not is_nested(step.tool.get("script")):
        manner["name"] = FLAT_NAME
    if "arguments" not in overrides:
        manner["args"] = {}
    if isinstance(overrides.get("labels"), Mapping):
        overrides["labels"] = LABELS | dict(overrides["labels"])
    return manner


def _said(step: Step, variables: Mapping[str, Any] | None) -> dict[str, Any]:
    said = {"task_id": step.name, "doc_md": step.description, "args": step.tool.get("args")}
    said = {name: value for name, value in said.items() if value is not None}
    if step.tool.get("script") is not None:
        said["script"] = _with_connection(source_settings(step.tool["script"], variables), step.keychain)
    return said | job_arguments(step.tool.get("job"))


def _with_connection(settings: SourceSettings, keychain: Mapping[str, str]) -> SourceSettings:
    """``source.auth`` may be a name of the keychain, which then says the connection."""
    conn_id = settings.arguments.get("conn_id", "")
    if conn_id not in keychain:
        return settings
    return SourceSettings(settings.kind, {**settings.arguments, "conn_id": keychain[conn_id]})
