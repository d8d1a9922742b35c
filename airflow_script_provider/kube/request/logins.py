"""User names and passwords in the URLs of requirements."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from urllib.parse import unquote

_LOGIN = re.compile(r"//([^/\s]+)@")


def logins_in(texts: Iterable[str]) -> list[str]:
    """The logins in the URLs of these texts, as written, and their passwords.

    A password is listed as written and decoded.
    """
    logins = [login for text in texts for login in _LOGIN.findall(str(text))]
    passwords = [login.partition(":")[2] for login in logins]
    return [word for word in dict.fromkeys([*logins, *passwords, *map(unquote, passwords)]) if word]


def without_logins(lines: Sequence[str]) -> list[str]:
    """The requirements without the logins of their URLs: a new password changes nothing."""
    return [_LOGIN.sub("//", str(line)) for line in lines]
