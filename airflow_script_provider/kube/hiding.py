"""Make a line that a script printed safe for a message: without secrets and control characters.

The message is kept in databases and shown on pages, where the output itself is not.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from airflow_script_provider.kube.wording import one_line, shortened, without_controls

MIN_VALUE = 5
"""Characters from which a value or a part of it is removed: shorter ones are in any text."""
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
_CACHED = 1 << 14
_PERCENT = re.compile(r"%[0-9A-F]{2}")
_WITH_ESCAPES = re.compile(r"[^ -~]|['\"\\]")
_ESCAPED = re.compile(r"(\\[xuU])([0-9a-f]+)")

# Parts of values: what programs quote of them when they cannot read the whole. Values may be long,
# so each pattern looks only so far.
_MAX_PARTS = 128 * 1024
"""Characters of values whose parts are removed, the shortest first: passwords are short."""
_PASSWORD = re.compile(r"://[^\s/?#:@]*:(.{1,256})@")
_NAMED_SECRET = re.compile(
    r"""(?:pass|pwd|secret|token|key|sig|auth|cred)[\w-]{0,32}["']?\s*[=:]\s*("[^"]+"|'[^']+'|[^\s&;,]+)""",
    re.IGNORECASE,
)
# The host of a URL is no secret. Where an @ comes later, it may be a part of a password.
_HOST = re.compile(r"(://(?:[^\s/?#]*@)?)[\w.-]+(?::\d{1,5})?(?=[/?#,;\s]|$)(?!\S{0,256}@)")
_OF_WORDS = re.compile(r"[\s./]")
# A name, perhaps with a digit at the end as in psycopg2; a date or a time. An escape before it is no part of it.
_NAME = re.compile(
    r"""\\[abfnrtv]|(?<!\w)(?:[^\W\d]{1,40}\d?|(?:19|20)\d\d-?\d\d-?\d\d(?:[T ]\d\d:\d\d(?::\d\d)?)?
    |\d\d:\d\d(?::\d\d)?)(?!\w)""",
    re.VERBOSE,
)
# Letters of one case, perhaps with a digit at the end; the name of an error; or anything short.
_PLAIN_WORD = re.compile(r"[A-Z]?[a-z]{1,15}\d?|[A-Z]{1,16}|[A-Z][A-Za-z]{1,40}(?:Error|Exception)|[^\W_]{1,4}")
_BETWEEN_WORDS = re.compile(r"[\s./:,+_-]+")
_STRETCH = re.compile(r"[^\s:=,;'\"].{3,}[^\s:=,;'\"]")
_WORD_BEFORE = re.compile(r"[^\W_]*$")
_WORD_AFTER = re.compile(r"[^\W_]*")
# An apostrophe in a word is no quotation mark.
_QUOTE = re.compile(r"""(?<![^\W_])['"`‘’“”]|['"`‘’“”](?![^\W_])""")


def hider(values: Iterable[str] = (), mask: Hide = str) -> Hide:
    """A function that hides these values and what ``mask`` hides.

    It returns an empty line where a value cannot be removed. The values are looked at when it is
    called: most runs need it never.
    """
    known = cache(lambda: _known(values))
    return lambda line: _hidden(line, known(), mask)


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


@dataclass(frozen=True)
class _Known:
    """Values, as they are sought in lines.

    ``forms`` are sought whole; ``lengths`` are those of the forms with the same first characters.
    ``is_opaque`` tells whether a text is a part of a password or a token, ``is_worded`` whether it
    is one of a path, a URL or a sentence.
    """

    forms: frozenset[str]
    lengths: Mapping[str, Sequence[int]]
    is_opaque: Callable[[str], bool]
    is_worded: Callable[[str], bool]

    def has(self, part: str) -> bool:
        """Whether a text is a part of a value."""
        return self.is_opaque(part) or self.is_worded(part)


def _known(values: Iterable[str]) -> _Known:
    known = list(dict.fromkeys(values))
    passwords = list(dict.fromkeys(password for value in known for password in _passwords(value)))
    parted = list(_shortest([*known, *(unquote(value) for value in known if "%" in value)]))
    opaque = [value for value in parted if not _OF_WORDS.search(value)]
    worded = [_HOST.sub(r"\1\n", value) for value in parted if _OF_WORDS.search(value)]
    forms = _forms([*known, *passwords])
    return _Known(forms, _lengths(forms), _parts([*opaque, *_shortest(passwords)]), _parts(worded))


def _passwords(value: str) -> Iterator[str]:
    """The passwords in a value, also as a program has them that decodes a URL."""
    texts = {value, unquote_plus(value)} if "%" in value else {value}
    named = {found[1] for text in texts for found in _NAMED_SECRET.finditer(text)}
    for password in (*named, *(found[1] for found in _PASSWORD.finditer(value))):
        yield from {text.strip("\"'") for text in (password, unquote(password), unquote_plus(password))}


def _shortest(values: Iterable[str]) -> Iterator[str]:
    """The values, the shortest first, as many as have their parts removed."""
    size = 0
    for value in sorted(set(values), key=lambda value: (len(value), value)):
        size += len(value)
        if size > _MAX_PARTS:
            return
        yield value


def _lengths(forms: Iterable[str]) -> Mapping[str, Sequence[int]]:
    lengths: dict[str, set[int]] = {}
    for form in forms:
        lengths.setdefault(form[:MIN_VALUE], set()).add(len(form))
    return {start: sorted(found, reverse=True) for start, found in lengths.items()}


def _parts(values: Iterable[str]) -> Callable[[str], bool]:
    """Whether a text is a part of one of these values. Failures of several nodes are alike."""
    text = "\0".join(sorted(_forms(values)))
    return lru_cache(maxsize=_CACHED)(lambda part: part in text)


