"""An image registry on loopback without any image: the nodes' containerd speaks plain HTTP to loopback."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_TLS = b"\x16"


class _Empty(BaseHTTPRequestHandler):
    def handle(self) -> None:
        """Answer in HTTP also to a client that tries TLS first: by that it knows what to speak."""
        if self.connection.recv(1, socket.MSG_PEEK) == _TLS:
            self.wfile.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")
        else:
            super().handle()

    def do_GET(self) -> None:
        """Say that this is a registry, and that it has no such manifest."""
        if self.path == "/v2/":
            return self._answer(200, {})
        return self._answer(404, {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]})

    do_HEAD = do_GET

    def _answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the test's output is not this server's."""


@contextmanager
def empty_registry() -> Iterator[str]:
    """Its address while it runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Empty)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
