"""An event loop for a kubeconfig's plugins; no plugin outlives it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

_PAUSE, _PAUSES = 0.01, 200
"""Seconds between two looks at killed plugins, and the number of looks."""


class PluginLoop(asyncio.SelectorEventLoop):
    """Knows the processes started in it.

    asyncio leaves a process running when its waiter is cancelled.
    """

    def __init__(self) -> None:
        super().__init__()
        self._plugins: list[asyncio.SubprocessTransport] = []

    async def subprocess_exec(self, *arguments: Any, **named: Any) -> Any:
        """Start a process, and remember it."""
        started = await super().subprocess_exec(*arguments, **named)
        self._plugins.append(started[0])
        return started

    async def end_plugins(self) -> None:
        """Kill the plugins that still run, and close their pipes."""
        for plugin in self._plugins:
            plugin.close()
        for _ in range(_PAUSES):
            await asyncio.sleep(_PAUSE)  # in which the pipes are also closed
            if all(plugin.get_returncode() is not None for plugin in self._plugins):
                return


def run_with_plugins(work: Coroutine[Any, Any, None]) -> None:
    """Run the work in its own loop, and end every plugin that it started."""
    loop = PluginLoop()

    async def main() -> None:
        try:
            await work
        finally:
            await loop.end_plugins()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())
