"""The answer of a web server: its redirects, its body, its errors."""

from __future__ import annotations

import contextlib
import html
import http.client
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urljoin, urlsplit

from airflow_script_provider.exceptions import ScriptSourceError
from airflow_script_provider.kube.durations import retry_after
from airflow_script_provider.kube.request.interpreters import has_known_extension
from airflow_script_provider.kube.request.sizes import MAX_CONFIG_MAP
from airflow_script_provider.script import Script
from airflow_script_provider.sources.base import CHUNK, collect, decode, permanent_error, too_large_error
from airflow_script_provider.sources.encoding import unpacked
from airflow_script_provider.sources.network import network_failure
from airflow_script_provider.sources.web.access import HttpAccess, header_text, unchanged
from airflow_script_provider.sources.web.sensitive import secrets_in_header, secrets_in_query
from airflow_script_provider.sources.web.url import is_same_server, is_url, redacted

if TYPE_CHECKING:
    from requests import Response, Session

_MAX_REDIRECTS = 5
_EXCERPT = 200
_MASK = "***"
_COMPLETE = (200, 201, 203)
_TRANSIENT = (408, 425, 429)


@dataclass(frozen=True)
class _Answer:
    """The answer after all redirects, its URL, and whether the request had the credentials."""

    response: Response
    url: str
    had_credentials: bool


def read(access: HttpAccess, method: str, timeout: float) -> Script:
    """Request the script once; ``ScriptSourceError`` says why it is none."""
    until = time.monotonic() + timeout
    error: ScriptSourceError | None = None
    try:
        answer = _final_answer(access, method, timeout)
        with answer.response as response:
            data = _body(answer, access, until)
            etag = response.headers.get("ETag")
            name = file_name(response.headers.get("Content-Disposition"), answer.url, access.url)
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
    return decode(data, origin=access.origin, name=name, details=f"ETag {etag}" if etag else "")


def file_name(disposition: str | None, url: str, asked: str) -> str:
    """The file's name: the server's, otherwise that in the last URL, otherwise in the first one.

    The first name whose extension names a language counts. A query may have it (``?file=run.sh``).
    """
    header = Message()
    header["Content-Disposition"] = disposition or ""
    names = [header.get_filename() or ""]
    for place in (url, asked):
        parts = urlsplit(place)
        names += [unquote(parts.path), *(value for _, value in parse_qsl(parts.query) if has_known_extension(value))]
    names = [PurePosixPath(name.replace("\\", "/")).name for name in names]
    known = [name for name in names if has_known_extension(name)]
    return next(filter(None, [*known, *names]), "script")


def _final_answer(access: HttpAccess, method: str, timeout: float) -> _Answer:
    """Follow redirects. Another server gets neither credentials nor our headers."""
    session, url = access.session, access.url
    for _ in range(_MAX_REDIRECTS + 1):
        response = session.request(
            method, url, timeout=timeout, allow_redirects=False, stream=True, verify=session.verify
        )
        target = session.get_redirect_target(response)
        if target is None:
            return _Answer(response, url, session is access.session)
        response.close()
        target = urljoin(url, target)
        _refuse_downgrade(url, target, access)
        if not is_same_server(url, target):
            session = _without_credentials(session)
        if response.status_code in (301, 302, 303) and method != "HEAD":
            method = "GET"
        url = target
    raise permanent_error(f"{access.origin} redirects more than {_MAX_REDIRECTS} times", access.origin)


def _refuse_downgrade(url: str, target: str, access: HttpAccess) -> None:
    if not is_url(target) or (url.lower().startswith("https:") and target.lower().startswith("http:")):
        rule = "only http(s) is followed, and from https only https"
        message = f"{access.origin} redirects to {redacted(target)}; {rule}"
        raise permanent_error(message, access.origin)


def _without_credentials(session: Session) -> Session:
    """A new session with the same TLS settings and proxies, and nothing else."""
    import requests

    other = requests.Session()
    other.verify, other.proxies, other.trust_env = session.verify, session.proxies, session.trust_env
    other.auth = unchanged
    other.headers.update({"Accept-Encoding": "identity", "Connection": "close"})
    return other


