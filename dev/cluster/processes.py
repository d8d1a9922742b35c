"""Starts the cluster's processes and finds them again.

Every process gets a variable in its environment that names the cluster; what inherits it (containerd's shims) is the
cluster's too. So no process of anyone else is ever signalled, even where a process id was used anew.
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
    _pid_path(instance, name).write_text(f"{process.pid}\n")


def running(instance: Instance, name: str) -> bool:
    """Whether a component that was started still runs."""
    pid = pid_of(instance, name)
    return pid is not None and _is_ours(instance, pid)


def pid_of(instance: Instance, name: str) -> int | None:
    """The recorded process id of a component."""
    try:
        return int(_pid_path(instance, name).read_text())
    except (FileNotFoundError, ValueError):
        return None


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
        kill_until_none(lambda: [pid] if _is_ours(instance, pid) else [])
    _pid_path(instance, name).unlink(missing_ok=True)


def kill(instance: Instance) -> None:
    """End all processes of the cluster at once: its state is thrown away, so there is nothing to wait for.

    Kubelets go first, because they would start anew what vanishes beside them.
    """
    for name in started(instance):
        pid = pid_of(instance, name)
        if name.startswith("kubelet") and pid is not None and _is_ours(instance, pid):
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
