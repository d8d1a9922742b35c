"""Kubeconfigs as plain data: read one, and choose a context of several as kubectl does."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_script_provider.spec.text import read_yaml

_TRUE = ("1", "true", "yes", "on")


class PassingError(ValueError):
    """A fault outside of the kubeconfig: in a plugin, an issuer, a file or the environment.

    Another try may succeed with the same kubeconfig.
    """


@contextmanager
def passing_errors() -> Iterator[None]:
    """Make a ``PassingError`` of a ``ValueError`` in the block."""
    try:
        yield
    except UnicodeError:
        raise  # its text may quote a credential
    except ValueError as error:
        raise PassingError(str(error)) from None


@dataclass(frozen=True)
class Kubeconfig:
    """One kubeconfig: its name in messages, the folder of its relative paths, its content."""

    name: str
    folder: Path
    content: Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """The fields of a cluster, a context or a user. ``title`` names it in messages.

    Reading a field raises ``ValueError`` if it has another form, and quotes nothing of it: any
    field of a user may be a credential.
    """

    title: str
    fields: Mapping[str, Any]
    folder: Path

    def text(self, name: str) -> str:
        """A text, empty where it is missing. YAML reads some texts as numbers."""
        value = self.fields.get(name)
        if value is None or isinstance(value, Mapping | list):
            if value:
                raise ValueError(f"{name} of {self.title} is not a text")
            return ""
        return str(value).lower() if isinstance(value, bool) else str(value)

    def flag(self, name: str) -> bool:
        """A truth, False where it is missing."""
        return is_true(self.fields.get(name))

    def texts(self, name: str) -> list[str]:
        """A list of texts, empty where it is missing."""
        values = self.fields.get(name) or []
        if not isinstance(values, list) or not all(isinstance(value, str | int | float) for value in values):
            raise ValueError(f"{name} of {self.title} is not a list of texts")
        return [str(value) for value in values]

    def entry(self, name: str) -> Entry | None:
        """The fields below this one, None where it is missing."""
        value = self.fields.get(name)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise ValueError(f"{name} of {self.title} is not a mapping")
        return Entry(f"{name} of {self.title}", value, self.folder)

    def entries(self, name: str) -> list[Mapping[str, Any]]:
        """A list of mappings, empty where it is missing."""
        values = self.fields.get(name) or []
        if not isinstance(values, list) or not all(isinstance(value, Mapping) for value in values):
            raise ValueError(f"{name} of {self.title} is not a list of mappings")
        return values

    def path(self, name: str) -> Path | None:
        """A path, relative to the kubeconfig's folder; None where it is missing."""
        text = self.text(name)
        return self.folder / text if text else None

    def data(self, name: str) -> bytes | None:
        """What ``NAME-data`` holds in base64, otherwise what is in the file ``NAME``. Reads it."""
        if encoded := self.text(f"{name}-data"):
            try:
                return base64.b64decode("".join(encoded.split()), validate=True)
            except (binascii.Error, ValueError):
                raise ValueError(f"{name}-data of {self.title} is not valid base64") from None
        path = self.path(name)
        return path.read_bytes() if path else None


@dataclass(frozen=True)
class Chosen:
    """A context's cluster, its user if it names one, and its namespace."""

    cluster: Entry
    user: Entry
    namespace: str | None = None


def parsed(text: str, name: str) -> Mapping[str, Any]:
    """The content of a kubeconfig in YAML or JSON.

    ``ValueError`` names the kubeconfig and the position, and quotes nothing of the text.
    """
    try:
        content = json.loads(text)  # also the JSON that is not YAML, for example indented with tabs
    except (ValueError, RecursionError) as error:
        content = _from_yaml(text, name, error)
    if content is not None and not isinstance(content, Mapping):
        raise ValueError(f"{name} is not a mapping")
    return content or {}


def _from_yaml(text: str, name: str, not_json: Exception) -> Any:
    try:
        return read_yaml(text, name)
    except ValueError:
        if text.lstrip().startswith("{") and isinstance(not_json, json.JSONDecodeError):
            where = f"line {not_json.lineno}, column {not_json.colno}"
            raise ValueError(f"{name} is not valid JSON: {where}") from None
        raise


def choose(configs: Sequence[Kubeconfig], context: str | None) -> Chosen:
    """What a context names, by default the current one.

    The first kubeconfig that has an entry of a name decides, and the first that names a current
    context. ``ValueError`` says what is missing.
    """
    name = context or current_context(configs)
    names = _names(configs)
    if not name:
        raise ValueError(f"{names} has no current-context; set one, or cluster_context")
    found = _entry(configs, "context", name)
    cluster_name, user_name = found.text("cluster"), found.text("user")
    if not cluster_name:
        raise ValueError(f"{found.title} of {names} names no cluster")
    user = _entry(configs, "user", user_name) if user_name else Entry("no user", {}, found.folder)
    return Chosen(_entry(configs, "cluster", cluster_name), user, found.text("namespace") or None)


def current_context(configs: Sequence[Kubeconfig]) -> str | None:
    """The first current context that a kubeconfig names."""
    texts = (Entry(config.name, config.content, config.folder).text("current-context") for config in configs)
    return next((text for text in texts if text), None)


def is_true(value: Any) -> bool:
    """Whether a field says yes, also as text."""
    return value.strip().lower() in _TRUE if isinstance(value, str) else bool(value)


def _entry(configs: Sequence[Kubeconfig], kind: str, name: str) -> Entry:
    for config in configs:
        listed = Entry(config.name, config.content, config.folder).entries(f"{kind}s")
        same = [entry for entry in listed if str(entry.get("name")) == name]
        if len(same) > 1:
            raise ValueError(f"{config.name} has two {kind}s named {name!r}")
        if same:
            title = f"{kind} {name!r}"
            return Entry(title, same[0], config.folder).entry(kind) or Entry(title, {}, config.folder)
    raise ValueError(f"{_names(configs)} has no {kind} named {name!r}")


def _names(configs: Sequence[Kubeconfig]) -> str:
    return ":".join(config.name for config in configs)
