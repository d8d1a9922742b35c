"""The stream of Docker's attach and exec without a terminal: frames that say which output they are of."""

from __future__ import annotations

from airflow_script_provider.kube.exec.protocol import Channel

_HEADER = 8
_CHANNELS = {1: Channel.STDOUT, 2: Channel.STDERR}


class Frames:
    """Takes the stream apart, in whatever pieces it comes. A frame's data are handed on before all of it is there."""

    def __init__(self) -> None:
        self._header = b""
        self._channel = Channel.STDOUT
        self._missing = 0

    def feed(self, data: bytes) -> list[tuple[Channel, bytes]]:
        """The outputs in these bytes, in order."""
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
