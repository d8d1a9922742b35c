"""A script that the command line runs in a container: how its end is explained."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import NotFound
from requests import ConnectionError as NoConnection

from airflow_script_provider.kube.exec.program import Invocation
from airflow_script_provider.runners import container as containers
from airflow_script_provider.runners import stdin_feed
from airflow_script_provider.runners.container import ContainerProcess
from airflow_script_provider.runners.recording import ProcessEnd
from airflow_script_provider.runners.script_run import ScriptRun, Target
from airflow_script_provider.sources.inline import InlineScript
from tests.patience import PATIENCE, wait_for

INVOCATION = Invocation(["true"])
RUNNING, RESTARTED = ({"Status": "running", "StartedAt": f"2026-01-01T00:00:0{second}Z"} for second in (1, 2))
EXITED = RUNNING | {"Status": "exited"}


class StandInContainer:
    """A container that has these states one after the other; the last one stays."""

    id, name = "c1", "shop-api-1"

    def __init__(self, *states: dict[str, str] | Exception) -> None:
        self.attrs: dict[str, Any] = {"State": RUNNING}
        self._states = list(states)

    @property
    def status(self) -> str:
        """The status as it was read last."""
        return str(self.attrs["State"]["Status"])

    def reload(self) -> None:
        """Read the next state."""
        state = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        if isinstance(state, Exception):
            raise state
        self.attrs = {"State": state}


@pytest.fixture
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The two ends of an exec's connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


STOPPED = "outcome unknown: script ended with exit code 0 after a SIGTERM; "
ENDED = "container shop-api-1 ended while the script ran"
SILENT = "the Docker engine does not answer, so container shop-api-1 may have ended as well"


@pytest.mark.parametrize(
    ("words", "states", "end"),
    [
        ("0 TERM", [EXITED], ProcessEnd(0, cause=STOPPED + ENDED, is_unknown=True)),
        ("0 TERM", [RUNNING, RUNNING, EXITED], ProcessEnd(0, cause=STOPPED + ENDED, is_unknown=True)),
        ("0 TERM", [RESTARTED], ProcessEnd(0, cause=STOPPED + ENDED, is_unknown=True)),
        ("0 TERM", [NotFound("gone")], ProcessEnd(0, cause=STOPPED + ENDED, is_unknown=True)),
        ("0 TERM", [NoConnection("away")], ProcessEnd(0, cause=STOPPED + SILENT, is_unknown=True)),
        ("0 TERM", [RUNNING], ProcessEnd(0)),
        ("3 TERM", [EXITED], ProcessEnd(3, cause=f"script failed: {ENDED}")),
        ("3 TERM", [NoConnection("away")], ProcessEnd(3)),
        ("0", [EXITED], ProcessEnd(0)),
    ],
)
async def test_a_script_that_stops_with_its_container_has_not_succeeded(
    words: str,
    states: list[dict[str, str] | Exception],
    end: ProcessEnd,
    connection: tuple[socket.socket, socket.socket],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PID 1 passes SIGTERM on, and the script may end with 0 half-way (R1, R36)."""
    monkeypatch.setattr(stdin_feed, "_CHECK_PAUSE", 0.0)
    ours, theirs = connection
    api = SimpleNamespace(
        exec_create=lambda *_, **__: {"Id": "e1"},
        exec_start=lambda *_, **__: ours,
        exec_inspect=lambda _: {"ExitCode": 0},
    )
    printed = f"{INVOCATION.nonce} started 12 345\n\x1e{INVOCATION.nonce} ended {words}\n".encode()
    theirs.sendall(b"\1\0\0\0" + len(printed).to_bytes(4, "big") + printed)
    theirs.shutdown(socket.SHUT_WR)
    container = StandInContainer(*states)
    process = ContainerProcess(SimpleNamespace(api=api), container, INVOCATION, terminal=False)
    assert await process.follow(lambda _, __: None) == end


