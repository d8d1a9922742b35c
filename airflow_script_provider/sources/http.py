"""A script that an HTTP server returns."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote, urljoin, urlsplit, urlunsplit

from airflow_script_provider import _airflow
from airflow_script_provider.exceptions import ScriptSourceError
from airflow_script_provider.kube.durations import Duration, positive_seconds
from airflow_script_provider.kube.request.sizes import MAX_CONFIG_MAP
from airflow_script_provider.script import Script
from airflow_script_provider.sources.base import CHUNK, collect, decode, permanent_error, too_large_error, with_retries
from airflow_script_provider.sources.network import network_failure
from airflow_script_provider.sources.sensitive import is_sensitive, secrets_in_header
from airflow_script_provider.sources.url import is_same_host, is_url, redacted, without_login
from airflow_script_provider.spec.settings import as_number, has_template

if TYPE_CHECKING:
    from requests import PreparedRequest, Response, Session

_MAX_REDIRECTS = 5
_EXCERPT = 200
_REPEATABLE = ("GET", "HEAD")
_METHODS = (*_REPEATABLE, "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_COMPLETE = (200, 201, 203)
_TRANSIENT = (408, 425, 429)


@dataclass(repr=False)
class HttpScript:
    """A script that an HTTP server returns.

    :param uri: full URL, or a path on ``endpoint`` or on the connection's host. (templated)
    :param conn_id: HTTP connection. Login and password are basic auth, a password alone is a
        bearer token, and the fields of its extra are headers. None sends no credentials.
        (templated)
    :param endpoint: URL that a relative ``uri`` continues. A full ``uri`` must be on the same
        server. (templated)
    :param method: method of the request. Only GET and HEAD are repeated after an error.
        (templated)
    :param headers: further headers. They are never shown, and their secrets are masked in the log.
        (templated)
    :param timeout: seconds for one attempt. (templated)
    :param verify: path of a CA bundle, or False to skip the check of the certificate. The default
        is the connection's extra, then the system's CA bundle.
    """

    uri: str
    conn_id: str | None = None
    endpoint: str | None = None
    method: str = "GET"
    headers: Mapping[str, str] | None = None
    timeout: Duration | str = 30
    verify: bool | str | None = None
    template_fields: Sequence[str] = ("uri", "conn_id", "endpoint", "method", "headers", "timeout")

    def __post_init__(self) -> None:
        if not has_template(self.timeout):
            _seconds(self.timeout)
        if not has_template(self.method):
            _known_method(self.method)
        if not has_template(self.uri) and not has_template(self.endpoint):
            _refuse_other_endpoint(self.uri, self.endpoint)

    def fetch(self, *, folder: str | None = None) -> Script:
        """Request the script and follow redirects. Another host gets no credentials."""
        self._mask_headers()
        try:
            method, timeout = _known_method(self.method), _seconds(self.timeout)
            _refuse_other_endpoint(self.uri, self.endpoint)
        except ValueError as error:
            raise permanent_error(f"{self} cannot be requested: {error}", str(self)) from None
        with _HttpAccess.of(self) as access:
            once = partial(_read, access, method, timeout)
            return with_retries(once) if method in _REPEATABLE else once()

    def _mask_headers(self) -> None:
        headers = {name: str(value) for name, value in (self.headers or {}).items()}
        _airflow.mask_by_name(headers)
        _airflow.mask_values(word for header in headers.items() for word in secrets_in_header(*header))

    def __str__(self) -> str:
        if is_url(self.uri):
            return redacted(self.uri.strip())
        owner = f" of connection {self.conn_id!r}" if self.conn_id else ""
        return f"{self.uri.partition('?')[0]}{f' on {redacted(self.endpoint)}' if self.endpoint else owner}"

    __repr__ = __str__


@dataclass(frozen=True, repr=False)
class _HttpAccess:
    """A session for the request, its URL, and in words the identity that it uses."""

    session: Session
    url: str
    identity: str
    secrets: tuple[str, ...]

    @classmethod
    def of(cls, source: HttpScript) -> _HttpAccess:
        """Look up the source's connection, and make its session."""
        import requests

        connection = _connection(source)
        if connection is None:
            session, base = requests.Session(), None
        else:
            session, base = _session_of(connection, source)
        url, login = without_login(_full_url(source, base))
        _refuse_other_host(source, base, url)
        if login is not None:
            session.auth = login
        session.headers["Accept-Encoding"] = "identity"
        session.headers.update(source.headers or {})
        session.auth = session.auth or _unchanged  # without auth, requests reads ~/.netrc
        if source.verify is not None:
            session.verify = source.verify
        access = cls(session, url, _identity(session, connection), tuple(_secrets(session, url, source)))
        _airflow.mask_values(access.secrets)
        return access

    @property
    def origin(self) -> str:
        """The URL without credentials."""
        return redacted(self.url)

    def __enter__(self) -> _HttpAccess:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()


