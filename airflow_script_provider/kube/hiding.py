"""Make a line that a script printed safe for a message: without secrets and control characters.

The message is kept in databases and shown on pages, where the output itself is not.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any
from urllib.parse import quote, quote_plus

from airflow_script_provider.kube.wording import one_line, shortened, without_controls

MIN_VALUE = 5
"""Characters of a value from which it is removed: shorter ones are found in any text."""
MAX_LINE = 300
MASK = "***"
_READ = 2000
"""Characters of a line that are read; a longer one is cut in any case."""

Hide = Callable[[str], str]
"""Makes a line of the script safe for a message."""

_ERROR_NAME = re.compile(r"(?:[A-Za-z_]\w*\.)*_*[A-Z]\w*(?:Error|Exception|Interrupt|Exit)\b(?=:|$)")
_GROUP = re.compile(r"::(end)?group::")
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*://"
_URL = re.compile(rf"(?P<scheme>{_SCHEME})(?P<rest>\S+)")
_URL_WITHOUT_LOGIN = re.compile(rf"(?=(?P<scheme>{_SCHEME})(?P<rest>[^\s@]*)(?:\s|$))")
_AUTHORITY = re.compile(r"[^/?#]*")
# Hosts with their ports, and what closes a sentence or a quotation after them.
_HOSTS = re.compile(r"(?:\[[^\]]*\]|[^:,\[\]]*)(?::\d*)?(?:,(?:\[[^\]]*\]|[^:,\[\]]*)(?::\d*)?)*[^\w\s]*")
_DIGEST = "sha256:[0-9a-f]{12}"
# What a URL begins with; USER:PASSWORD@HOST, as in the DSNs of Go's drivers; USER/PASSWORD@HOST,
# Oracle's form. An image's digest, a package's version and a path have an @ as well.
_BARE_LOGIN = re.compile(
    rf"""(?P<url>{_SCHEME}[^\s/?\#]*)
    |(?<![^\s:/@'"])[^\s:/@'"]+:(?!//)\S+@(?!{_DIGEST})
    |(?<![^\s:'"])(?=[^\s:/@'"]*\w)[^\s:/@'"]+/(?:
        (?>(?:"[^"]*"|[^\s/]+)@)(?=[\w"(\[])(?!v?\d+(?:\.\d+){{0,2}}(?:[-+][\w.+-]*)?(?![\w./]|:\d)|{_DIGEST})
        |\S+@(?=//|[(\[]|[\w.-]+:\d)(?!{_DIGEST}))""",
    re.VERBOSE,
)
_BARE_QUERY = re.compile(r"(/[^\s?]*)\?[^\s?=]*=\S*")
_ROUNDS = 4
_PERCENT = re.compile(r"%[0-9A-F]{2}")


def hider(values: Iterable[str] = (), mask: Hide = str) -> Hide:
    """A function that hides these values and what ``mask`` hides.

    It returns an empty line where a value cannot be removed. The values are looked at when it is
    called: most runs need it never.
    """
    forms = cache(lambda: _forms(values))
    return lambda line: _hidden(line, forms(), mask)


def name_of_error(line: str) -> str:
    """The error that a line names, without its text; empty where the line does not begin with one.

    This hides lines of a script whose values are unknown, because it was launched with other ones.
    """
    found = _ERROR_NAME.match(line[:MAX_LINE])
    if found is None:
        return ""
    return found[0] if found[0] == line.strip() else f"{found[0]}: …"


def knows_values(hide: Hide | None) -> bool:
    """Whether a function hides values: the others only leave out what may have some."""
    return hide is not None and hide is not name_of_error


def check_digits(values: Iterable[str]) -> str:
    """Three digits by which another process sees that it has other values; empty for no values.

    They tell twelve bits of the values together: too few to find out or to confirm one of them.
    """
    known = list(values)
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:3] if known else ""


def hider_of_launched(digits: str, values: Iterable[str], mask: Hide = str) -> Hide:
    """What hides lines of a Job that was launched with values of these check digits.

    If these are other values, only the error's name stays: the launched ones are unknown.
    """
    known = list(values)
    return hider(known, mask) if check_digits(known) == digits else name_of_error


def values_in(*things: Any) -> Iterator[str]:
    """Every text and number in mappings and lists, also where a text is the JSON of these.

    True and False are not secret.
    """
    for thing in things:
        if isinstance(thing, str):
            yield thing
            _, is_assignment, value = thing.partition("=")  # psql's variables, and options of programs
            if is_assignment:
                yield value
            if thing[:1] in ("{", "[") and isinstance(parsed := _parsed(thing), dict | list):
                yield from values_in(parsed)
        elif isinstance(thing, Mapping):
            yield from values_in(*thing.values())
        elif isinstance(thing, list | tuple | set | frozenset):
            yield from values_in(*thing)
        elif isinstance(thing, int | float) and not isinstance(thing, bool):
            yield from (str(thing), json.dumps(thing))


def _hidden(line: str, forms: list[str], mask: Hide) -> str:
    line = _without(forms, line)
    for _ in range(_ROUNDS):
        before = line
        line = _plain(_without(forms, mask(line)))
        line = shortened(_public(_whole_words(_without(forms, mask(line)))), MAX_LINE)
        if line == before:
            break
    return "" if any(form in line for form in forms) else line


def _forms(values: Iterable[str]) -> list[str]:
    """The values as messages show them: whole, by line, escaped, or as parts of a URL."""
    found: set[str] = set()
    for value in values:
        for text in (value, *value.splitlines()):
            found |= {text, text.strip(), one_line(text), repr(text)[1:-1], quote(text), quote(text, safe="")}
            found |= {quote_plus(text), json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
            found |= {quote(text, safe="!'()*~"), repr(text.encode("utf-8", "surrogateescape"))[2:-1]}
    found |= {_PERCENT.sub(lambda code: code[0].lower(), form) for form in found if "%" in form}
    return sorted((form for form in found if len(form) >= MIN_VALUE), key=lambda form: (-len(form), form))


def _without(forms: list[str], line: str) -> str:
    """The first part of a line without these texts, which may overlap."""
    spans = sorted(span for form in forms if form in line for span in _spans(form, line))
    kept, end = "", 0
    for first, last in spans:
        if first >= _READ:
            break
        if first >= end:
            kept += line[end:first] + MASK
        end = max(end, last)
    return kept + line[end : max(end, _READ)]


def _spans(form: str, line: str) -> Iterator[tuple[int, int]]:
    at = line.find(form)
    while at >= 0:
        yield at, at + len(form)
        at = line.find(form, at + 1)


def _plain(line: str) -> str:
    """One line without control characters and group markers."""
    line = without_controls(line)
    line = "".join(" " if c.isspace() else c for c in line if c.isspace() or unicodedata.category(c)[0] != "C")
    return one_line(_GROUP.sub("", line))  # markers that arise by that are broken there


def _whole_words(line: str) -> str:
    """The start of a long line, which does not end in a part of a URL."""
    return line if len(line) <= _READ else line[:_READ].rpartition(" ")[0]


def _public(line: str) -> str:
    """The line without logins and queries of URLs."""
    line = _URL.sub(lambda url: url["scheme"] + _public_rest(url["rest"]), _without_torn_login(line))
    line = _BARE_LOGIN.sub(lambda found: found["url"] or f"{MASK}@", line)
    return _BARE_QUERY.sub(r"\1?…", line)


def _without_torn_login(line: str) -> str:
    """The line without the login of a URL whose password has a space.

    What stands behind its user is not a port, and the ``@`` stands in a later word.
    """
    for url in _URL_WITHOUT_LOGIN.finditer(line):
        at = line.rfind("@", url.end("rest"))
        if at >= 0 and not _are_hosts(url["rest"]):
            return line[: url.end("scheme")] + MASK + line[at:]
    return line


def _public_rest(rest: str) -> str:
    """What follows the scheme, without login, query and fragment.

    A password may have slashes and at signs. In doubt more is hidden.
    """
    _, at, behind = rest.rpartition("@")
    if at and ("@" in _authority(rest) or not _are_hosts(rest)):
        rest = f"{MASK}@{behind}"
    elif not _are_hosts(rest):  # a password whose host is missing, or options of JDBC
        authority = _authority(rest)
        rest = f"{authority.partition(':')[0]}:{MASK}{rest[len(authority) :]}"
    return re.sub(r"[?#].*", "?…", rest)


def _are_hosts(rest: str) -> bool:
    """Whether a URL has only hosts and ports after its scheme, or a login with its host."""
    return _HOSTS.fullmatch(_authority(rest).rpartition("@")[2]) is not None


def _authority(rest: str) -> str:
    found = _AUTHORITY.match(rest)
    return found[0] if found else ""


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
