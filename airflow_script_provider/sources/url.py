"""URLs: what may be shown of them, and which are of one server."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit, urlunsplit

_SCHEMES = ("http://", "https://")


def is_url(uri: str) -> bool:
    """Whether the text is a full URL of http(s)."""
    return isinstance(uri, str) and uri.strip().lower().startswith(_SCHEMES)


def shown(url: str) -> str:
    """A URL fit for a log: without login, query and fragment, which may be a signature."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return f"{url.partition('://')[0]}://…"
    netloc = parts.netloc.rpartition("@")[2]
    _, colon, port = netloc.rpartition(":")
    if colon and netloc == parts.netloc and not (port.isdigit() or port.endswith("]")) and "{" not in netloc:
        return f"{parts.scheme}://…"  # a password with a slash in it is no host
    return urlunsplit((parts.scheme, netloc, parts.path, "", "")) + ("?…" if parts.query else "")


def without_login(url: str) -> tuple[str, tuple[str, str] | None]:
    """A URL without its ``user:password@``, and those."""
    parts = urlsplit(url)
    login, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, None
    user, _, password = login.partition(":")
    return urlunsplit(parts._replace(netloc=host)), (unquote(user), unquote(password))


def is_same_host(url: str, target: str) -> bool:
    """Whether credentials for the one may be sent to the other: the same server, or its TLS side."""
    here, there = urlsplit(url), urlsplit(target)
    places = [(part.hostname, part.port or {"http": 80, "https": 443}[part.scheme]) for part in (here, there)]
    to_tls = (here.scheme, places[0][1], there.scheme, places[1][1]) == ("http", 80, "https", 443)
    same_place = places[0] == places[1] and here.scheme == there.scheme
    return same_place or (here.hostname == there.hostname and to_tls)
