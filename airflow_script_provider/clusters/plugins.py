"""An event loop for a kubeconfig's plugins, none of which outlives it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

_PAUSE, _PAUSES = 0.01, 200
"""Seconds, and how often at most, until a plugin that was killed is looked for."""


class PluginLoop(asyncio.SelectorEventLoop):
    """Knows the processes that were started in it: whoever is cancelled while it waits for one lets it go on."""

    def __init__(self) -> None:
        super().__init__()
        self._plugins: list[asyncio.SubprocessTransport] = []

    async def subprocess_exec(self, *arguments: Any, **named: Any) -> Any:
        """As every loop does."""
        started = await super().subprocess_exec(*arguments, **named)
        self._plugins.append(started[0])
        return started

    async def end_plugins(self) -> None:
        """Kill those that still run, and close their pipes."""
        for plugin in self._plugins:
            plugin.close()
        for _ in range(_PAUSES):
            await asyncio.sleep(_PAUSE)  # in which the pipes are closed, too
            if all(plugin.get_returncode() is not None for plugin in self._plugins):
                return


def run_with_plugins(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end in a loop of its own, and end what it has started."""
    loop = PluginLoop()

    async def main() -> None:
        try:
            await work
        finally:
            await loop.end_plugins()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())
