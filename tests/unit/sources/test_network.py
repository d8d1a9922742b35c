"""Explanations of network errors."""

from __future__ import annotations

import socket
import ssl

import pytest

from airflow_script_provider.sources.network import network_failure


class ReadTimeoutError(Exception):
    """An error with the name that urllib3 and botocore use."""


class ProtocolError(Exception):
    """An error with the name that urllib3 uses."""


@pytest.mark.parametrize(
    ("error", "words", "passes"),
    [
        (socket.gaierror(-2, "Name or service not known"), "could not be resolved (DNS): Name or service", True),
        (ConnectionRefusedError(), "refused the connection", True),
        (ConnectionResetError(), "broke the connection", True),
        (ProtocolError(), "broke the connection", True),
        (ReadTimeoutError(), "did not answer in time", True),
        (TimeoutError(), "did not answer in time", True),
        (OSError(113, "No route to host"), "could not be reached: No route to host", True),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong"), "failed the TLS handshake: ", False),
        (ssl.SSLEOFError(), "broke the connection", True),
        (RuntimeError("https://host/?sig=secret"), "failed with RuntimeError", True),
    ],
)
def test_the_root_is_named(error: Exception, words: str, passes: bool) -> None:
    """The explanation has no text of the library, which may have a URL (R26)."""
    found = network_failure(error)
    assert found.text.startswith(words)
    assert found.retryable is passes


def test_the_root_is_found_wherever_it_is_kept() -> None:
    """The root may be an argument, a reason, a cause or a keyword."""
    root = socket.gaierror(-2, "unknown")
    kept = Exception("kept")
    kept.kwargs = {"error": Exception(Exception(root))}  # type: ignore[attr-defined]  # botocore's way
    reason = Exception("reason")
    reason.reason = kept  # type: ignore[attr-defined]  # urllib3's way
    outer = ValueError("outer")
    outer.__cause__ = reason
    assert "DNS" in network_failure(outer).text
