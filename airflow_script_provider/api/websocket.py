"""Turning a request to the API server into a websocket."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

from airflow_script_provider.api.sessions import Session

UPGRADE_TIMEOUT = 40.0
"""Seconds for a websocket to be opened; in that time the API server connects to the pod's node."""
CLOSE_TIMEOUT = 1.0
"""Seconds for the other end to answer a close."""


@dataclass(frozen=True)
class Upgrade:
    """The protocols that the caller speaks.

    A peer that is silent for ``heartbeat`` seconds is asked whether it is there, and given up half
    as long after that.
    """

    protocols: Sequence[str]
    heartbeat: float

    async def of(
        self, session: Session, path: str, query: Sequence[tuple[str, str]], headers: Sequence[tuple[str, str]]
    ) -> aiohttp.ClientWebSocketResponse | None:
        """A websocket, None where the server refuses the credentials; raises as aiohttp does."""
        try:
            with session.asking():
                socket = await self._ask(session, path, query, headers)
                session.answers.add(socket)
        except aiohttp.WSServerHandshakeError as error:
            if error.status != 401:
                raise
            return None
        return socket

    async def _ask(
        self, session: Session, path: str, query: Sequence[tuple[str, str]], headers: Sequence[tuple[str, str]]
    ) -> aiohttp.ClientWebSocketResponse:
        async with asyncio.timeout(UPGRADE_TIMEOUT):
            socket: aiohttp.ClientWebSocketResponse = await session.http.ws_connect(
                session.host + path,
                params=list(query),
                headers=headers,
                protocols=self.protocols,
                heartbeat=self.heartbeat,
                max_msg_size=0,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_TIMEOUT),
                **session.route,
            )
        return socket
