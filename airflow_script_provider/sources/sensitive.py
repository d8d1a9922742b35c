"""Which values of headers and queries are secrets: by the name they stand under, else by their looks.

A secret is masked wherever it stands in the log, so an ordinary word or a date must not be taken for one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_SENSITIVE = ("auth", "bearer", "cookie", "credential", "jwt", "key", "pass", "secret", "session", "sig", "token")
_HARMLESS = frozenset(
    {"accept", "accept-encoding", "accept-language", "cache-control", "connection", "content-type", "user-agent"}
)
_RANDOM_LENGTH = 20


def is_sensitive(name: str) -> bool:
    """Whether the name says that its value is a secret; Airflow's own list of names is part of this one."""
    return any(word in name.lower() for word in _SENSITIVE)


def looks_random(word: str) -> bool:
    """Whether the word is 20 characters or longer and has letters and digits, or letters of both cases.

    Keys and tokens do; of what else does (an id, a time) a log tells little, so that its mask hides nothing else.
    """
    has_letters_and_digits = re.search("[A-Za-z]", word) and re.search("[0-9]", word)
    return len(word) >= _RANDOM_LENGTH and bool(has_letters_and_digits or word not in (word.lower(), word.upper()))


def secrets_in_header(name: str, value: str, *, of_connection: bool = False) -> Iterator[str]:
    """What of a header must not be seen: all of it where its name says so or a connection has it, else random words."""
    if name.lower() in _HARMLESS:
        return
    if of_connection or is_sensitive(name):
        yield value
        yield value.partition(" ")[2]  # behind "Bearer" or "Basic"
    yield from filter(looks_random, re.split(r"[\s,;=]+", value))
