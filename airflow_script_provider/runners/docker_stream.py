"""Decode the stream of a Docker exec without a terminal: frames that name their output."""

from __future__ import annotations

from airflow_script_provider.kube.exec.protocol import Channel

_HEADER = 8
_CHANNELS = {1: Channel.STDOUT, 2: Channel.STDERR}


class FrameDecoder:
    """Splits the stream into stdout and stderr.

    It returns a frame's data as soon as they arrive.
    """

    def __init__(self) -> None:
        self._header = b""
        self._channel = Channel.STDOUT
        self._missing = 0

    def feed(self, data: bytes) -> list[tuple[Channel, bytes]]:
        """Take bytes of the stream, cut anywhere; return the outputs in them, in order."""
        found = []
        while data:
            if self._missing:
                piece, data = data[: self._missing], data[self._missing :]
                self._missing -= len(piece)
                found.append((self._channel, piece))
                continue
            wanted = _HEADER - len(self._header)
            self._header, data = self._header + data[:wanted], data[wanted:]
            if len(self._header) == _HEADER:
                self._channel = _CHANNELS.get(self._header[0], Channel.STDOUT)
                self._missing = int.from_bytes(self._header[4:], "big")
                self._header = b""
        return found