def _known_method(method: str) -> str:
    if method.strip().upper() not in _METHODS:
        raise ValueError(f"method={method!r} must be one of {', '.join(_METHODS)}")
    return method.strip().upper()


def _seconds(timeout: Duration | str) -> float:
    number = as_number(timeout)
    positive_seconds(number, "timeout")
    return number.total_seconds() if isinstance(number, timedelta) else float(number)


def _refuse_other_endpoint(uri: str, endpoint: str | None) -> None:
    """Refuse an endpoint on another server than the full URL: it is unclear which one is meant."""
    if not endpoint or not is_url(uri):
        return
    base = endpoint if is_url(endpoint) else f"{uri.strip().partition('://')[0]}://{endpoint}"
    if not _is_one_server(base.strip(), uri.strip()):
        raise ValueError(
            f"uri={redacted(uri)!r} is on another server than endpoint={redacted(base)!r}; "
            "leave out endpoint, or write uri as a path on it"
        )


def _is_one_server(url: str, other: str) -> bool:
    try:
        return is_same_host(url, other)
    except ValueError:  # a port that is not a number
        return False


def _connection(source: HttpScript) -> Any:
    try:
        return _airflow.find_connection(source.conn_id, None)
    except _airflow.AirflowNotFoundException:
        message = f"{source} cannot be read: connection {source.conn_id!r} is not defined"
        raise permanent_error(message, str(source)) from None


def _session_of(connection: Any, source: HttpScript) -> tuple[Session, str | None]:
    """The session that providers-http makes for a connection, and the URL of its host."""
    hook = _airflow.http_hook_class()(method=source.method, http_conn_id=source.conn_id)
    session: Session = hook.get_conn()
    if connection.password and not connection.login:
        session.headers.setdefault("Authorization", f"Bearer {connection.password}")
    return session, hook.url_from_endpoint("") if connection.host else None


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


