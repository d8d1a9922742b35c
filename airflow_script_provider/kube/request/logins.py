"""User names and passwords in the URLs of requirements."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from urllib.parse import unquote

_LOGIN = re.compile(r"//([^/\s]+)@")


def logins_in(texts: Iterable[str]) -> list[str]:
    """User and password of the URLs in these texts, as they stand there, and the passwords alone, decoded too."""
    logins = [login for text in texts for login in _LOGIN.findall(str(text))]
    passwords = [login.partition(":")[2] for login in logins]
    return [word for word in dict.fromkeys([*logins, *passwords, *map(unquote, passwords)]) if word]


def without_logins(lines: Sequence[str]) -> list[str]:
    """The requirements as they may be told: the same for every password of their URLs."""
    return [_LOGIN.sub("//", str(line)) for line in lines]
