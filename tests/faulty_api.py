"""A proxy on loopback between the operator and the real API server, which does to chosen requests what networks do."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import ssl
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Container, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web
from yarl import URL

from tests.patience import PATIENCE, wait_for

ALWAYS = range(1_000_000)
FIRST = range(1)
ALL_BUT_THE_FIRST = range(1, 1_000_000)
SECOND = range(1, 2)
TWO_OF_THREE = frozenset(number for number in range(3_000) if number % 3 != 2)

_TICK = 0.05
_TRANSLATED = "v5.channel.k8s.io"
_OWN_SUCCESS = b'\x03{"metadata":{},"status":"Success"}'
_PASSED_ON = ("authorization", "content-type", "accept", "user-agent")


@dataclass(frozen=True)
class Fault:
    """What happens to a request. ``status`` answers in the server's place, everything else lets it do its work.

    ``retry_after`` is in seconds, and may be told ``as_date``.
    ``delay`` seconds pass before the server gets the request, ``late`` seconds before its answer goes on. ``reset``
    closes the connection in the server's place, ``lost`` when it has answered. The body of an answer is ``cut`` off or
    comes to a proper ``end`` after so many seconds, or after ``cut_after`` or ``size`` bytes, or is passed on at
    ``rate`` bytes a second.
    The server does not see the parameters ``without`` of the query.
    A websocket ends at its first frame with the bytes ``node_lost``, or at once for none, as the API server ends it
    when it loses the node: with a success of its own, if it is of the protocol that the API server translates.
    """

    status: int | None = None
    message: str = "injected"
    reason: str = ""
    retry_after: int | None = None
    as_date: bool = False
    body: str | None = None
    content_type: str = "application/json"
    reset: bool = False
    lost: bool = False
    delay: float = 0
    late: float = 0
    cut: float | None = None
    cut_after: int | None = None
    end: float | None = None
    size: int | None = None
    rate: int | None = None
    without: frozenset[str] = frozenset()
    node_lost: bytes | None = None


@dataclass
class _Rule:
    requests: re.Pattern[str]
    fault: Fault
    numbers: Container[int]
    seconds: float | None
    token: str | None
    seen: Counter[str] = field(default_factory=Counter)
    since: float | None = None

    def takes(self, line: str, token: str) -> bool:
        """Whether this request is one that the rule is for; requests of one method and path are counted from 0."""
        if not self.requests.search(line) or self.token not in (None, token):
            return False
        now = time.monotonic()
        self.since = now if self.since is None else self.since
        number = self.seen[line.partition("?")[0]]
        self.seen[line.partition("?")[0]] += 1
        return number in self.numbers and (self.seconds is None or now - self.since < self.seconds)


class FaultyApi:
    """The proxy: ``on`` adds a rule, ``kubeconfig`` is a file whose server it is, ``seen`` what was asked of it.

    ``tokens`` are those that it was asked with, one for each request. Its clock is ``ahead`` by so many seconds.
    It needs a kubeconfig with a token, as the embedded cluster's is, and passes on whatever token it is given.
    """

    def __init__(self, kubeconfig: str, folder: Path) -> None:
        self.kubeconfig = str(folder / "faulty-kubeconfig")
        self.seen: list[str] = []
        self.tokens: list[str] = []
        self.clusters: list[dict[str, Any]] = []
        self.ahead = 0.0
        self._config: dict[str, Any] = yaml.safe_load(Path(kubeconfig).read_text())
        self._server = self._config["clusters"][0]["cluster"]
        self._trust = ssl.create_default_context(cafile=self._server.get("certificate-authority"))
        self._rules: list[_Rule] = []
        self._open: set[asyncio.Transport] = set()
        self._is_down = False
        self._loop = asyncio.new_event_loop()
        self._done = asyncio.Event()

    def on(
        self,
        requests: str,
        fault: Fault,
        *,
        numbers: Container[int] = ALWAYS,
        seconds: float | None = None,
        token: str | None = None,
    ) -> None:
        """Do this to requests whose ``METHOD path?query`` matches: of each path those ``numbers``, for so long.

        With a ``token`` only to those that bear it.
        """
        self._rules.append(_Rule(re.compile(requests), fault, numbers, seconds, token))

    def calm(self) -> None:
        """Make no more faults from now on."""
        self._rules.clear()

    def count(self, requests: str) -> int:
        """How many requests there were whose ``METHOD path?query`` matches."""
        return sum(bool(re.search(requests, line)) for line in self.seen)

    def outage(self, requests: int = 0) -> None:
        """Break all connections, and every new one, until so many have been tried."""
        before = len(self.seen)
        with self.down():
            wait_for(lambda: len(self.seen) >= before + requests, f"{requests} requests during the outage")

    @contextmanager
    def down(self) -> Iterator[None]:
        """Break all connections, and inside this every new one."""
        self._is_down = True
        for transport in list(self._open):
            self._loop.call_soon_threadsafe(transport.abort)
        try:
            yield
        finally:
            self._is_down = False

    def freeze(self) -> None:
        """Hear nothing more from the connections that are open now, and tell nobody: new ones work."""
        for transport in list(self._open):
            self._loop.call_soon_threadsafe(transport.pause_reading)

    @contextmanager
    def running(self) -> Iterator[FaultyApi]:
        """Serve in a thread."""
        ready = threading.Event()
        thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve(ready)))
        thread.start()
        try:
            if not ready.wait(PATIENCE):
                raise AssertionError("the proxy does not come up")
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._done.set)
            thread.join()
            self._loop.close()

    async def _serve(self, ready: threading.Event) -> None:
        if authority := self._server.get("certificate-authority-data"):
            self._trust.load_verify_locations(cadata=_decoded(authority))
        connector = aiohttp.TCPConnector(ssl=self._trust, limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout()) as self._session:
            runner = web.ServerRunner(web.Server(self._handle, handler_cancellation=True), shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self._write_kubeconfig(runner.addresses[0][1])
            ready.set()
            await self._done.wait()
            await runner.cleanup()

    def _write_kubeconfig(self, port: int) -> None:
        self.clusters = [{**self._config["clusters"][0], "cluster": {"server": f"http://127.0.0.1:{port}"}}]
        Path(self.kubeconfig).write_text(yaml.safe_dump({**self._config, "clusters": self.clusters}))

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        line = f"{request.method} {request.path_qs}"
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.seen.append(line)
        self.tokens.append(token)
        fault = Fault(reset=True) if self._is_down else self._fault_of(line, token)
        with self._registered(request):
            return await self._answer(request, fault)

    def _fault_of(self, line: str, token: str) -> Fault:
        taken = [rule.fault for rule in self._rules if rule.takes(line, token)]
        return taken[0] if taken else Fault()

    @contextmanager
    def _registered(self, request: web.BaseRequest) -> Iterator[None]:
        transports = {request.transport} if request.transport is not None else set()
        self._open |= transports
        try:
            yield
        finally:
            self._open -= transports

    async def _answer(self, request: web.BaseRequest, fault: Fault) -> web.StreamResponse:
        await asyncio.sleep(fault.delay)
        if fault.reset:
            return _reset(request)
        if fault.status is not None:
            return _refusal(fault, fault.status)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._bridge(request, fault)
        async with self._asked(request, fault.without) as answer:
            if fault.lost:
                return _reset(request)
            await asyncio.sleep(fault.late)
            return await _pass_on(request, answer, fault, self.ahead)

    async def _bridge(self, request: web.BaseRequest, fault: Fault) -> web.StreamResponse:
        """A websocket to the server and one to the client, each frame passed on, or the server's ``lost``."""
        offered = [word.strip() for word in request.headers["Sec-WebSocket-Protocol"].split(",")]
        headers = {name: value for name, value in request.headers.items() if name.lower() == "authorization"}
        url = URL(f"{self._server['server']}{request.path_qs}", encoded=True)
        try:
            server = await self._session.ws_connect(url, protocols=offered, headers=headers, max_msg_size=0)
        except aiohttp.WSServerHandshakeError as refused:
            return web.Response(status=refused.status)
        client = web.WebSocketResponse(protocols=[server.protocol or ""])
        await client.prepare(request)
        if fault.lost:
            await server.receive()
            await server.close()
            return _reset(request)
        try:
            await asyncio.wait(
                [
                    asyncio.ensure_future(_pump(server, client, fault.node_lost)),
                    asyncio.ensure_future(_pump(client, server)),
                ],
                return_when=asyncio.FIRST_COMPLETED,
            )
            if fault.node_lost is not None and server.protocol == _TRANSLATED:
                await client.send_bytes(_OWN_SUCCESS)
        finally:
            await server.close()
        return client

    @asynccontextmanager
    async def _asked(
        self, request: web.BaseRequest, without: frozenset[str] = frozenset()
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {name: value for name, value in request.headers.items() if name.lower() in _PASSED_ON}
        url = f"{self._server['server']}{request.path}"
        body = await request.read() or None
        query = [(name, value) for name, value in request.query.items() if name not in without]
        async with self._session.request(request.method, url, params=query, data=body, headers=headers) as answer:
            yield answer


@contextmanager
def faulty_api(kubeconfig: str, folder: Path) -> Iterator[FaultyApi]:
    """A proxy in front of a kubeconfig's server, at first without faults."""
    with FaultyApi(kubeconfig, folder).running() as api:
        yield api


async def _pass_on(
    request: web.BaseRequest, answer: aiohttp.ClientResponse, fault: Fault, ahead: float
) -> web.StreamResponse:
    """The server's answer, as far as the fault lets it through."""
    date = formatdate(time.time() + ahead, usegmt=True)
    response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type, "Date": date})
    try:
        await response.prepare(request)
        async with asyncio.timeout(fault.end if fault.cut is None else fault.cut):
            async for chunk in _first(fault.size or fault.cut_after, answer.content):
                await _write(response, chunk, fault.rate)
        if fault.cut_after is not None:
            return _reset(request)
    except TimeoutError:
        if fault.cut is not None:
            return _reset(request)
    except ConnectionError:  # the operator has gone
        return response
    return response


