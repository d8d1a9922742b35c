"""Run a script on this machine, with its own interpreter and in its own session."""

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
from airflow_script_provider.kube.exec.ends import Termination
from airflow_script_provider.kube.exec.protocol import Channel
from airflow_script_provider.kube.request import interpreters
from airflow_script_provider.kube.request.interpreters import Interpreter
from airflow_script_provider.kube.request.sizes import check_files
from airflow_script_provider.kube.wording import signal_name
from airflow_script_provider.result import RunLocation, ScriptResult
from airflow_script_provider.runners import terminal
from airflow_script_provider.runners.recording import ProcessEnd, Recording
from airflow_script_provider.runners.script_run import Screen, ScriptRun
from airflow_script_provider.runners.supervise import OnOutput, supervise
from airflow_script_provider.runners.terminal import Size
from airflow_script_provider.script import Script

_PIECE = 64 * 1024
_POLL_INTERVAL = 0.05
_DRAIN_TIMEOUT = 1.0
_MAX_UNREAD = 1024 * 1024
"""Bytes of a process' output that a pipe or a pseudo-terminal can hold."""
_PROBE = 0  # the signal that only checks whether a process exists
_NO_IMAGE = ""  # this machine has no image that could decide the interpreter


class LocalRunner:
    """Runs a script as a child of this process."""

    def why_unavailable(self, script_run: ScriptRun) -> str | None:
        """The interpreter or the working directory that this machine lacks."""
        program = _interpreter(script_run.script, script_run).argv[0]
        if shutil.which(program) is None:
            return f"command not found on this machine: {program!r}"
        if script_run.working_dir and not Path(script_run.working_dir).is_dir():
            return f"no such directory on this machine: {script_run.working_dir!r}"
        return None

    def run(self, script_run: ScriptRun, screen: Screen) -> ScriptResult:
        """Run the script; no process and no file is left behind."""
        script = script_run.script
        interpreter = _interpreter(script, script_run)
        interpreter.check_encoding(script)
        payload = script_run.payload(interpreter.program)
        recording = Recording(script_run, screen)
        check_files(script_run.file_contents, interpreter.script_file(script))
        with _written_files(script, script_run.file_contents, interpreter) as path:
            argv = [*interpreter.argv, path, *payload.arguments]
            end = _event_loop.run(_run(argv, os.environ | payload.environment, script_run, recording.add))
        return recording.result(end, script, RunLocation())


def _interpreter(script: Script, script_run: ScriptRun) -> Interpreter:
    return interpreters.choose(script, _NO_IMAGE, script_run.interpreter)


@contextlib.contextmanager
def _written_files(script: Script, files: Mapping[str, Script], interpreter: Interpreter) -> Iterator[str]:
    """Write script and files into a temporary folder; return the script's path.

    The path has no links, as in a Job: an ES module compares it with its own resolved one.
    """
    with tempfile.TemporaryDirectory(prefix="airflow-script-") as made:
        folder, script_file = Path(made).resolve(), interpreter.script_file(script)
        for name, content in {**files, script_file: script}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.data)
        yield str(folder / script_file)


async def _run(argv: Sequence[str], env: dict[str, str], script_run: ScriptRun, on_output: OnOutput) -> ProcessEnd:
    with _started_process(argv, env, script_run) as process:
        return await supervise(process, script_run, on_output)


@contextlib.contextmanager
def _started_process(argv: Sequence[str], env: dict[str, str], script_run: ScriptRun) -> Iterator[LocalProcess]:
    """A running process, whose whole session is killed at the end."""
    process = LocalProcess(argv, env, script_run)
    try:
        yield process
    finally:
        process.close()


