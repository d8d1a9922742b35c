"""Makes and removes the control groups that hold the pods, for cgroup v1 and v2."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from errors import ClusterError
from processes import kill_until_none

MOUNTS = Path("/proc/self/mountinfo")
UNIFIED = Path("/sys/fs/cgroup")
REMOVE_SECONDS = 10.0
CONTROLLERS = {"cpu", "cpuset", "hugetlb", "io", "memory", "pids"}


def is_v2() -> bool:
    """Whether all controllers are in the one hierarchy of cgroup v2."""
    return (UNIFIED / "cgroup.controllers").exists()


def create(cgroup: str) -> None:
    """Make a cgroup such as `/asp-1a2b3c/node-1` that can have children."""
    if is_v2():
        _create_v2(cgroup)
        return
    for hierarchy in _mounted("cgroup"):
        _create_v1(hierarchy, cgroup)


def remove(cgroup: str) -> None:
    """Remove a cgroup and its children from every hierarchy; the processes in it are killed."""
    # Beside v1, there may be a v2 without controllers.
    hierarchies = [UNIFIED] if is_v2() else _mounted("cgroup", "cgroup2")
    tops = [top for hierarchy in hierarchies if (top := hierarchy / cgroup.strip("/")).is_dir()]
    kill_until_none(lambda: sorted({pid for top in tops for pid in _processes(top)}))
    for top in tops:
        _remove_tree(top)


def _mounted(*types: str) -> list[Path]:
    """The mount points of complete hierarchies of these file system types, each hierarchy once."""
    found: dict[str, Path] = {}
    for line in MOUNTS.read_text().splitlines():
        place, _, source = line.partition(" - ")
        device, root, path = place.split()[2:5]
        if source.split()[0] in types and root == "/":
            found.setdefault(device, Path(path))
    return list(found.values())


def _create_v1(hierarchy: Path, cgroup: str) -> None:
    path = hierarchy
    for part in cgroup.strip("/").split("/"):
        parent, path = path, path / part
        path.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):
            # A new cpuset is empty; a process can enter it only when it has processors and memory.
            if (path / setting).exists() and not (path / setting).read_text().strip():
                (path / setting).write_text((parent / setting).read_text())


def _create_v2(cgroup: str) -> None:
    path = UNIFIED
    _delegate_controllers(path)
    for part in cgroup.strip("/").split("/"):
        path = path / part
        path.mkdir(exist_ok=True)
        _delegate_controllers(path)


def _delegate_controllers(path: Path) -> None:
    """Delegate the controllers that the kubelet uses to the children of a v2 cgroup."""
    wanted = CONTROLLERS & set((path / "cgroup.controllers").read_text().split())
    missing = wanted - set((path / "cgroup.subtree_control").read_text().split())
    for controller in sorted(missing):
        try:
            (path / "cgroup.subtree_control").write_text(f"+{controller}")
        except OSError as error:
            raise ClusterError(
                f"cannot delegate the {controller} controller in {path}: {error}. "
                "In a container, use a cgroup namespace whose root has no processes."
            ) from error


def _processes(top: Path) -> list[int]:
    pids: list[int] = []
    for procs in top.rglob("cgroup.procs"):
        with suppress(OSError):
            pids += [int(pid) for pid in procs.read_text().split()]
    return [pid for pid in pids if pid > 0]


def _remove_tree(top: Path) -> None:
    """Remove the folders from the leaves up; the kernel refuses until the last process is gone."""
    deadline = time.monotonic() + REMOVE_SECONDS
    while top.exists():
        for folder, _, _ in os.walk(top, topdown=False):
            with suppress(OSError):
                Path(folder).rmdir()
        if top.exists() and time.monotonic() > deadline:
            raise ClusterError(f"cannot remove cgroup {top} within {REMOVE_SECONDS:.0f} s: see its cgroup.procs")
        time.sleep(0.02)
