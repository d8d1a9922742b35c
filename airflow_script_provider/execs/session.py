"""One exec in a container, as a stream of what it prints."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from socket import SHUT_RDWR

import aiohttp

from airflow_script_provider import exceptions
from airflow_script_provider.api.client import KubernetesApi, patiently
from airflow_script_provider.api.websocket import Upgrade
from airflow_script_provider.kube.exec import protocol
from airflow_script_provider.kube.exec.protocol import Channel, ExecStatus

HEARTBEAT = 30.0
"""Seconds of silence after which the other end is asked whether it is there."""


@dataclass(frozen=True)
class ExecTarget:
    """A container of a pod."""

    namespace: str
    pod: str
    container: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.pod}"


class ExecSession:
    """Iterate to get ``(channel, data)`` of stdout and stderr as they come; then ``status`` says how it ended.

    The iteration raises ``ApiUnreachableError`` where the connection breaks before that.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, target: ExecTarget) -> None:
        self.status: ExecStatus | None = None
        self._socket = socket
        self._target = target

    async def __aiter__(self) -> AsyncIterator[tuple[Channel, bytes]]:
        while self.status is None:
            message = await self._socket.receive()
            if message.type is not aiohttp.WSMsgType.BINARY:
                raise self._broken(message)
            channel, data = message.data[0], bytes(message.data[1:])
            if channel == Channel.STATUS and data:
                self.status = protocol.parse_status(data)
            elif channel in (Channel.STDOUT, Channel.STDERR) and data:
                yield Channel(channel), data

    async def send(self, data: bytes) -> None:
        """Bytes for stdin; waits while the other end takes none."""
        for frame in protocol.stdin_frames(data):
            await self._send(frame)

    async def resize(self, width: int, height: int) -> None:
        """Tell the terminal its size, in characters."""
        await self._send(protocol.resize(width, height))

    async def end_stdin(self) -> bool:
        """End stdin; False where the server's protocol cannot."""
        can_end = self._socket.protocol == protocol.PROTOCOLS[0]
        if can_end:
            await self._send(protocol.end_of_stdin())
        return can_end

    async def _send(self, frame: bytes) -> None:
        try:
            await self._socket.send_bytes(frame)
        except (aiohttp.ClientError, OSError) as error:
            raise exceptions.ApiUnreachableError(self._words(str(error)), status=0) from error

    def _broken(self, message: aiohttp.WSMessage) -> exceptions.ApiUnreachableError:
        """Anything but data before the status: the end, in whatever form."""
        said = str(self._socket.exception() or message.extra or "") or f"close code {self._socket.close_code}"
        return exceptions.ApiUnreachableError(self._words(said), status=0)

    def _words(self, said: str) -> str:
        return f"the connection to pod {self._target} broke ({said})"


@asynccontextmanager
async def open_exec(
    api: KubernetesApi,
    target: ExecTarget,
    argv: Sequence[str],
    *,
    stdin: bool = True,
    tty: bool = False,
    patience: float = 0,
) -> AsyncIterator[ExecSession]:
    """Start a program in a container. Leaving the block closes the connection, which does not end the program.

    With ``tty`` all output comes as stdout. For ``patience`` seconds it is tried again where the API server is
    overloaded or out of reach: only for what does nothing before it is fed, or may be done twice. Raises
    ``KubernetesApiError``.
    """
    flags = {"stdin": stdin, "stdout": True, "stderr": not tty, "tty": tty}
    query = [("container", target.container), *(("command", word) for word in argv)]
    query += [(name, "true") for name, is_set in flags.items() if is_set]
    upgrade = Upgrade(protocol.PROTOCOLS, HEARTBEAT)

    async def connect() -> aiohttp.ClientWebSocketResponse:
        return await api.connect("pods/exec", target.namespace, target.pod, query, upgrade)

    socket = await patiently(connect, patience)
    connection = socket.get_extra_info("socket")
    try:
        yield ExecSession(socket, target)
    finally:
        await socket.close()
        # Without waiting for the farewell of the TLS session, which a proxy or a node that is gone never sends.
        with contextlib.suppress(OSError):
            connection.shutdown(SHUT_RDWR)
