"""The script's args and environment, from the command line's options."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow_script_provider.kube.syntax import is_env_name
from airflow_script_provider.kube.wording import first_of


def args(text: str | None, entries: Sequence[str] | None) -> Any:
    """``--args`` as JSON, or the ``--arg`` entries as a mapping of text; None without either."""
    if text is not None:
        return _json(text)
    return dict(_pair(entry, "--arg") for entry in entries) if entries else None


def env(entries: Sequence[str] | None, files: Sequence[str] | None, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of the files, replaced by those of ``--env``.

    A name without a value passes our own variable on.
    """
    found: dict[str, str] = {}
    for file in files or ():
        for number, line in _lines(file):
            found |= _of_line(line, environ, f"--env-file {file}, line {number}")
    return found | _resolved(entries or (), environ)


def warnings(files: Sequence[str] | None) -> list[str]:
    """A warning for each file whose values keep quotes that a shell would remove."""
    found = []
    for file in files or ():
        pairs = (line.partition("=") for _, line in _lines(file))
        names = [name for name, _, value in pairs if _is_quoted(value.strip())]
        if names:
            what = f"the quotes around {first_of(names)} are part of the value"
            found.append(f"--env-file {file}: {what}, as with docker run --env-file; write NAME=VALUE without them")
    return found


def _is_quoted(value: str) -> bool:
    return value[:1] in ('"', "'") and value[0] in value[1:]


def _json(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"--args is not valid JSON: {error}") from None
    except RecursionError:
        raise ValueError("--args is not valid JSON: it is nested too deeply") from None
    if not isinstance(value, dict | list):
        raise ValueError("--args must be a JSON object or array")
    return value


def _lines(file: str) -> list[tuple[int, str]]:
    """The lines of a file in Docker's format, with their numbers.

    They are ``K=V``, without quoting; ``#`` begins a comment line.
    """
    try:
        text = Path(file).read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ValueError(f"--env-file {file} cannot be read: {why}") from None
    # Unlike Docker, splitlines() and text mode would also split at other characters than the line feed.
    lines = enumerate((line.removesuffix("\r").lstrip() for line in text.split("\n")), start=1)
    return [(number, line) for number, line in lines if line and not line.startswith("#")]


def _of_line(line: str, environ: Mapping[str, str], where: str) -> dict[str, str]:
    """The variable of a line. Errors show none of it: it may be the second line of a secret."""
    name, equals, value = line.partition("=")
    if not equals and name in environ:
        return {name: environ[name]}
    if not equals:
        raise ValueError(f"{where} is neither NAME=VALUE nor a variable of this environment; a value has one line")
    if not is_env_name(name):
        raise ValueError(f"{where} must be NAME=VALUE, and has no legal name before =; a value has one line")
    return {name: value}


def _resolved(entries: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for entry in entries:
        if "=" in entry:
            name, value = _pair(entry, "--env")
            found[name] = value
        elif entry in environ:
            found[entry] = environ[entry]
        else:
            raise ValueError(f"--env: {entry} is not set in this environment; write {entry}=VALUE")
    return found


def _pair(entry: str, where: str) -> tuple[str, str]:
    name, equals, value = entry.partition("=")
    if not equals or not name:
        raise ValueError(f"{where} must be NAME=VALUE, not {name!r}")
    return name, value
