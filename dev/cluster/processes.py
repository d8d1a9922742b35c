"""Starts the cluster's processes and finds them again.

A component is identified by its process id and its start time, because the kernel uses ids again.
Every process also gets an environment variable that names the cluster; children, such as
containerd's shims, inherit it. Other processes get no signal.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from errors import ClusterError
from instance import Instance

MARKER = "AIRFLOW_SCRIPT_PROVIDER_CLUSTER"
KILL_SECONDS = 15.0
SHOWN_LOG_LINES = 15


def start(instance: Instance, name: str, command: Sequence[str | Path], *, path: str | None = None) -> None:
    """Start a component in the background; files named after it get its log and its process id.

    `path` is its PATH, by default this process's.
    """
    instance.logs.mkdir(exist_ok=True)
    instance.pids.mkdir(exist_ok=True)
    with log_path(instance, name).open("ab") as log:
        process = subprocess.Popen(
            [str(argument) for argument in command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={"PATH": path or os.environ["PATH"], "HOME": "/root", MARKER: instance.id},
            start_new_session=True,
        )
    _pid_path(instance, name).write_text(f"{process.pid} {_start_time(process.pid)}\n")


def running(instance: Instance, name: str) -> bool:
    """Whether a component that was started still runs.

    The environment is not enough: it is empty for a moment while a process executes a program.
    """
    recorded = _recorded(instance, name)
    return recorded is not None and _start_time(recorded[0]) == recorded[1]


def pid_of(instance: Instance, name: str) -> int | None:
    """The recorded process id of a component."""
    recorded = _recorded(instance, name)
    return recorded[0] if recorded else None


def started(instance: Instance) -> list[str]:
    """The names of all components that were started."""
    return sorted(path.stem for path in instance.pids.glob("*.pid"))


def ours(instance: Instance) -> list[int]:
    """All processes of the cluster, except those inside containers."""
    return [pid for pid in _all_pids() if _is_ours(instance, pid)]


def stop(instance: Instance, name: str) -> None:
    """End one optional component and delete the record of its start."""
    pid = pid_of(instance, name)
    if pid is not None:
        kill_until_none(lambda: [pid] if running(instance, name) else [])
    _pid_path(instance, name).unlink(missing_ok=True)


def kill(instance: Instance) -> None:
    """Kill all processes of the cluster at once; their state is deleted anyway.

    Kubelets are killed first: they would restart containers that end.
    """
    for name in started(instance):
        pid = pid_of(instance, name)
        if name.startswith("kubelet") and pid is not None and running(instance, name):
            _send_kill(pid)
    kill_until_none(lambda: ours(instance))


def kill_until_none(find: Callable[[], list[int]]) -> None:
    """Kill the processes that `find` returns until it returns none."""
    deadline = time.monotonic() + KILL_SECONDS
    while pids := find():
        if time.monotonic() > deadline:
            raise ClusterError(f"processes {pids} still run {KILL_SECONDS:.0f} s after SIGKILL")
        for pid in pids:
            _send_kill(pid)
        time.sleep(0.05)


def log_path(instance: Instance, name: str) -> Path:
    """The file with a component's output."""
    return instance.logs / f"{name}.log"


def log_tail(instance: Instance, name: str) -> str:
    """The path of a component's log and its last lines."""
    path = log_path(instance, name)
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return "\n".join([f"last lines of {path}:", *lines[-SHOWN_LOG_LINES:]])


def _pid_path(instance: Instance, name: str) -> Path:
    return instance.pids / f"{name}.pid"


def _recorded(instance: Instance, name: str) -> tuple[int, int] | None:
    """Process id and start time of a component, from the record of its start."""
    try:
        pid, started_at = map(int, _pid_path(instance, name).read_text().split())
    except (FileNotFoundError, ValueError):
        return None
    return pid, started_at


def _start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None for a zombie or no process."""
    try:
        _, _, after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    except OSError:
        return None
    fields = after_name.split()
    return None if fields[0] in "ZX" else int(fields[19])


def _all_pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def _is_ours(instance: Instance, pid: int) -> bool:
    """Whether the process belongs to the cluster; a zombie has no environment, so it does not."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return f"{MARKER}={instance.id}".encode() in environment.split(b"\0")


def _send_kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def listens(path: Path) -> bool:
    """Whether a server accepts connections there: its socket's file exists a moment before."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0
