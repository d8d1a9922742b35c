"""YAML text: read as plain mappings and lists, and written for any reader."""

from __future__ import annotations

import re
from typing import Any

_OTHER_FOR_SOME = re.compile(
    r"""(?:[-+]?[._]*[0-9][-+0-9A-Fa-f_.oOxX]*  # such as -_1, 1e_+5 and 2024-1-5
    |[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}[Tt\ ].*
    |[yYnN])$""",
    re.VERBOSE,
)
"""A number, a time or a truth value for some readers, which PyYAML writes as plain text."""


class _RepeatedKeyError(Exception):
    """A key that stands twice in one mapping; its text goes on with the document's name."""


def read_yaml(text: str, name: str = "spec") -> Any:
    """The document in the text, which errors call ``name``.

    Dates stay text, because ``args`` become JSON. ``ValueError`` says where the text is not valid
    YAML, without quoting it: it may hold a password. The error also names a key that stands twice
    in one mapping; YAML would silently keep the last one.
    """
    import yaml  # only a DAG with YAML text loads it

    try:
        return yaml.load(text, Loader=_loader())  # noqa: S506  # derived from a safe loader
    except yaml.YAMLError as error:
        raise ValueError(f"{name} is not valid YAML: {_position(error)}") from None
    except _RepeatedKeyError as error:
        raise ValueError(f"{name} {error}") from None
    except RecursionError:
        raise ValueError(f"{name} is not valid YAML: it is nested too deeply") from None


def write_yaml(*documents: Any) -> str:
    """The documents as text that kubectl reads as they are.

    A text is quoted where it would be another type in YAML 1.1, in YAML 1.2 or for Go, in which
    ``0450682645``, ``1234567e89`` and ``-_1`` are numbers, ``2024-1-5`` is a time and ``y`` is
    true.
    """
    import yaml

    text: str = yaml.dump_all(documents, Dumper=_dumper(), sort_keys=False, allow_unicode=True)
    return text


def _position(error: Exception) -> str:
    """Where the text is not valid, and why if the reason quotes nothing of it."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:  # a character that YAML does not allow
        return f"character {getattr(error, 'position', 0) + 1} is not allowed"
    where, begin = f"line {mark.line + 1}, column {mark.column + 1}", getattr(error, "context_mark", None)
    context, problem = (_unless_quoting(getattr(error, name, None)) for name in ("context", "problem"))
    if context.startswith("while ") and begin is not None:
        where += f", {context} that begins in line {begin.line + 1}"
    return f"{where}: {problem}" if problem else where


def _unless_quoting(reason: str | None) -> str:
    """The parser's reason, nothing if it quotes the text."""
    return reason if reason and not {"'", '"'} & set(reason) else ""


def _dumper() -> Any:
    import yaml

    class Dumper(yaml.SafeDumper):
        """A safe dumper that also quotes what other readers take for another type."""

    Dumper.add_implicit_resolver("tag:yaml.org,2002:other", _OTHER_FOR_SOME, list("+-.0123456789yYnN"))
    return Dumper


def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):  # libyaml's would crash the process on text that is nested deeply
        """A safe loader without dates and without duplicate keys."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen: set[str] = set()
            for key in (key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"):
                if key in seen:
                    line = node.start_mark.line + 1
                    raise _RepeatedKeyError(f"has the key {key!r} twice in the mapping that begins in line {line}")
                seen.add(key)
            return super().construct_mapping(node, deep)

        def construct_object(self, node: Any, deep: bool = False) -> Any:
            try:
                return super().construct_object(node, deep)
            except (ValueError, TypeError, LookupError, AttributeError):  # their text quotes the value
                problem = "the value is not one of its type"
                raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    return Loader