@pytest.mark.parametrize(
    ("codes", "states", "code", "cause"),
    [
        ([None, 137], [RUNNING, EXITED], 137, "script failed: container shop-api-1 ended while it ran"),
        ([137], [RUNNING, RUNNING, NotFound("gone")], 137, "script failed: container shop-api-1 ended while it ran"),
        ([137], [RUNNING], None, "outcome unknown: "),
    ],
    ids=["reported late", "removed", "goes on"],
)
async def test_the_end_of_a_container_may_be_reported_after_that_of_its_script(
    codes: list[int | None],
    states: list[dict[str, str] | Exception],
    code: int | None,
    cause: str,
    connection: tuple[socket.socket, socket.socket],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A busy engine sees one end after the other (R22, R36)."""
    monkeypatch.setattr(containers, "_REPORT_PAUSES", (0.0,) * 4)
    ours, theirs = connection
    given = list(codes)
    api = SimpleNamespace(
        exec_create=lambda *_, **__: {"Id": "e1"},
        exec_start=lambda *_, **__: ours,
        exec_inspect=lambda _: {"ExitCode": given.pop(0) if len(given) > 1 else given[0]},
    )
    printed = f"{INVOCATION.nonce} started 12 345\n".encode()
    theirs.sendall(b"\1\0\0\0" + len(printed).to_bytes(4, "big") + printed)
    theirs.shutdown(socket.SHUT_WR)
    container = StandInContainer(*states)
    container.exec_run = lambda *_, **__: (0, b"gone")  # type: ignore[attr-defined]
    process = ContainerProcess(SimpleNamespace(api=api), container, INVOCATION, terminal=False)
    found = await process.follow(lambda _, __: None)
    assert (found.exit_code, found.is_unknown) == (code, code is None)
    assert found.cause is not None
    assert found.cause.startswith(cause)


class StandInEngine:
    """An engine that needs a moment to create a container, in which the user presses Ctrl+C."""

    def __init__(self, answers: threading.Event | None = None) -> None:
        self.left: set[str] = set()
        self.images = SimpleNamespace(get=lambda image: None)
        self.containers = SimpleNamespace(create=self._create)
        self.api = SimpleNamespace(remove_container=self._remove)
        self._answers = answers

    def _create(self, image: str, **settings: Any) -> Any:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)
            if self._answers is not None:
                self._answers.wait(PATIENCE)
        finally:  # also without a client the engine goes on
            self.left.add(settings.get("name", "a name of its own"))
        return SimpleNamespace(start=lambda: None, reload=lambda: None)

    def _remove(self, name: str, **_: Any) -> None:
        if name not in self.left:
            raise NotFound("No such container")
        self.left.remove(name)


class Notes:
    """The important lines of a screen."""

    def __init__(self) -> None:
        self.important: list[str] = []

    def note(self, text: str, *, important: bool = False) -> None:
        """Keep an important line."""
        if important:
            self.important.append(text)


def enter(engine: StandInEngine) -> list[str]:
    """Begin to run in a new container, which Ctrl+C interrupts; the important lines."""
    screen = Notes()
    script_run = ScriptRun(source=InlineScript("true"), target=Target(image="python:3.11-slim"))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), containers._running_container(engine, script_run, screen):  # type: ignore[arg-type]
            pass
    finally:
        signal.signal(signal.SIGINT, before)
    return screen.important


def test_a_container_that_is_being_created_is_removed() -> None:
    """Ctrl+C waits until the engine has created the container, and removes it (R6)."""
    engine = StandInEngine()
    assert (enter(engine), engine.left) == ([], set())


def test_an_engine_that_does_not_answer_may_leave_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl+C does not wait forever, and one line says how to remove the container (R6, R10)."""
    monkeypatch.setattr(containers, "_UNDO_TIMEOUT", 0.0)
    answers = threading.Event()
    engine = StandInEngine(answers)
    (line,) = enter(engine)
    answers.set()
    wait_for(lambda: engine.left, "the container")
    (name,) = engine.left
    assert line == f"Whether container {name} was created is unknown. Run: docker rm -f {name}"
