"""Starts the cluster's processes and finds them again.

A component is known by its process id and the time at which the process started, so an id that was used anew is nobody
we know. Every process also gets a variable in its environment that names the cluster; what inherits it (containerd's
shims) is the cluster's too. So no process of anyone else is ever signalled.
"""

from __future__ import annotations

import os
import signal
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


def start(instance: Instance, name: str, command: Sequence[str | Path]) -> None:
    """Start a component in the background; its log and its process id go to files named after it."""
    instance.logs.mkdir(exist_ok=True)
    instance.pids.mkdir(exist_ok=True)
    with log_path(instance, name).open("ab") as log:
        process = subprocess.Popen(
            [str(argument) for argument in command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={"PATH": os.environ["PATH"], "HOME": "/root", MARKER: instance.id},
            start_new_session=True,
        )
    _pid_path(instance, name).write_text(f"{process.pid} {_start_time(process.pid)}\n")


def running(instance: Instance, name: str) -> bool:
    """Whether a component that was started still runs.

    Its environment would not do: it is empty for the instant in which a process executes another program.
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
    """End one component, which the cluster can do without, and forget that it was started."""
    pid = pid_of(instance, name)
    if pid is not None:
        kill_until_none(lambda: [pid] if running(instance, name) else [])
    _pid_path(instance, name).unlink(missing_ok=True)


def kill(instance: Instance) -> None:
    """End all processes of the cluster at once: its state is thrown away, so there is nothing to wait for.

    Kubelets go first, because they would start anew what vanishes beside them.
    """
    for name in started(instance):
        pid = pid_of(instance, name)
        if name.startswith("kubelet") and pid is not None and running(instance, name):
            _send_kill(pid)
    kill_until_none(lambda: ours(instance))


def kill_until_none(find: Callable[[], list[int]]) -> None:
    """Kill what `find` returns until it returns nothing."""
    deadline = time.monotonic() + KILL_SECONDS
    while pids := find():
        if time.monotonic() > deadline:
            raise ClusterError(f"processes {pids} do not end although they were killed")
        for pid in pids:
            _send_kill(pid)
        time.sleep(0.05)


def log_path(instance: Instance, name: str) -> Path:
    """Where a component's output goes."""
    return instance.logs / f"{name}.log"


def log_tail(instance: Instance, name: str) -> str:
    """The last lines of a component's log, headed by its path."""
    path = log_path(instance, name)
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return "\n".join([f"last lines of {path}:", *lines[-SHOWN_LOG_LINES:]])


def _pid_path(instance: Instance, name: str) -> Path:
    return instance.pids / f"{name}.pid"


def _recorded(instance: Instance, name: str) -> tuple[int, int] | None:
    """Process id and start time of a component, as they were when it was started."""
    try:
        pid, started_at = map(int, _pid_path(instance, name).read_text().split())
    except (FileNotFoundError, ValueError):
        return None
    return pid, started_at


def _start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since the machine did; None once it has ended, collected or not."""
    try:
        _, _, after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    except OSError:
        return None
    fields = after_name.split()
    return None if fields[0] in "ZX" else int(fields[19])


def _all_pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def _is_ours(instance: Instance, pid: int) -> bool:
    """A process that has ended but was not yet collected has an empty environment, so it counts as gone."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return f"{MARKER}={instance.id}".encode() in environment.split(b"\0")


def _send_kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
