"""The session for a web server: a connection's settings, and its login for its own server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from airflow_script_provider import _airflow
from airflow_script_provider.sources.base import permanent_error
from airflow_script_provider.sources.web.sensitive import secrets_in_header, secrets_in_login, secrets_in_query
from airflow_script_provider.sources.web.url import (
    is_html,
    is_over_tls,
    is_same_server,
    is_url,
    redacted,
    without_login,
)

if TYPE_CHECKING:
    from requests import PreparedRequest, Session

    from airflow_script_provider.sources.http import HttpScript


@dataclass(frozen=True, repr=False)
class HttpAccess:
    """A session for the request, its URL, and in words the identity that it uses."""

    session: Session
    url: str
    identity: str
    secrets: tuple[str, ...]
    takes_html: bool = False

    @classmethod
    def of(cls, source: HttpScript) -> HttpAccess:
        """Look up the source's connection, and make its session."""
        import requests

        connection = _connection(source)
        if connection is None:
            session, base = requests.Session(), None
        else:
            session, base = _session_of(connection, source)
        url, login = without_login(_full_url(source, base))
        _refuse_other_server(source, connection, base, url)
        if login is not None:
            session.auth = login
        session.headers["Accept-Encoding"] = "identity"
        session.headers.update(source.headers or {})
        session.auth = session.auth or unchanged  # without auth, requests reads ~/.netrc
        if source.verify is not None:
            session.verify = source.verify
        takes_html = source._takes_html or is_html(unquote(urlsplit(url).path))
        access = cls(session, url, _identity(session, connection), tuple(_secrets(session, url, source)), takes_html)
        _airflow.mask_values(access.secrets)
        return access

    @property
    def origin(self) -> str:
        """The URL without credentials."""
        return redacted(self.url)

    def __enter__(self) -> HttpAccess:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()


def _connection(source: HttpScript) -> Any:
    try:
        return _airflow.find_connection(source.conn_id, None)
    except _airflow.AirflowNotFoundException:
        message = f"{source} cannot be read: connection {source.conn_id!r} is not defined"
        raise permanent_error(message, str(source)) from None


def _session_of(connection: Any, source: HttpScript) -> tuple[Session, str | None]:
    """The session that providers-http makes for a connection, and the URL of its host."""
    hook = _airflow.http_hook_class()(method=source.method, http_conn_id=source.conn_id)
    try:
        session: Session = hook.get_conn()
        base = hook.url_from_endpoint("") if connection.host else None
        _ = urlsplit(base).port
    except ValueError:  # its text may have a part of a password
        message = f"{source} cannot be requested: connection {source.conn_id!r} has no valid URL; check host and extra"
        raise permanent_error(message, str(source)) from None
    if connection.password and not connection.login:
        session.headers.setdefault("Authorization", f"Bearer {connection.password}")
    return session, base


def _full_url(source: HttpScript, base: str | None) -> str:
    uri = source.uri.strip()
    if not is_url(uri):
        base = source.endpoint or base
        if not base or not is_url(base):
            raise permanent_error(
                f"{source} is not a full URL and has no host; "
                "write http(s)://…, or set endpoint, or a conn_id whose connection has a host",
                str(source),
            )
        uri = f"{base.rstrip('/')}/{uri.lstrip('/')}"
    try:
        parts = urlsplit(uri)
        _ = parts.port  # ValueError if it is not a number
    except ValueError:
        message = f"{redacted(uri)} is not a valid URL: it has no valid host"
        raise permanent_error(message, redacted(uri)) from None
    return urlunsplit(parts._replace(fragment=""))


def _refuse_other_server(source: HttpScript, connection: Any, base: str | None, url: str) -> None:
    """Refuse a URL on another server: only the connection's own may get its login.

    A connection without a scheme means http, and its server is as well reached by https.
    """
    if base is None or is_same_server(base, url):
        return
    names_scheme = "://" in connection.host or connection.schema
    if names_scheme or not is_over_tls(base, url):
        server = redacted(urlunsplit(urlsplit(base)._replace(path="", query="", fragment="")))
        raise permanent_error(
            f"{redacted(url)} is on another server than connection {source.conn_id!r} ({server}), and must not get "
            "its login; use a connection with that scheme, host and port, or none",
            redacted(url),
        )


def _identity(session: Session, connection: Any) -> str:
    owner = f" of connection {connection.conn_id!r}" if connection is not None else ""
    user, password = _login(session)
    if user:  # a login without a password is a token
        named = f"user {user!r}" if password else "the login without a password"
        return f"{named} in the URL" if isinstance(session.auth, tuple) else f"{named}{owner}"
    if "Authorization" in session.headers:
        return f"the Authorization header{owner}"
    return f"an anonymous user (no login{owner})"


def _login(session: Session) -> tuple[str, str]:
    """User and password of the URL or of the connection; empty if neither has them."""
    auth = session.auth
    pair = auth if isinstance(auth, tuple) else (getattr(auth, "username", ""), getattr(auth, "password", ""))
    return str(pair[0] or ""), str(pair[1] or "")


def _secrets(session: Session, url: str, source: HttpScript) -> Iterator[str]:
    """The secrets: the login, the connection's headers, secret headers, and a URL's signature."""
    own = {name.lower() for name in source.headers or {}}
    yield from secrets_in_login(*_login(session))
    for name, value in session.headers.items():
        yield from secrets_in_header(name, header_text(value), of_connection=name.lower() not in own)
    yield from secrets_in_query(url)


def header_text(value: object) -> str:
    """The value of a header, which may be bytes."""
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def unchanged(request: PreparedRequest) -> PreparedRequest:
    """The login of a session that has none."""
    return request
