"""URLs: remove secrets from them, and compare their servers."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit, urlunsplit

_SCHEMES = ("http://", "https://")


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
    return urlunsplit((parts.scheme, netloc, parts.path, "", "")) + ("?…" if parts.query else "")


def without_login(url: str) -> tuple[str, tuple[str, str] | None]:
    """The URL without its ``user:password@``, and user and password."""
    parts = urlsplit(url)
    login, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, None
    user, _, password = login.partition(":")
    return urlunsplit(parts._replace(netloc=host)), (unquote(user), unquote(password))


def is_same_host(url: str, target: str) -> bool:
    """Whether the target may get the URL's credentials: the same server, or its TLS port."""
    here, there = urlsplit(url), urlsplit(target)
    servers = [(part.hostname, part.port or {"http": 80, "https": 443}[part.scheme]) for part in (here, there)]
    to_tls = (here.scheme, servers[0][1], there.scheme, servers[1][1]) == ("http", 80, "https", 443)
    same_server = servers[0] == servers[1] and here.scheme == there.scheme
    return same_server or (here.hostname == there.hostname and to_tls)