def _refuse_other_host(source: HttpScript, base: str | None, url: str) -> None:
    """Refuse a URL on another host: only the connection's own host may get its login."""
    host = urlsplit(base).hostname if base else None
    if host and host != urlsplit(url).hostname:
        raise permanent_error(
            f"{redacted(url)} is on another host than connection {source.conn_id!r} ({host}), and must not get its "
            "login; use a connection for that host, or none",
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
    user, password = _login(session)
    own = {name.lower() for name in source.headers or {}}
    yield from (word for word in (password or user,) if word)
    for name, value in session.headers.items():
        text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
        yield from secrets_in_header(name, text, of_connection=name.lower() not in own)
    for name, value in parse_qsl(urlsplit(url).query):
        if is_sensitive(name):
            yield from {value, quote(value, safe=""), quote(value)}


def _unchanged(request: PreparedRequest) -> PreparedRequest:
    return request


def _read(access: _HttpAccess, method: str, timeout: float) -> Script:
    until = time.monotonic() + timeout
    error: ScriptSourceError | None = None
    try:
        with _final_response(access, method, timeout) as response:
            data = _body(response, access, until)
            etag = response.headers.get("ETag")
    except ScriptSourceError:
        raise
    except (OSError, ValueError) as failure:  # every error of requests is an OSError
        error = _source_error(failure, access)
    except Exception as failure:
        if not type(failure).__module__.startswith("urllib3"):
            raise
        error = _source_error(failure, access)
    if error is not None:
        raise error  # outside of the handler: a context would contain the whole URL
    name = PurePosixPath(unquote(urlsplit(access.url).path)).name or "script"
    return decode(data, origin=access.origin, name=name, details=f"ETag {etag}" if etag else "")


def _final_response(access: _HttpAccess, method: str, timeout: float) -> Response:
    """The response after all redirects. Another host gets neither credentials nor our headers."""
    session, url = access.session, access.url
    for _ in range(_MAX_REDIRECTS + 1):
        response = session.request(
            method, url, timeout=timeout, allow_redirects=False, stream=True, verify=session.verify
        )
        target = session.get_redirect_target(response)
        if target is None:
            return response
        response.close()
        target = urljoin(url, target)
        _refuse_downgrade(url, target, access)
        if not is_same_host(url, target):
            session = _without_credentials(session)
        if response.status_code in (301, 302, 303) and method != "HEAD":
            method = "GET"
        url = target
    raise permanent_error(f"{access.origin} redirects more than {_MAX_REDIRECTS} times", access.origin)


def _refuse_downgrade(url: str, target: str, access: _HttpAccess) -> None:
    if not is_url(target) or (url.lower().startswith("https:") and target.lower().startswith("http:")):
        rule = "only http(s) is followed, and from https only https"
        message = f"{access.origin} redirects to {redacted(target)}; {rule}"
        raise permanent_error(message, access.origin)


def _without_credentials(session: Session) -> Session:
    """A new session with the same TLS settings and proxies, and nothing else."""
    import requests

    other = requests.Session()
    other.verify, other.proxies, other.trust_env = session.verify, session.proxies, session.trust_env
    other.auth = _unchanged
    other.headers.update({"Accept-Encoding": "identity", "Connection": "close"})
    return other


def _body(response: Response, access: _HttpAccess, until: float) -> bytes:
    if response.status_code not in _COMPLETE:
        raise _status_error(response, access, until)
    length = response.headers.get("Content-Length", "")
    if length.isdigit() and int(length) > MAX_CONFIG_MAP:
        raise too_large_error(access.origin, int(length))
    data = collect(_chunks(response), origin=access.origin, until=until)
    if data.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
        message = f"{access.origin} answered with an HTML page, perhaps a login page; use the raw URL"
        raise permanent_error(message, access.origin)
    return data


def _chunks(response: Response) -> Iterator[bytes]:
    """The body in the pieces that arrive, so that a very slow server cannot exceed the timeout."""
    while chunk := response.raw.read1(CHUNK, decode_content=True):
        yield chunk


def _status_error(response: Response, access: _HttpAccess, until: float) -> ScriptSourceError:
    status = response.status_code
    reason = response.reason or http.client.responses.get(status, "")
    excerpt, hint = _excerpt(response, access, until), _hint(status, access)
    message = f"{access.origin} answered {status} {reason}".rstrip() + (f". {hint}" if hint else "")
    return ScriptSourceError(
        message + (f"\nThe server's message: {excerpt}" if excerpt else ""),
        origin=access.origin,
        retryable=status in _TRANSIENT or status >= 500,
        retry_after=_retry_after(response.headers.get("Retry-After", "")),
    )


def _hint(status: int, access: _HttpAccess) -> str:
    if status in (401, 403):
        return f"It denies access to {access.identity}"
    if status in (404, 410):
        return f"The script does not exist, or is hidden from {access.identity}"
    return ""


def _excerpt(response: Response, access: _HttpAccess, until: float) -> str:
    """The first bytes of the server's message on one line, with our secrets masked."""
    data = b""
    for chunk in _chunks(response):
        data += chunk
        # More than an excerpt, because a secret that is cut cannot be masked.
        if len(data) >= 4 * _EXCERPT or time.monotonic() > until:
            break
    text = "".join(letter if letter.isprintable() else " " for letter in data.decode("utf-8", "replace"))
    text = " ".join(text.split())
    for secret in sorted(access.secrets, key=len, reverse=True):
        text = text.replace(secret, "***") if secret else text
    return text[:_EXCERPT]


def _retry_after(value: str) -> float | None:
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _source_error(error: Exception, access: _HttpAccess) -> ScriptSourceError:
    """Translate an error of requests or urllib3.

    Its own text may contain the URL and header values.
    """
    name, host = type(error).__name__, urlsplit(access.url).netloc
    if name in ("ContentDecodingError", "DecodeError"):
        message = f"{access.origin} cannot be decompressed as its Content-Encoding says"
        return permanent_error(message, access.origin)
    if isinstance(error, ValueError):  # InvalidURL, InvalidHeader, MissingSchema
        message = f"{access.origin} cannot be requested: {name}; check uri, headers and the connection's extra"
        return permanent_error(message, access.origin)
    if type(error) is OSError:
        return permanent_error(f"{access.origin} cannot be read: verify is not a readable CA bundle", access.origin)
    failure = network_failure(error)
    return ScriptSourceError(
        f"{access.origin} cannot be read: {host} {failure.text}", origin=access.origin, retryable=failure.retryable
    )
