"""Find known values in a line: whole ones, and the parts of them that programs quote.

Values and lines are compared without their escapes. A value that is found whole is hidden. A part
of it, from MIN_VALUE characters on, is hidden if it is not an ordinary word: programs quote pieces
of what they could not read, but a word of the error may stand in a value by chance.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from urllib.parse import unquote_plus

from airflow_script_provider.kube.causes.patterns import compiled_later
from airflow_script_provider.kube.hiding.escapes import Span, unescaped, with_places

MIN_VALUE = 5
"""Characters from which a value or a part of it is found: shorter ones are in any text."""

_MIN_FORM = MIN_VALUE - 1
"""Characters from which it is found without its escapes."""
_CACHED = 1 << 14

# Values may be long, so each pattern looks only so far.
_MAX_PARTS = 128 * 1024
"""Characters of values whose parts are found, the shortest first: passwords are short."""
# Behind a user, which may be an address of mail. A further URL may follow on the same line.
_LOGIN = compiled_later(r"(?<=://)[^\s/?#:]*:(?!//)((?:(?!://).){1,256})@")
_MAX_SIGNS = 8
"""At signs of a login of which each may end the password."""
# What follows a name such as password=. The first class keeps the search fast.
_NAMED_SECRET = compiled_later(
    r"""[pstkacPSTKAC](?i:(?<=p)(?:ass|wd)|(?<=s)(?:ecret|ig)|(?<=t)oken|(?<=k)ey|(?<=a)uth|(?<=c)red)
    [\w-]{0,32}+["']?\s*+[=:]\s*+("[^"]+"|'[^']+'|[^\s&;,]+)""",
    re.VERBOSE,
)
# The host of a URL is no secret. Where an @ comes later, it may be a part of a password.
_HOST = compiled_later(r"(://(?:[^\s/?#]*@)?)[\w.-]+(?::\d{1,5})?(?=[/?#,;\s]|$)(?!\S{0,256}@)")
_OF_WORDS = compiled_later(r"[\s./]")

ERROR_NAME = compiled_later(r"(?:[A-Za-z_]\w*\.)*_*[A-Z]\w*(?:Error|Exception|Interrupt|Exit)\b(?=:|$)")
# A name, perhaps with a digit at the end as in psycopg2; a date or a time.
_NAME = compiled_later(
    r"""(?<!\w)(?:[^\W\d]{1,40}\d?|(?:19|20)\d\d-?\d\d-?\d\d(?:[T ]\d\d:\d\d(?::\d\d)?)?
    |\d\d:\d\d(?::\d\d)?)(?!\w)""",
    re.VERBOSE,
)
# Letters of one case, perhaps with a digit at the end; the name of an error; or anything short.
_PLAIN_WORD = compiled_later(r"[A-Z]?[a-z]{1,15}\d?|[A-Z]{1,16}|[A-Z][A-Za-z]{1,40}(?:Error|Exception)|[^\W_]{1,4}")
_BETWEEN_WORDS = compiled_later(r"[\s./:,+_-]+")
_STRETCH = compiled_later(r"[^\s:=,;'\"].{3,}[^\s:=,;'\"]")
_WORD_BEFORE = compiled_later(r"[^\W_]*$")
_WORD_AFTER = compiled_later(r"[^\W_]*")
# An apostrophe in a word is no quotation mark; one behind the prefix of a literal is.
_QUOTE = compiled_later(r"""(?<![^\W_])(?:[bBuUrRfF]{1,2}|[EN])?['"`‘’“”]|['"`‘’“”](?![^\W_])""")


