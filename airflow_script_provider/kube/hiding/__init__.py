"""Make a line that a script printed safe for a message: without secrets and control characters.

The message is kept in databases and shown on pages, where the output itself is not.
``known_values`` finds the values of a run, ``logins`` what is recognised by its form.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any
from urllib.parse import unquote

from airflow_script_provider.kube.causes import cluster_messages
from airflow_script_provider.kube.causes.patterns import compiled_later
from airflow_script_provider.kube.hiding.escapes import unescaped
from airflow_script_provider.kube.hiding.known_values import ERROR_NAME, KnownValues
from airflow_script_provider.kube.hiding.logins import MASK, without_logins, without_open_login
from airflow_script_provider.kube.wording import one_line, shortened, without_controls

MAX_LINE = 300
_READ = 2000
"""Characters of a line that are read; a longer one is cut in any case."""
_ROUNDS = 4
_GROUP = compiled_later(r"::(end)?group::")

Hide = Callable[[str], str]
"""Makes a line of the script safe for a message."""


def hider(values: Iterable[str] = (), mask: Hide = str) -> Hide:
    """A function that hides these values and what ``mask`` hides.

    It returns an empty line where a value cannot be removed. The values are looked at when it is
    called: most runs need it never.
    """
    known = cache(lambda: KnownValues(values))
    return lambda line: _hidden(line, known(), mask)


def name_of_error(line: str) -> str:
    """The error that a line names, without its text; empty where the line does not begin with one.

    This hides lines of a script whose values are unknown, because it was launched with other ones.
    """
    found = ERROR_NAME.match(line[:MAX_LINE])
    if found is None:
        return ""
    return found[0] if found[0] == line.strip() else f"{found[0]}: …"


def knows_values(hide: Hide | None) -> bool:
    """Whether a function hides values: the others only leave out what may have some."""
    return hide is not None and hide is not name_of_error


def shown_report(hide: Hide | None, message: str) -> str:
    """What a container runtime reports, which may quote any value of the container."""
    return hide(message) if hide and knows_values(hide) else cluster_messages.without_quotes(message)


def check_digits(values: Iterable[str]) -> str:
    """Three digits by which another process sees that it has other values; empty for no values.

    They tell twelve bits of the values together: too few to find out or to confirm one of them.
    """
    known = list(values)
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:3] if known else ""


def has_secrets(given: Iterable[Any], mask: Hide) -> bool:
    """Whether ``mask`` hides anything of texts or mappings, or of the values in them.

    A secret may stand there in another form than the one that is masked: escaped, or encoded for a
    URL. A script prints it as it is.
    """
    forms = (form for text in values_in(*given) for form in {text, unquote(text), unescaped(text)})
    return any(mask(form) != form for form in forms)


def hider_of_launched(digits: str, values: Iterable[str] | None, mask: Hide = str) -> Hide:
    """What hides lines of a Job that was launched with values of these check digits.

    If these are other values, or None, only the error's name stays: the launched ones are unknown.
    """
    if values is None:
        return name_of_error
    known = list(values)
    return hider(known, mask) if check_digits(known) == digits else name_of_error


def values_in(*things: Any) -> Iterator[str]:
    """Every text and number in mappings and lists, also where a text is the JSON of these.

    True and False are not secret.
    """
    for thing in things:
        if isinstance(thing, str):
            yield thing
            if thing[:1] in ("{", "[") and isinstance(parsed := _parsed(thing), dict | list):
                yield from values_in(parsed)
                continue
            _, is_assignment, value = thing.partition("=")  # psql's variables, and options of programs
            if is_assignment:
                yield from values_in(value) if value[:1] in ("{", "[") else (value,)
        elif isinstance(thing, Mapping):
            yield from values_in(*thing.values())
        elif isinstance(thing, list | tuple | set | frozenset):
            yield from values_in(*thing)
        elif isinstance(thing, int | float) and not isinstance(thing, bool):
            yield from (str(thing), json.dumps(thing))


def _hidden(line: str, known: KnownValues, mask: Hide) -> str:
    is_cut = len(line) > _READ
    line = known.without_values(without_controls(line[:_READ]), MASK, is_cut=is_cut)
    if is_cut and not line.endswith(MASK):
        line = without_open_login(_without_torn_word(mask(line)))
    for _ in range(_ROUNDS):  # what is removed may join two pieces to a value
        before = line
        line = known.without_values(_plain(mask(line)), MASK)
        line = shortened(without_logins(mask(line)), MAX_LINE)
        line = known.without_parts(known.without_values(line, MASK), MASK)
        if line == before:
            break
    return "" if known.has_value_in(line) else line


def _without_torn_word(line: str) -> str:
    """A line without its last word, which may be a part of a secret; of a long one, its end."""
    head, _, word = line.rpartition(" ")
    return head if len(word) <= MAX_LINE else line[:-MAX_LINE]


def _plain(line: str) -> str:
    """One line without control characters and group markers."""
    line = without_controls(line)
    line = "".join(" " if c.isspace() else c for c in line if c.isspace() or unicodedata.category(c)[0] != "C")
    return one_line(_GROUP.sub("", line))  # markers that arise by that are broken there


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
