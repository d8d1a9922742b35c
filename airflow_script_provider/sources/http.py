"""A script that an HTTP server returns."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from airflow_script_provider import _airflow
from airflow_script_provider.kube.durations import Duration, positive_seconds
from airflow_script_provider.script import Script
from airflow_script_provider.sources.base import permanent_error, with_retries
from airflow_script_provider.sources.web.access import HttpAccess
from airflow_script_provider.sources.web.answer import read
from airflow_script_provider.sources.web.sensitive import secrets_in_header
from airflow_script_provider.sources.web.url import is_html, is_over_tls, is_same_server, is_url, redacted
from airflow_script_provider.spec.settings import as_number, has_template

_REPEATABLE = ("GET", "HEAD")
_METHODS = (*_REPEATABLE, "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@dataclass(repr=False)
class HttpScript:
    """A script that an HTTP server returns.

    :param uri: full URL, or a path on ``endpoint`` or on the connection's host. (templated)
    :param conn_id: HTTP connection. Login and password are basic auth, a password alone is a
        bearer token, and the fields of its extra are headers. They are sent to the scheme, host
        and port of the connection. None sends no credentials. (templated)
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
    _takes_html: bool = field(default=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not has_template(self.timeout):
            _seconds(self.timeout)
        if not has_template(self.method):
            _known_method(self.method)
        if not has_template(self.uri) and not has_template(self.endpoint):
            _refuse_other_endpoint(self.uri, self.endpoint)

    def fetch(self, *, folder: str | None = None) -> Script:
        """Request the script and follow redirects. Another server gets no credentials."""
        self._mask_headers()
        try:
            method, timeout = _known_method(self.method), _seconds(self.timeout)
            _refuse_other_endpoint(self.uri, self.endpoint)
        except ValueError as error:
            raise permanent_error(f"{self} cannot be requested: {error}", str(self)) from None
        with HttpAccess.of(self) as access:
            once = partial(read, access, method, timeout)
            return with_retries(once) if method in _REPEATABLE else once()

    def for_file(self, path: str) -> HttpScript:
        """The source of a file with this path, which says whether an HTML page may be meant."""
        source = copy.copy(self)
        source._takes_html = is_html(path)
        return source

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
        return is_same_server(url, other) or is_over_tls(url, other)
    except ValueError:  # a port that is not a number
        return False
