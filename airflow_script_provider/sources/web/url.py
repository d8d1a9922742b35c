"""URLs: remove secrets from them, and compare their servers."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit, urlunsplit

_SCHEMES = ("http://", "https://")
_AFTER_A_USER = re.compile("[^/]@")
"""In a path: the sign before a host, or in a name. A segment that begins with it is a scope."""
_HTML = (".html", ".htm", ".xhtml")


def is_url(uri: str) -> bool:
    """Whether the text is a full http(s) URL."""
    return isinstance(uri, str) and uri.strip().lower().startswith(_SCHEMES)


def redacted(url: str) -> str:
    """The URL for a log: without login, query and fragment, which may be a signature."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return f"{url.partition('://')[0]}://…"
    netloc = parts.netloc.rpartition("@")[2]
    _, colon, port = netloc.rpartition(":")
    if colon and netloc == parts.netloc and not (port.isdigit() or port.endswith("]")) and "{" not in netloc:
        return f"{parts.scheme}://…"  # the part before a slash in a password is not a host
    if _AFTER_A_USER.search(parts.path) and "." not in netloc:
        return f"{parts.scheme}://…"  # nor may be that before a slash in a user or a token
    return urlunsplit((parts.scheme, netloc, parts.path, "", "")) + ("?…" if parts.query else "")


def without_login(url: str) -> tuple[str, tuple[str, str] | None]:
    """The URL without its ``user:password@``, and user and password."""
    parts = urlsplit(url)
    login, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, None
    user, _, password = login.partition(":")
    return urlunsplit(parts._replace(netloc=host)), (unquote(user), unquote(password))


def is_html(path: str) -> bool:
    """Whether the path has an extension of HTML, perhaps before another one (``mail.html.j2``)."""
    return not {suffix.lower() for suffix in PurePosixPath(path).suffixes}.isdisjoint(_HTML)


def is_same_server(url: str, target: str) -> bool:
    """Whether the target may get the URL's login: scheme, host and port are the same."""
    return _server(url) == _server(target)


def is_over_tls(url: str, target: str) -> bool:
    """Whether the target is the URL with https in the place of http, on the same host and port."""
    here, there = urlsplit(url), urlsplit(target)
    schemes = (here.scheme, there.scheme)
    return schemes == ("http", "https") and (here.hostname, here.port) == (there.hostname, there.port)


def _server(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