def _body(answer: _Answer, access: HttpAccess, until: float) -> bytes:
    response = answer.response
    if response.status_code not in _COMPLETE:
        raise _status_error(answer, access, until)
    length = response.headers.get("Content-Length", "")
    if length.isdigit() and int(length) > MAX_CONFIG_MAP:
        raise too_large_error(access.origin, int(length))
    data = collect(_chunks(response, access.origin), origin=access.origin, until=until)
    if not access.takes_html and data.lstrip()[:20].lower().startswith((b"<!doctype html", b"<html")):
        message = f"{access.origin} answered with an HTML page, perhaps a login page; use the raw URL"
        raise permanent_error(message, access.origin)
    return data


def _chunks(response: Response, origin: str) -> Iterator[bytes]:
    """The body in the pieces that arrive, so that a very slow server cannot exceed the timeout.

    urllib3 would take the part of a compressed body that it got for the whole.
    """

    def pieces() -> Iterator[bytes]:
        while chunk := response.raw.read1(CHUNK, decode_content=False):
            yield chunk

    return unpacked(pieces(), response.headers.get("Content-Encoding"), origin)


def _status_error(answer: _Answer, access: HttpAccess, until: float) -> ScriptSourceError:
    response, status = answer.response, answer.response.status_code
    secrets = list(_secrets(answer, access))
    reason = _without_secrets(response.reason or http.client.responses.get(status, ""), secrets)
    excerpt, hint = _excerpt(response, access.origin, secrets, until), _hint(answer, access)
    message = f"{access.origin} answered {status} {reason}".rstrip() + (f". {hint}" if hint else "")
    return ScriptSourceError(
        message + (f"\nThe server's message: {excerpt}" if excerpt else ""),
        origin=access.origin,
        retryable=status in _TRANSIENT or status >= 500,
        retry_after=retry_after(response.headers.get("Retry-After", ""), response.headers.get("Date", "")),
    )


def _hint(answer: _Answer, access: HttpAccess) -> str:
    identity = access.identity
    if not answer.had_credentials:
        identity = f"an anonymous user: redirected to {redacted(answer.url)}, which does not get the login"
    if answer.response.status_code in (401, 403):
        return f"It denies access to {identity}"
    if answer.response.status_code in (404, 410):
        return f"The script does not exist, or is hidden from {identity}"
    return ""


def _secrets(answer: _Answer, access: HttpAccess) -> Iterator[str]:
    """What the server may repeat.

    This also has what another kind of login has sent, and the signature of a redirect.
    """
    yield from access.secrets
    yield from secrets_in_header("Authorization", header_text(answer.response.request.headers.get("Authorization", "")))
    yield from secrets_in_query(answer.url)


def _excerpt(response: Response, origin: str, secrets: list[str], until: float) -> str:
    """The first bytes of the server's message on one line, with our secrets masked."""
    # More than an excerpt, because a secret that is cut cannot be masked. An escape has six characters.
    data, most, is_cut = b"", 4 * _EXCERPT + 6 * max(map(len, secrets), default=0), True
    with contextlib.suppress(ScriptSourceError):  # a message that cannot be unpacked is not shown
        for chunk in _chunks(response, origin):
            data += chunk
            if len(data) >= most or time.monotonic() > until:
                break
        else:
            is_cut = False
    text = html.unescape(data[:most].decode("utf-8", "replace"))
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return _without_secrets(" ".join(text.split()), secrets, is_cut=is_cut)[:_EXCERPT]


def _without_secrets(text: str, secrets: list[str], *, is_cut: bool = False) -> str:
    """The text with masks in the place of secrets, also of escaped ones, as in JSON and URLs."""
    from airflow_script_provider.kube.hiding.known_values import KnownValues  # only for an error

    text = KnownValues(secrets).without_values(text, _MASK, is_cut=is_cut)
    for secret in sorted(secrets, key=len, reverse=True):  # the shortest are not known values
        text = text.replace(secret, _MASK) if secret else text
    return text


def _source_error(error: Exception, access: HttpAccess) -> ScriptSourceError:
    """Translate an error of requests or urllib3.

    Its own text may contain the URL and header values.
    """
    name, host = type(error).__name__, urlsplit(access.url).netloc
    if isinstance(error, ValueError):  # InvalidURL, InvalidHeader, MissingSchema
        message = f"{access.origin} cannot be requested: {name}; check uri, headers and the connection's extra"
        return permanent_error(message, access.origin)
    if type(error) is OSError:
        return permanent_error(f"{access.origin} cannot be read: verify is not a readable CA bundle", access.origin)
    failure = network_failure(error)
    return ScriptSourceError(
        f"{access.origin} cannot be read: {host} {failure.text}", origin=access.origin, retryable=failure.retryable
    )