class KnownValues:
    """Values, as they are sought in lines."""

    def __init__(self, values: Iterable[str]) -> None:
        known = list(dict.fromkeys(values))
        passwords = list(dict.fromkeys(password for value in known for password in _passwords(value)))
        parted = list(_shortest(known))
        self._forms = _forms([*known, *passwords])
        self._lengths: dict[str, int] = {}
        """The length of the longest form that begins so."""
        for form in self._forms:
            start = form[:_MIN_FORM]
            self._lengths[start] = max(len(form), self._lengths.get(start, 0))
        opaque = [value for value in parted if not _OF_WORDS.search(value)]
        self._is_opaque = _is_part_of([*opaque, *_shortest(passwords)])
        self._is_worded = _is_part_of(_HOST.sub(r"\1\n", value) for value in parted if _OF_WORDS.search(value))

    def without_values(self, line: str, mask: str, *, is_cut: bool = False) -> str:
        """The line with a mask in the place of whole values, which may overlap.

        ``is_cut`` says that the line went on: then a value at its end may go on as well.
        """
        text, places = with_places(line)
        found = self._values_in(text, is_cut=is_cut)
        return _masked(line, places, [self._grown(text, *span) for span in found], mask)

    def without_parts(self, line: str, mask: str) -> str:
        """The line with a mask in the place of parts of values that are not ordinary words."""
        text, places = with_places(line)
        quotation = _quotation(line)
        found = [
            (first, last)
            for first, last in self._parts_in(text)
            if not self._is_ordinary(text, first, last, is_quoted=places[first][0] in quotation)
        ]
        return _masked(line, places, found, mask)

    def has_value_in(self, line: str) -> bool:
        """Whether a line has a whole value."""
        return any(self._values_in(unescaped(line), is_cut=False))

    def _values_in(self, text: str, *, is_cut: bool) -> Iterator[Span]:
        for at in range(len(text) - _MIN_FORM + 1):
            longest = self._lengths.get(text[at : at + _MIN_FORM])
            if longest is None:
                continue
            if is_cut and at + longest > len(text) and self._has_start(text[at:]):
                yield at, len(text)
            elif form := self._form_of(text[at : at + longest]):
                yield at, at + len(form)

    def _form_of(self, text: str) -> str:
        """The longest form with which a text begins; empty if there is none."""
        forms, shorter = self._sorted
        at = bisect_right(forms, text) - 1  # the last one that can be, or one that begins with it
        form = forms[at] if at >= 0 else ""
        while not text.startswith(form):
            form = shorter[form]
        return form

    def _has_start(self, start: str) -> bool:
        forms, _ = self._sorted
        at = bisect_left(forms, start)
        return at < len(forms) and forms[at].startswith(start)

    @cached_property
    def _sorted(self) -> tuple[list[str], dict[str, str]]:
        """The forms in their order, and with which shorter form each of them begins."""
        forms, shorter, around = sorted(self._forms), {}, [""]
        for form in forms:
            while not form.startswith(around[-1]):
                around.pop()
            shorter[form] = around[-1]
            around.append(form)
        return forms, shorter

    def _grown(self, text: str, first: int, last: int) -> Span:
        """A value with the rest of a longer one around it that is too short to be found."""
        for _ in range(MIN_VALUE - 1):
            if first > 0 and text[first - 1].isalnum() and self._has(text[first - 1 : first - 1 + MIN_VALUE]):
                first -= 1
            if text[last : last + 1].isalnum() and self._has(text[last + 1 - MIN_VALUE : last + 1]):
                last += 1
        return first, last

    def _has(self, part: str) -> bool:
        return self._is_opaque(part) or self._is_worded(part)

    def _parts_in(self, text: str) -> Iterator[Span]:
        """Where a text has parts of values, after the name of its error.

        A name, a date or a time that only shares characters with a value is not a part of it.
        """
        error = ERROR_NAME.match(text)
        marks = [False] * len(text)
        for at in range(error.end() if error else 0, len(text) - MIN_VALUE + 1):
            if self._has(text[at : at + MIN_VALUE]):
                marks[at : at + MIN_VALUE] = [True] * MIN_VALUE
        for name in _NAME.finditer(text):
            if any(marks[name.start() : name.end()]) and not self._has(name[0]):
                marks[name.start() : name.end()] = [False] * len(name[0])
        shown = "".join(character if mark else "\n" for character, mark in zip(text, marks, strict=True))
        yield from (stretch.span() for stretch in _STRETCH.finditer(shown))

    def _is_ordinary(self, text: str, first: int, last: int, *, is_quoted: bool) -> bool:
        """Whether a part of a value is a word of the error itself, or names a path or a host.

        A quotation is not the error's own, so only words of a path, a URL or a sentence stay in
        it.
        """
        before, after = _WORD_BEFORE.search(text[:first]), _WORD_AFTER.match(text[last:])
        words = (before[0] if before else "") + text[first:last] + (after[0] if after else "")
        words = re.sub(r"^[\W_]+|[\W_]+$", "", words)
        if not all(map(_PLAIN_WORD.fullmatch, _BETWEEN_WORDS.split(words))):
            return False
        if any(self._is_opaque(text[at : at + MIN_VALUE]) for at in range(first, last - MIN_VALUE + 1)):
            return not is_quoted and not any(character.isdigit() for character in words)
        return not (is_quoted and " " in words)


def _passwords(value: str) -> Iterator[str]:
    """The passwords in a value, also as a program has them that decodes a URL."""
    decoded = unquote_plus(value) if "%" in value else value
    for login in _LOGIN.finditer(value if "://" in value else decoded):
        parts = login[1].split("@", _MAX_SIGNS)
        yield from ("@".join(parts[:count]) for count in range(1, len(parts) + 1))
    for text in {value, decoded}:
        yield from (secret.strip("\"'") for secret in _NAMED_SECRET.findall(text))


def _shortest(values: Iterable[str]) -> Iterator[str]:
    """The values, the shortest first, as many as have their parts found."""
    size = 0
    for value in sorted(set(values), key=lambda value: (len(value), value)):
        size += len(value)
        if size > _MAX_PARTS:
            return
        yield value


def _forms(values: Iterable[str]) -> set[str]:
    """The values and their lines, without escapes. That may take a character of the shortest."""
    texts = {text for value in values for text in (value, *value.splitlines()) if len(text) >= MIN_VALUE}
    forms = {form for text in map(unescaped, texts) for form in (text, text.strip())}
    return {form for form in forms if len(form) >= _MIN_FORM}


def _is_part_of(values: Iterable[str]) -> Callable[[str], bool]:
    """Whether a text is a part of one of these values. Failures of several nodes are alike."""
    text = "\0".join(sorted(unescaped(value) for value in values))
    return lru_cache(maxsize=_CACHED)(lambda part: part in text)


def _quotation(line: str) -> range:
    """Where a line quotes something; a quotation may be cut before its end."""
    quotes = [found.start() for found in _QUOTE.finditer(line)]
    if not quotes:
        return range(0)
    return range(quotes[0], quotes[-1] if len(quotes) % 2 == 0 else len(line))


def _masked(line: str, places: Sequence[Span], spans: Iterable[Span], mask: str) -> str:
    """The line with a mask in the place of spans of its text without escapes."""
    kept, end = "", 0
    for first, last in sorted((places[first][0], places[last - 1][1]) for first, last in spans):
        if first >= end:
            kept += line[end:first] + mask
        end = max(end, last)
    return kept + line[end:]
