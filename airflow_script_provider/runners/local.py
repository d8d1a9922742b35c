"""On this machine: its own interpreter, in a process group of the script's own."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import struct
import subprocess
import tempfile
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from airflow_script_provider import _event_loop
from airflow_script_provider.exceptions import TargetError
from airflow_script_provider.kube.exec.protocol import Channel
from airflow_script_provider.kube.request import interpreters
from airflow_script_provider.kube.request.interpreters import Interpreter
from airflow_script_provider.kube.request.sizes import check_files
from airflow_script_provider.result import ScriptResult
from airflow_script_provider.runners import terminal
from airflow_script_provider.runners.recording import End, Recording, Whereabouts
from airflow_script_provider.runners.script_run import Screen, ScriptRun
from airflow_script_provider.runners.supervise import Take, see_through
from airflow_script_provider.runners.terminal import Size
from airflow_script_provider.script import Script

_PIECE = 64 * 1024
_POLL = 0.05
_LAST_OUTPUT = 1.0
_LOOK = 0
_NO_IMAGE = ""  # which could say what runs the script


class LocalRunner:
    """Runs a script as a child of this process."""

    def unavailable(self, task: ScriptRun) -> str | None:
        """The interpreter or the working directory that this machine lacks."""
        program = _chosen(task.script, task).argv[0]
        if shutil.which(program) is None:
            return f"this machine has no {program!r} on its PATH"
        if task.working_dir and not Path(task.working_dir).is_dir():
            return f"this machine has no folder {task.working_dir!r}"
        return None

    def run(self, task: ScriptRun, screen: Screen) -> ScriptResult:
        """Run it, and leave no process and no file behind."""
        script = task.script
        chosen = _chosen(script, task)
        payload = task.payload(chosen.program)
        recording = Recording(task, screen)
        check_files(task.file_contents, chosen.script_file(script))
        with _as_files(script, task.file_contents, chosen) as path:
            argv = [*chosen.argv, path, *payload.arguments]
            end = _event_loop.run(_run(argv, os.environ | payload.environment, task, recording.take))
        return recording.result(end, script, Whereabouts())


def _chosen(script: Script, task: ScriptRun) -> Interpreter:
    return interpreters.choose(script, _NO_IMAGE, task.interpreter)


@contextlib.contextmanager
def _as_files(script: Script, files: Mapping[str, Script], chosen: Interpreter) -> Iterator[str]:
    """The path of the script in a private folder, which has the files beside it and is removed."""
    with tempfile.TemporaryDirectory(prefix="airflow-script-") as folder:
        own = chosen.script_file(script)
        for name, content in {**files, own: script}.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.data)
        yield str(Path(folder) / own)


async def _run(argv: Sequence[str], env: dict[str, str], task: ScriptRun, take: Take) -> End:
    with _started(argv, env, task) as process:
        return await see_through(process, task, take)


@contextlib.contextmanager
def _started(argv: Sequence[str], env: dict[str, str], task: ScriptRun) -> Iterator[LocalProcess]:
    """The running process; its group is gone at the end, whatever happened."""
    process = LocalProcess(argv, env, task)
    try:
        yield process
    finally:
        process.close()


class LocalProcess:
    """A child that leads a session of its own, on pipes or on a pseudo-terminal."""

    def __init__(self, argv: Sequence[str], env: dict[str, str], task: ScriptRun) -> None:
        self._ours: dict[int, Channel] = {}
        self._input: int | None = None
        self._is_gone = False
        theirs = self._terminal() if task.terminal else self._pipes(task.interactive)
        try:
            self._child = subprocess.Popen(  # noqa: S603  # running what the user wrote is what this is for
                argv, stdin=theirs[0], stdout=theirs[1], stderr=theirs[2], env=env, cwd=task.working_dir,
                start_new_session=True, preexec_fn=_take_terminal if task.terminal else None,  # noqa: PLW1509  # no threads yet
            )  # fmt: skip
        except OSError as error:  # too much of args and environment together, a folder that may not be entered
            raise TargetError(f"this machine cannot start {argv[0]!r}: {error.strerror}") from None
        finally:
            for descriptor in {descriptor for descriptor in theirs if descriptor >= 0}:
                os.close(descriptor)

    async def follow(self, take: Take) -> End:
        """Until the child has ended. What it has left in its group then is killed, which ends the output, too."""
        loop = asyncio.get_running_loop()
        closed = {descriptor: loop.create_future() for descriptor in self._ours}

        def read(descriptor: int) -> None:
            if data := _read(descriptor):
                take(self._ours[descriptor], data)
            else:
                loop.remove_reader(descriptor)
                closed[descriptor].set_result(None)

        for descriptor in self._ours:
            loop.add_reader(descriptor, read, descriptor)
        try:
            await asyncio.to_thread(self._child.wait)
            self._signal(signal.SIGKILL)
            await asyncio.wait(closed.values(), timeout=_LAST_OUTPUT)  # who left the group may hold it open
        finally:
            for descriptor in self._ours:
                loop.remove_reader(descriptor)
        return _end_of(self._child.returncode)

    async def send(self, data: bytes) -> None:
        """Write to stdin, in a thread: it may not be read for a while."""
        if self._input is not None:
            await asyncio.to_thread(_write, self._input, data)

    async def end_input(self) -> None:
        """Close the pipe; a terminal gets its Ctrl+D."""
        if self._input is None:
            return
        if self._input in self._ours:
            await self.send(b"\x04")
        else:
            os.close(self._input)
            self._input = None

    async def resize(self, size: Size) -> None:
        """The kernel tells the terminal's processes."""
        _set_size(next(iter(self._ours)), size)

    async def end(self, grace: float) -> None:
        """TERM for the group, and KILL for what is left of it."""
        self._signal(signal.SIGTERM)
        until = time.monotonic() + grace
        while not self._is_gone and time.monotonic() < until:
            await asyncio.sleep(_POLL)
            self._signal(_LOOK)
        self._signal(signal.SIGKILL)

    def close(self) -> None:
        """Nothing of it runs any more, no descriptor is open."""
        self._signal(signal.SIGKILL)
        self._child.wait()
        for descriptor in {*self._ours, *([self._input] if self._input is not None else [])}:
            os.close(descriptor)

    def _signal(self, number: int) -> None:
        """To the group, as long as there is one: its number is another's afterwards."""
        if self._is_gone:
            return
        try:
            os.killpg(self._child.pid, number)
        except (ProcessLookupError, PermissionError):
            self._is_gone = True

    def _pipes(self, interactive: bool) -> tuple[int, int, int]:
        out, their_out = os.pipe()
        err, their_err = os.pipe()
        self._ours = {out: Channel.STDOUT, err: Channel.STDERR}
        if not interactive:
            return subprocess.DEVNULL, their_out, their_err
        their_in, self._input = os.pipe()
        return their_in, their_out, their_err

    def _terminal(self) -> tuple[int, int, int]:
        ours, theirs = os.openpty()
        _set_size(ours, terminal.size())  # before anybody can ask for it
        self._ours = {ours: Channel.STDOUT}
        self._input = ours
        return theirs, theirs, theirs


def _set_size(descriptor: int, size: Size) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", size.lines, size.columns, 0, 0))


def _take_terminal() -> None:
    """Make stdin the new session's terminal, so that Ctrl+C is a signal and /dev/tty exists."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _PIECE)
    except OSError:  # how a pseudo-terminal ends
        return b""


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _end_of(code: int) -> End:
    """A signal's death as a shell tells it, and as containers do."""
    if code >= 0:
        return End(code)
    return End(128 - code, cause=f"script was ended by {signal.Signals(-code).name} (exit code {128 - code})")
