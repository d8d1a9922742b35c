"""A running pod, as far as an exec needs its API server."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

from aiohttp import web

from airflow_script_provider.kube.exec.protocol import Channel, frame

POD: dict[str, Any] = {
    "metadata": {"name": "api-x1", "namespace": "shop", "uid": "uid-x1"},
    "spec": {"containers": [{"name": "api", "image": "api:1"}]},
    "status": {"phase": "Running", "containerStatuses": [{"name": "api", "state": {"running": {}}}]},
}
SUCCESS = frame(Channel.STATUS, b'{"status": "Success"}')
NONCE = re.compile(rb"airflow_nonce='(\w+)'")
"""What the lines of a script's shell begin with, as the code that is sent says it."""


@asynccontextmanager
async def serving_pod(answer: Callable[[web.Request], Awaitable[web.WebSocketResponse]]) -> AsyncIterator[Any]:
    """The pod's API server, which answers each exec so; its address is ``url``."""

    async def pod(request: web.Request) -> web.Response:
        return web.json_response(POD)

    app = web.Application()
    app.router.add_get("/api/v1/namespaces/shop/pods/api-x1", pod)
    app.router.add_get("/api/v1/namespaces/shop/pods/api-x1/exec", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield SimpleNamespace(url=f"http://127.0.0.1:{runner.addresses[0][1]}")
    finally:
        await runner.cleanup()
