"""Decide which values of headers and queries are secrets: by their name, or by their characters.

A secret is masked everywhere in the log. So an ordinary word or a date must not be masked.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, quote, urlsplit

_SENSITIVE = ("auth", "bearer", "cookie", "credential", "jwt", "key", "pass", "secret", "session", "sig", "token")
_HARMLESS = frozenset(
    {"accept", "accept-encoding", "accept-language", "cache-control", "connection", "content-type", "user-agent"}
)
_RANDOM_LENGTH = 20


def is_sensitive(name: str) -> bool:
    """Whether the name marks its value as a secret.

    Airflow's own list of names is part of this one.
    """
    return any(word in name.lower() for word in _SENSITIVE)


def looks_random(word: str) -> bool:
    """Whether a word of 20 or more characters has letters and digits, or letters of both cases.

    Keys and tokens do. Ids and times also do, but a log seldom contains them, so their masks do
    little harm.
    """
    has_letters_and_digits = re.search("[A-Za-z]", word) and re.search("[0-9]", word)
    return len(word) >= _RANDOM_LENGTH and bool(has_letters_and_digits or word not in (word.lower(), word.upper()))


def secrets_in_header(name: str, value: str, *, of_connection: bool = False) -> Iterator[str]:
    """The secrets in a header.

    The whole value is a secret if the name marks it, or if the header comes from a connection.
    Otherwise its random words are secrets. So is the login that basic auth encodes.
    """
    if name.lower() in _HARMLESS:
        return
    if of_connection or is_sensitive(name):
        yield value
        yield value.partition(" ")[2]  # behind "Bearer" or "Basic"
        yield from _decoded_login(value)
    yield from filter(looks_random, re.split(r"[\s,;=]+", value))


def secrets_in_login(user: str, password: str) -> Iterator[str]:
    """The secrets in a login: the password, and both as basic auth sends them.

    A login without a password is a token.
    """
    if not user and not password:
        return
    yield password or user
    for encoding in ("latin-1", "utf-8"):
        yield base64.b64encode(f"{user}:{password}".encode(encoding, "replace")).decode()


def secrets_in_query(url: str) -> Iterator[str]:
    """The secrets in a URL's query, such as a signature."""
    for name, value in parse_qsl(urlsplit(url).query):
        if is_sensitive(name):
            yield from {value, quote(value, safe=""), quote(value)}


def _decoded_login(header: str) -> Iterator[str]:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return
    try:
        user, _, password = base64.b64decode(encoded).decode().partition(":")
    except ValueError:  # not base64, or not text
        return
    yield password or user
