"""One exec in a container, as a stream of its output."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from socket import SHUT_RDWR

import aiohttp

from airflow_script_provider import exceptions
from airflow_script_provider._event_loop import raise_interruption_behind
from airflow_script_provider.api.client import KubernetesApi, is_transient, patiently
from airflow_script_provider.api.websocket import Upgrade
from airflow_script_provider.kube.exec import protocol
from airflow_script_provider.kube.exec.protocol import Channel, ExecStatus

HEARTBEAT = 30.0
"""Seconds of silence after which the connection is checked with a ping."""


@dataclass(frozen=True)
class ExecTarget:
    """The container that an exec is opened in."""

    namespace: str
    pod: str
    container: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.pod}"


class ExecSession:
    """An open exec. Iterating gives ``(channel, data)`` of stdout and stderr as they arrive.

    After the iteration, ``status`` says how the program ended. If the connection breaks before,
    the iteration raises ``ApiUnreachableError``.
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
            if not message.data:  # an empty frame names no channel
                continue
            channel, data = message.data[0], bytes(message.data[1:])
            if channel == Channel.STATUS and data:
                self.status = protocol.parse_status(data)
            elif channel in (Channel.STDOUT, Channel.STDERR) and data:
                yield Channel(channel), data

    async def send(self, data: bytes) -> None:
        """Write to stdin; wait while the other end accepts no data."""
        for frame in protocol.stdin_frames(data):
            await self._send(frame)

    async def resize(self, width: int, height: int) -> None:
        """Set the terminal's size, in characters."""
        await self._send(protocol.resize(width, height))

    async def end_stdin(self) -> bool:
        """End stdin. Return False if the server's protocol cannot end it."""
        can_end = self._socket.protocol == protocol.PROTOCOLS[0]
        if can_end:
            await self._send(protocol.end_of_stdin())
        return can_end

    async def _send(self, frame: bytes) -> None:
        try:
            await self._socket.send_bytes(frame)
        except (aiohttp.ClientError, OSError) as error:
            raise_interruption_behind(error)
            raise exceptions.ApiUnreachableError(self._message(str(error)), status=0) from error

    def _broken(self, message: aiohttp.WSMessage) -> exceptions.ApiUnreachableError:
        """The error for a message that is not data and comes before the status."""
        raise_interruption_behind(self._socket.exception())
        cause = str(self._socket.exception() or message.extra or "") or f"close code {self._socket.close_code}"
        return exceptions.ApiUnreachableError(self._message(cause), status=0)

    def _message(self, cause: str) -> str:
        return f"the connection to pod {self._target} broke ({cause})"


@asynccontextmanager
async def open_exec(
    api: KubernetesApi,
    target: ExecTarget,
    argv: Sequence[str],
    *,
    stdin: bool = True,
    tty: bool = False,
    patience: float = 0,
    protocols: Sequence[str] = protocol.PROTOCOLS,
    may_pass: Callable[[exceptions.KubernetesApiError], bool] | None = None,
) -> AsyncIterator[ExecSession]:
    """Start a program in a container.

    Leaving the block closes the connection; the program goes on.

    With ``tty``, all output comes as stdout. While the API server is overloaded or unreachable,
    or after an error that ``may_pass``, the start is repeated for ``patience`` seconds. That is
    only safe for a program that does nothing before it is fed, or that may run twice. Raises
    ``KubernetesApiError``.
    """
    flags = {"stdin": stdin, "stdout": True, "stderr": not tty, "tty": tty}
    query = [("container", target.container), *(("command", word) for word in argv)]
    query += [(name, "true") for name, is_set in flags.items() if is_set]
    upgrade = Upgrade(protocols, HEARTBEAT)

    async def connect() -> aiohttp.ClientWebSocketResponse:
        return await api.connect("pods/exec", target.namespace, target.pod, query, upgrade)

    socket = await patiently(connect, patience, may_pass)
    connection = socket.get_extra_info("socket")
    try:
        yield ExecSession(socket, target)
    finally:
        await socket.close()
        # Do not wait for the end of the TLS session: a lost proxy or node never sends it.
        with contextlib.suppress(OSError):
            connection.shutdown(SHUT_RDWR)


async def reply_of(api: KubernetesApi, target: ExecTarget, argv: Sequence[str], within: float) -> str | None:
    """Run a small program of ours, and return the word that it prints.

    The reply is empty if the program takes longer, None if it could not be started or if the
    connection to the node broke, which looks like a success without a word.
    """
    reply, _ = await ask_helper(api, target, argv, within)
    return reply


def _may_pass_for_a_helper(error: exceptions.KubernetesApiError) -> bool:
    """Whether a helper may be started a little later.

    A server that restarts may refuse what it has granted to the script's own exec.
    """
    return is_transient(error) or isinstance(error, exceptions.ApiForbiddenError)


async def ask_helper(
    api: KubernetesApi, target: ExecTarget, argv: Sequence[str], within: float
) -> tuple[str | None, ExecStatus | None]:
    """The reply of a program to which nothing is sent, as in ``reply_of``, and its status."""
    reply: str | None = None
    with contextlib.suppress(TimeoutError, exceptions.KubernetesApiError):
        connection = open_exec(api, target, argv, stdin=False, patience=within, may_pass=_may_pass_for_a_helper)
        async with asyncio.timeout(within), connection as session:
            reply = ""
            async for channel, data in session:
                reply += data.decode("utf-8", "replace") if channel is Channel.STDOUT else ""
        return reply.strip() or None, session.status
    return (reply or "").strip() or reply, None
