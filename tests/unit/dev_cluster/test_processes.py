"""How a cluster's processes are identified."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import processes
import pytest
from instance import Instance

from tests.patience import wait_for

# Executes itself until a file is there, then waits; containerd starts with three.
EXECUTES_ITSELF = 'if [ ! -e "$2" ]; then echo; exec sh -c "$1" sh "$1" "$2"; fi; exec sleep 3600'


# A component outlives the program that starts it.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <function Popen.__del__:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    """A cluster's folders; its processes end after the test."""
    instance = Instance(tmp_path)
    instance.state.mkdir()
    yield instance
    processes.kill(instance)


def test_a_process_runs_while_it_executes_another_program(instance: Instance, tmp_path: Path) -> None:
    """A start failed because a component between two programs counted as ended."""
    processes.start(instance, "component", ["sh", "-c", EXECUTES_ITSELF, "sh", EXECUTES_ITSELF, tmp_path / "told"])
    pid = processes.pid_of(instance, "component")
    looks: list[bool] = []
    while len(looks) <= 300 or processes.log_path(instance, "component").stat().st_size <= 300:
        looks.append(processes.running(instance, "component"))
    (tmp_path / "told").touch()
    wait_for(lambda: Path(f"/proc/{pid}/comm").read_text().strip() == "sleep", "the last program")
    assert all(looks)


def test_a_process_that_ended_does_not_run(instance: Instance) -> None:
    """Neither as a zombie nor afterwards."""
    processes.start(instance, "component", ["sleep", "60"])
    pid = processes.pid_of(instance, "component")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert not processes.running(instance, "component")
    os.waitpid(pid, 0)
    assert not processes.running(instance, "component")
    assert processes.pid_of(instance, "component") == pid


def test_a_reused_id_is_not_the_component(instance: Instance) -> None:
    """The start time differs, so a later process is not taken for the component."""
    instance.pids.mkdir()
    (instance.pids / "component.pid").write_text(f"{os.getpid()} 1\n")
    assert not processes.running(instance, "component")


def test_a_component_without_a_record_does_not_run(instance: Instance) -> None:
    """The same holds if a start was interrupted while it wrote the record."""
    assert not processes.running(instance, "component")
    instance.pids.mkdir()
    (instance.pids / "component.pid").write_text("")
    assert not processes.running(instance, "component")


def test_a_server_listens_after_its_file_exists(tmp_path: Path) -> None:
    """A connection before that is refused."""
    path = tmp_path / "server.sock"
    assert not processes.listens(path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        assert (path.exists(), processes.listens(path)) == (True, False)
        server.listen()
        assert processes.listens(path)
