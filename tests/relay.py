"""A server's socket at another address, which goes away at a word, as the server would."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

_PIECE = 65536


class Relay:
    """Passes on what arrives at ``path`` to the server at ``target``, and its answers, until it is ended."""

    def __init__(self, path: Path, target: str) -> None:
        self._target = target
        self._open: list[socket.socket] = []
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        self._path = path
        threading.Thread(target=self._serve, daemon=True).start()

    def end(self) -> None:
        """Go away: no new connection, and the end of each that is open."""
        self._path.unlink(missing_ok=True)
        for one in (self._listening, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._target)
                self._open += [client, server]
                for one, other in ((client, server), (server, client)):
                    threading.Thread(target=_pass_on, args=(one, other), daemon=True).start()


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := one.recv(_PIECE):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def relay(path: Path, target: str) -> Iterator[Relay]:
    """A relay at ``path``, which ends with the block."""
    relaying = Relay(path, target)
    try:
        yield relaying
    finally:
        relaying.end()
