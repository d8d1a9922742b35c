"""Say which cluster KUBECONFIG means: server, context and file. Needs nothing but Python, on a fresh machine too."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

UNKNOWN = "unknown"


def line(kubeconfig: str) -> str:
    """One line on the cluster of a ``KUBECONFIG``, which may list several files: the first with a context decides."""
    files = [Path(name).expanduser() for name in kubeconfig.split(os.pathsep) if name]
    texts = [file.read_text() for file in files if file.is_file()]
    if not texts:
        return f"KUBECONFIG={kubeconfig} does not exist"
    found = next((found for text in texts if (found := context_and_server(text))[0] != UNKNOWN), (UNKNOWN, UNKNOWN))
    return f"Using the cluster {found[1]}, context {found[0]} of KUBECONFIG={kubeconfig}"


def context_and_server(text: str) -> tuple[str, str]:
    """The current context and its cluster's address, of a kubeconfig in JSON or as kubectl writes it in YAML."""
    try:
        config = json.loads(text)
    except ValueError:
        config = _of_yaml(text)
    context = config.get("current-context") or UNKNOWN
    cluster = _named(config.get("contexts"), context).get("context", {}).get("cluster")
    return context, _named(config.get("clusters"), cluster).get("cluster", {}).get("server", UNKNOWN)


def _named(entries: Any, name: str | None) -> dict[str, Any]:
    return next((entry for entry in entries or [] if entry.get("name") == name), {})


def _of_yaml(text: str) -> dict[str, Any]:
    """The little of YAML that is asked for: top-level keys, and their lists of mappings."""
    config: dict[str, Any] = {}
    for section in re.split(r"^(?=[\w-]+:)", text, flags=re.MULTILINE):
        name, _, rest = section.partition(":")
        items = re.split(r"^ *- ", rest, flags=re.MULTILINE)[1:]
        config[name] = [_entry(item) for item in items] if name in ("contexts", "clusters") else _value(rest)
    return config


def _entry(text: str) -> dict[str, Any]:
    """An item of a list: ``name`` beside one mapping, in whatever order."""
    first, *others = text.splitlines()
    outer = min((_indent(line) for line in others if line.strip()), default=0)
    entry: dict[str, Any] = {}
    key = ""
    for line in (" " * outer + first, *others):
        name, _, value = line.strip().partition(":")
        if _indent(line) == outer:
            key = name
            entry[key] = _value(value) or {}
        elif isinstance(entry[key], dict):
            entry[key][name] = _value(value)
    return entry


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _value(text: str) -> str:
    return text.strip().strip("'\"")


if __name__ == "__main__":
    print(line(os.environ["KUBECONFIG"]))