def _hidden(line: str, known: _Known, mask: Hide) -> str:
    longest = max((lengths[0] for lengths in known.lengths.values()), default=0)
    line = _without(known, line[: _READ + longest])
    for _ in range(_ROUNDS):
        before = line
        line = _plain(_without(known, mask(line)))
        line = shortened(_public(_whole_words(_without(known, mask(line)))), MAX_LINE)
        line = _without_parts(known, line)
        if line == before:
            break
    return "" if any(_spans(known, line)) else line


def _forms(values: Iterable[str]) -> frozenset[str]:
    """The values as messages show them: whole, by line, escaped, or as parts of a URL."""
    found: set[str] = set()
    for text in {text for value in values for text in (value, *value.splitlines())}:
        found |= {text, text.strip(), one_line(text), *(_escaped(text) if _WITH_ESCAPES.search(text) else ())}
        found |= {quote(text), quote(text, safe=""), quote(text, safe="!'()*~"), quote_plus(text)}
    found |= {_PERCENT.sub(lambda code: code[0].lower(), form) for form in found if "%" in form}
    found |= {_ESCAPED.sub(lambda code: code[1] + code[2].upper(), form) for form in found if "\\" in form}
    return frozenset(form for form in found if len(form) >= MIN_VALUE)


def _escaped(text: str) -> Iterator[str]:
    """The text as literals of Python, JSON and shells, and JSON in such a literal again."""
    data = text.encode("utf-8", "surrogateescape")
    for literal in (repr, ascii, json.dumps, _json_of_unicode):
        yield literal(text)[1:-1]
    for json_text in (json.dumps(text)[1:-1], _json_of_unicode(text)[1:-1]):
        yield from (repr(json_text)[1:-1], json.dumps(json_text)[1:-1], _json_of_unicode(json_text)[1:-1])
    yield repr(data)[2:-1]
    yield repr(text.encode("latin-1", "ignore"))[2:-1]
    yield "".join(chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}" for byte in data)


def _json_of_unicode(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _without(known: _Known, line: str) -> str:
    """The first part of a line without these values, which may overlap."""
    kept, end = "", 0
    for span in _spans(known, line):
        first, last = _grown(known, line, *span)
        if first >= end:
            kept += line[end:first] + MASK
        end = max(end, last)
    return kept + line[end : max(end, _READ)]


def _spans(known: _Known, line: str) -> Iterator[tuple[int, int]]:
    """Where values stand in the part of a line that is read: the longest one at each place."""
    for at in range(min(len(line) - MIN_VALUE + 1, _READ)):
        lengths = known.lengths.get(line[at : at + MIN_VALUE], ())
        found = next((length for length in lengths if line[at : at + length] in known.forms), 0)
        if found:
            yield at, at + found


def _grown(known: _Known, line: str, first: int, last: int) -> tuple[int, int]:
    """A value with the rest of a longer one around it, if this is too short to be found alone."""
    for _ in range(MIN_VALUE - 1):
        if first > 0 and line[first - 1].isalnum() and known.has(line[first - 1 : first - 1 + MIN_VALUE]):
            first -= 1
        if line[last : last + 1].isalnum() and known.has(line[last + 1 - MIN_VALUE : last + 1]):
            last += 1
    return first, last


def _without_parts(known: _Known, line: str) -> str:
    """The line without parts of values, where these are not ordinary words."""
    found = [place for place in _stretches(known, line) if not _is_ordinary(known, line, *place)]
    for first, last in reversed(found):
        line = line[:first] + MASK + line[last:]
    return line


def _stretches(known: _Known, line: str) -> Iterator[tuple[int, int]]:
    """Where a line has parts of values, after the name of its error.

    A program that quotes a value quotes a piece of it. A name, a date or a time that only shares
    characters with a value is not one.
    """
    error = _ERROR_NAME.match(line)
    marks = [False] * len(line)
    for at in range(error.end() if error else 0, len(line) - MIN_VALUE + 1):
        if known.has(line[at : at + MIN_VALUE]):
            marks[at : at + MIN_VALUE] = [True] * MIN_VALUE
    for name in _NAME.finditer(line):
        if any(marks[name.start() : name.end()]) and not known.has(name[0]):
            marks[name.start() : name.end()] = [False] * len(name[0])
    shown = "".join(character if mark else "\n" for character, mark in zip(line, marks, strict=True))
    yield from (stretch.span() for stretch in _STRETCH.finditer(shown))


def _is_ordinary(known: _Known, line: str, first: int, last: int) -> bool:
    """Whether a part of a value is a word of the error itself, or names a path or a host.

    A quotation is not the error's own, so only words of a path, a URL or a sentence stay in it.
    """
    parts = [line[at : at + MIN_VALUE] for at in range(first, last - MIN_VALUE + 1)]
    before, after = _WORD_BEFORE.search(line[:first]), _WORD_AFTER.match(line[last:])
    words = (before[0] if before else "") + line[first:last] + (after[0] if after else "")
    words = re.sub(r"^[\W_]+|[\W_]+$", "", words)
    if not all(map(_PLAIN_WORD.fullmatch, _BETWEEN_WORDS.split(words))):
        return False
    is_quoted = _is_quoted(line, first)
    if any(map(known.is_opaque, parts)):
        return not is_quoted and not any(character.isdigit() for character in words)
    return not (is_quoted and " " in words)


def _is_quoted(line: str, at: int) -> bool:
    """Whether a line quotes something there; a quotation may be cut before its end."""
    quotes = [found.start() for found in _QUOTE.finditer(line)]
    last = quotes[-1] if quotes and len(quotes) % 2 == 0 else len(line)
    return bool(quotes) and quotes[0] <= at <= last


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
