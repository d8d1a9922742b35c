"""A script that the command line runs on this machine: what is shown of its output."""

from __future__ import annotations

import asyncio
import os

import pytest

from airflow_script_provider.kube.exec.protocol import Channel
from airflow_script_provider.runners import local
from airflow_script_provider.runners.local import LocalProcess
from airflow_script_provider.runners.recording import ProcessEnd
from airflow_script_provider.runners.script_run import ScriptRun
from airflow_script_provider.sources.inline import InlineScript
from tests.patience import LONG, PATIENCE

SIZE = 60_000


async def shown_by_a_slow_reader(script: str, monkeypatch: pytest.MonkeyPatch) -> tuple[ProcessEnd, int]:
    """The end, and how many bytes are shown to a reader that takes long for each piece once the script has ended.

    The loop's clock shows that it has taken long. Nothing waits so long.
    """
    loop, taken, shown = asyncio.get_running_loop(), 0.0, 0
    clock = loop.time
    monkeypatch.setattr(loop, "time", lambda: clock() + taken)
    monkeypatch.setattr(local, "_DRAIN_TIMEOUT", PATIENCE)
    monkeypatch.setattr(local, "_PIECE", 4096)
    process = LocalProcess(["sh", "-c", script], dict(os.environ), ScriptRun(source=InlineScript(script)))

    def show(channel: Channel, data: bytes) -> None:
        nonlocal taken, shown
        shown += len(data)
        while not process._has_ended():
            pass
        taken += 2 * PATIENCE

    try:
        return await process.follow(show), shown
    finally:
        process.close()


async def test_a_slow_reader_loses_no_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the script has written before its end is shown, however long the reader takes for it (R24)."""
    script = f"head -c {SIZE} /dev/zero"
    assert await shown_by_a_slow_reader(script, monkeypatch) == (ProcessEnd(0), SIZE)


async def test_what_a_process_of_another_session_writes_on_is_not_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that the script has left behind may write without an end; the run ends nevertheless (R10)."""
    monkeypatch.setattr(local, "_MAX_UNREAD", SIZE)
    end, shown = await shown_by_a_slow_reader(f"setsid timeout {LONG} yes &", monkeypatch)
    assert (end, shown >= SIZE) == (ProcessEnd(0), True)
