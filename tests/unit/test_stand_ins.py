"""Servers of the tests that must answer whatever a client tries first."""

from __future__ import annotations

import socket
import ssl

import pytest

from tests.cluster.registry import empty_registry


def test_a_registry_answers_in_http_to_a_client_that_tries_tls() -> None:
    """Only from such an answer do containerd 1.6 and 2.x know that they must go on without TLS."""
    client = ssl.create_default_context()
    received, to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
    handshake = client.wrap_bio(received, to_send, server_hostname="127.0.0.1")
    with pytest.raises(ssl.SSLWantReadError):
        handshake.do_handshake()
    with empty_registry() as address:
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(to_send.read())
            assert connection.recv(9) == b"HTTP/1.0 "
