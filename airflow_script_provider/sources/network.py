"""What went wrong between here and a server, whichever library says it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

_MAX_CAUSES = 20


@dataclass(frozen=True)
class Trouble:
    """What happened, in words that follow a host's name, and whether it may be over the next time."""

    text: str
    passes: bool = True


def trouble(error: BaseException) -> Trouble:
    """The root of a network error.

    Libraries wrap the socket's error in their own, whose text may hold a URL with credentials; so nothing is taken
    from their texts.
    """
    causes = list(_causes(error))
    for kind in (_tls, _name_resolution, _time_out, _connection):
        for cause in causes:
            if (found := kind(cause)) is not None:
                return found
    return Trouble(f"failed with {type(error).__name__}")


def _tls(cause: BaseException) -> Trouble | None:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return Trouble(
            f"could not be trusted (TLS): {cause.verify_message}. Name the file of its CA in verify, "
            "here or in the connection's extra",
            passes=False,
        )
    if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        reason = (getattr(cause, "reason", None) or "handshake failed").lower().replace("_", " ")
        return Trouble(f"did not agree on TLS: {reason}", passes=False)
    return None


def _name_resolution(cause: BaseException) -> Trouble | None:
    if isinstance(cause, socket.gaierror):
        return Trouble(f"was not found by name (DNS): {cause.strerror or 'no address'}")
    return None


def _time_out(cause: BaseException) -> Trouble | None:
    name = type(cause).__name__
    if isinstance(cause, TimeoutError) or name.endswith(("Timeout", "TimeoutError")):
        return Trouble("did not connect in time" if "Connect" in name else "did not answer in time")
    return None


def _connection(cause: BaseException) -> Trouble | None:
    if isinstance(cause, ConnectionRefusedError):
        return Trouble("refused the connection")
    broken = ("IncompleteRead", "IncompleteReadError", "ProtocolError", "ChunkedEncodingError", "SSLEOFError")
    if isinstance(cause, ConnectionError) or type(cause).__name__ in broken:
        return Trouble("broke the connection off")
    if isinstance(cause, OSError) and cause.errno is not None:
        return Trouble(f"could not be reached: {cause.strerror}")
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all that it was made of, wherever its library keeps it; the error itself first."""
    waiting: list[BaseException] = [error]
    seen: set[int] = set()
    while waiting and len(seen) < _MAX_CAUSES:
        cause = waiting.pop(0)
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        kept = getattr(cause, "kwargs", None)  # botocore's way
        inner = [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]
        inner.append(kept.get("error") if isinstance(kept, dict) else None)
        waiting += [one for one in inner if isinstance(one, BaseException)]
