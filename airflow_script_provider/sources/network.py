"""Explain a network error of any library in plain words."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

_MAX_CAUSES = 20


@dataclass(frozen=True)
class NetworkFailure:
    """The predicate of a sentence about a host, and whether a later attempt may succeed."""

    text: str
    retryable: bool = True


def network_failure(error: BaseException) -> NetworkFailure:
    """The root cause of a network error.

    Libraries wrap the socket's error in their own. The text of those may contain a URL with
    credentials, so it is not used.
    """
    causes = list(_causes(error))
    for kind in (_tls, _name_resolution, _timeout, _connection):
        for cause in causes:
            if (found := kind(cause)) is not None:
                return found
    return NetworkFailure(f"failed with {type(error).__name__}")


def _tls(cause: BaseException) -> NetworkFailure | None:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return NetworkFailure(
            f"failed TLS verification (CERTIFICATE_VERIFY_FAILED): {cause.verify_message}. "
            "Set verify to the file of its CA, here or in the connection's extra",
            retryable=False,
        )
    if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        reason = (getattr(cause, "reason", None) or "handshake failed").lower().replace("_", " ")
        return NetworkFailure(f"failed the TLS handshake: {reason}", retryable=False)
    return None


def _name_resolution(cause: BaseException) -> NetworkFailure | None:
    if isinstance(cause, socket.gaierror):
        return NetworkFailure(f"could not be resolved (DNS): {cause.strerror or 'no address'}")
    return None


def _timeout(cause: BaseException) -> NetworkFailure | None:
    name = type(cause).__name__
    if isinstance(cause, TimeoutError) or name.endswith(("Timeout", "TimeoutError")):
        return NetworkFailure("did not connect in time" if "Connect" in name else "did not answer in time")
    return None


def _connection(cause: BaseException) -> NetworkFailure | None:
    if isinstance(cause, ConnectionRefusedError):
        return NetworkFailure("refused the connection")
    broken = ("IncompleteRead", "IncompleteReadError", "ProtocolError", "ChunkedEncodingError", "SSLEOFError")
    if isinstance(cause, ConnectionError) or type(cause).__name__ in broken:
        return NetworkFailure("broke the connection")
    if isinstance(cause, OSError) and cause.errno is not None:
        return NetworkFailure(f"could not be reached: {cause.strerror}")
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, then all errors that it wraps, in whatever attribute its library keeps them."""
    waiting: list[BaseException] = [error]
    seen: set[int] = set()
    while waiting and len(seen) < _MAX_CAUSES:
        cause = waiting.pop(0)
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        kept = getattr(cause, "kwargs", None)  # of botocore's errors
        inner = [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]
        inner.append(kept.get("error") if isinstance(kept, dict) else None)
        waiting += [one for one in inner if isinstance(one, BaseException)]