async def _first(size: int | None, content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """The chunks of an answer, at most so many bytes of it."""
    left = size
    async for chunk in content.iter_any():
        yield chunk[:left]
        left = None if left is None else left - len(chunk)
        if left is not None and left <= 0:
            return


async def _write(response: web.StreamResponse, chunk: bytes, rate: int | None) -> None:
    piece = len(chunk) if rate is None else int(rate * _TICK)
    for start in range(0, len(chunk), piece):
        await response.write(chunk[start : start + piece])
        await asyncio.sleep(0 if rate is None else _TICK)


async def _pump(
    source: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
    target: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
    until: bytes | None = None,
) -> None:
    """Pass on frames to the end, or to the first one with the bytes ``until``."""
    if until == b"":
        return
    with contextlib.suppress(ConnectionError):
        async for message in source:
            await target.send_bytes(message.data)
            if until is not None and until in message.data:
                return


def _reset(request: web.BaseRequest) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _refusal(fault: Fault, status: int) -> web.Response:
    body = {"kind": "Status", "message": fault.message, "reason": fault.reason, "code": status}
    headers = {}
    if fault.retry_after is not None:
        until = formatdate(time.time() + fault.retry_after, usegmt=True)
        headers["Retry-After"] = until if fault.as_date else str(fault.retry_after)
    text = json.dumps(body) if fault.body is None else fault.body
    return web.Response(status=status, text=text, content_type=fault.content_type, headers=headers)


def _decoded(data: str) -> str:
    return base64.b64decode(data).decode()