class LocalProcess:
    """A child process that leads its own session, on pipes or on a pseudo-terminal."""

    def __init__(self, argv: Sequence[str], env: dict[str, str], script_run: ScriptRun) -> None:
        self._outputs: dict[int, Channel] = {}
        self._shown_bytes = 0
        self._showing_seconds = 0.0
        self._input: int | None = None
        self._is_gone = False
        of_child = self._open_terminal() if script_run.terminal else self._open_pipes(script_run.interactive)
        try:
            # S603: running the user's script is the purpose. PLW1509: there are no threads yet.
            self._child = subprocess.Popen(  # noqa: S603
                argv, stdin=of_child[0], stdout=of_child[1], stderr=of_child[2], env=env, cwd=script_run.working_dir,
                start_new_session=True, preexec_fn=_take_terminal if script_run.terminal else None,  # noqa: PLW1509
            )  # fmt: skip
        except OSError as error:  # such as too long arguments, or a directory without access
            raise TargetError(f"this machine cannot start {argv[0]!r}: {error.strerror}") from None
        finally:
            for descriptor in {descriptor for descriptor in of_child if descriptor >= 0}:
                os.close(descriptor)

    async def follow(self, on_output: OnOutput) -> ProcessEnd:
        """Pass on the output until the child has ended.

        Then the rest of its session is killed, which also ends the output.
        """
        loop = asyncio.get_running_loop()
        closed = {descriptor: loop.create_future() for descriptor in self._outputs}

        def read(descriptor: int) -> None:
            if data := _read(descriptor):
                began = loop.time()
                on_output(self._outputs[descriptor], data)
                self._shown_bytes += len(data)
                self._showing_seconds += loop.time() - began
            else:
                loop.remove_reader(descriptor)
                closed[descriptor].set_result(None)

        for descriptor in self._outputs:
            loop.add_reader(descriptor, read, descriptor)
        try:
            await asyncio.to_thread(self._child.wait)
            self._signal(signal.SIGKILL)
            await self._wait_until_drained([*closed.values()])
        finally:
            for descriptor in self._outputs:
                loop.remove_reader(descriptor)
        return _process_end(self._child.returncode)

    async def _wait_until_drained(self, closed: Sequence[asyncio.Future[None]]) -> None:
        """Wait until what the child has written is shown.

        A process that has left the session may hold the output open and write on, so the wait is
        bounded. The time that our own reader takes does not count.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + _DRAIN_TIMEOUT - self._showing_seconds
        most = self._shown_bytes + _MAX_UNREAD
        while (left := until + self._showing_seconds - loop.time()) > 0 and self._shown_bytes < most:
            _, still_open = await asyncio.wait(closed, timeout=left)
            if not still_open:
                return

    async def send(self, data: bytes) -> None:
        """Write to stdin in a thread, because the script may not read it for a while."""
        if self._input is not None:
            await asyncio.to_thread(_write, self._input, data)

    async def end_input(self) -> None:
        """Close the pipe; a terminal gets its Ctrl+D."""
        if self._input is None:
            return
        if self._input in self._outputs:
            await self.send(b"\x04")
        else:
            os.close(self._input)
            self._input = None

    async def resize(self, size: Size) -> None:
        """Set the pseudo-terminal's size; the kernel signals its processes."""
        _set_size(next(iter(self._outputs)), size)

    @property
    def reported_end(self) -> ProcessEnd | None:
        """The end of the child, None while it is not known."""
        return None if self._child.returncode is None else _process_end(self._child.returncode)

    async def end(self, grace: float) -> Termination:
        """Send SIGTERM to the session, and SIGKILL to what is left after ``grace`` seconds."""
        had_ended = self._has_ended()
        self._signal(signal.SIGTERM)
        until = time.monotonic() + grace
        while not self._is_gone and time.monotonic() < until:
            await asyncio.sleep(_POLL_INTERVAL)
            self._signal(_PROBE)
        self._signal(signal.SIGKILL)
        return Termination("it was ended", may_still_run=False, was_signalled=not had_ended)

    def close(self) -> None:
        """Kill the session and close all descriptors."""
        self._signal(signal.SIGKILL)
        self._child.wait()
        for descriptor in {*self._outputs, *([self._input] if self._input is not None else [])}:
            os.close(descriptor)

    def _has_ended(self) -> bool:
        """Whether the child has ended; its status is left to the thread that waits for it."""
        if self._child.returncode is not None:
            return True
        try:
            return os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:  # that thread has just taken it
            return True

    def _signal(self, number: int) -> None:
        """Signal the groups of the session while it exists, the script's own first.

        Otherwise it may see its children end before it is told to end itself. Afterwards the
        session's number may belong to another one.
        """
        if self._is_gone:
            return
        groups = dict.fromkeys([self._child.pid, *_groups_of(self._child.pid)])
        were_signalled = [_signal_group(group, number) for group in groups]
        self._is_gone = not any(were_signalled)

    def _open_pipes(self, interactive: bool) -> tuple[int, int, int]:
        """Open our ends of the pipes; return the child's stdin, stdout and stderr."""
        out, child_out = os.pipe()
        err, child_err = os.pipe()
        self._outputs = {out: Channel.STDOUT, err: Channel.STDERR}
        if not interactive:
            return subprocess.DEVNULL, child_out, child_err
        child_in, self._input = os.pipe()
        return child_in, child_out, child_err

    def _open_terminal(self) -> tuple[int, int, int]:
        """Open a pseudo-terminal; return the child's stdin, stdout and stderr."""
        own_end, child_end = os.openpty()
        _set_size(own_end, terminal.size())  # before a process can ask for the size
        self._outputs = {own_end: Channel.STDOUT}
        self._input = own_end
        return child_end, child_end, child_end


def _signal_group(group: int, number: int) -> bool:
    """Signal a group; return False if it cannot get the signal."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _groups_of(session: int) -> set[int]:
    """The process groups of a session; empty where the system has no /proc to read them from.

    A program such as ``timeout`` puts itself into a group of its own.
    """
    groups = set()
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            # The name in brackets may contain any character.
            state, _, group, its_session, *_ = file.read_bytes().rpartition(b") ")[2].split()
            if int(its_session) == session and state not in (b"Z", b"X"):
                groups.add(int(group))
    return groups


def _set_size(descriptor: int, size: Size) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", size.lines, size.columns, 0, 0))


def _take_terminal() -> None:
    """Make stdin the new session's terminal, so that Ctrl+C is a signal and /dev/tty exists."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _PIECE)
    except OSError:  # a pseudo-terminal ends this way
        return b""


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _process_end(code: int) -> ProcessEnd:
    """How the child ended.

    A signal becomes exit code 128 + n, as in a shell and in a container.
    """
    if code >= 0:
        return ProcessEnd(code)
    name = signal_name(128 - code) or f"signal {-code}"
    return ProcessEnd(128 - code, cause=f"script was ended by {name} (exit code {128 - code})")
