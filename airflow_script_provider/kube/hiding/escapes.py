"""Texts without escapes, so that a value is found however a program shows it.

A program may show a value as it is, as a literal of Python, JSON or a shell, as a part of a URL,
or as one of these in another. Here all of them become the same text: escapes are replaced by what
they stand for, other backslashes are dropped, and white space, also the plus of a URL, is one
space. Apostrophes in a row are one: so shells and SQL write one in what they quote.
"""

from __future__ import annotations

import re

from airflow_script_provider.kube.causes.patterns import compiled_later

Span = tuple[int, int]

_ROUNDS = 4
"""Escapes in escapes that are read."""
# The first class keeps the search fast. Backslashes may stand before others.
_ESCAPED = compiled_later(
    r"""[%\\+\s'](?:
        (?<=%)(?P<percent>[0-9A-Fa-f]{2}(?:%[0-9A-Fa-f]{2})*)
        |(?<=\\)\\*(?:(?P<hex>x[0-9A-Fa-f]{2}(?:\\+x[0-9A-Fa-f]{2})*)|(?P<octal>[0-3][0-7]{2}(?:\\+[0-3][0-7]{2})*)
            |(?P<units>u[0-9A-Fa-f]{4}(?:\\+u[0-9A-Fa-f]{4})*)|U(?P<code>000[0-9A-Fa-f]{5})|(?P<control>[abfnrtv])|)
        |(?<=\s)\s+|(?<=[^\S\ ])|(?<=\+)
        |(?<=')(?P<apostrophe>(?:\\*'|\\*"\\*'\\*"\\*')+))""",
    re.VERBOSE,
)
_HEX, _OCTAL = compiled_later(r"[0-9A-Fa-f]{2}"), compiled_later(r"[0-7]{3}")


def unescaped(text: str) -> str:
    """A text without escapes, in the form in which texts are compared."""
    for _ in range(_ROUNDS):
        text, count = _ESCAPED.subn(_decoded, text)
        if not count:
            break
    return text


def with_places(line: str) -> tuple[str, list[Span]]:
    """A line without escapes, and where each of its characters stands in the line."""
    text, places = line, [(at, at + 1) for at in range(len(line))]
    for _ in range(_ROUNDS):
        for found in reversed(list(_ESCAPED.finditer(text))):
            (first, last), decoded = found.span(), _decoded(found)
            text = text[:first] + decoded + text[last:]
            places[first:last] = [(places[first][0], places[last - 1][1])] * len(decoded)
    return text, places


def _decoded(found: re.Match[str]) -> str:
    """What an escape stands for: bytes of UTF-8 or Latin-1, units of UTF-16, or a single sign."""
    if octal := found["octal"]:
        return _of_bytes(bytes(int(digits, 8) for digits in _OCTAL.findall(octal)))
    if digits := found["percent"] or found["hex"]:
        return _of_bytes(bytes.fromhex("".join(_HEX.findall(digits))))
    if units := found["units"]:
        return bytes.fromhex("".join(_HEX.findall(units))).decode("utf-16-be", "replace")
    if code := found["code"]:
        return chr(int(code, 16))
    if found["apostrophe"]:
        return "'"
    return " " if found["control"] or found[0][0] != "\\" else ""


def _of_bytes(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")
