"""The control groups of the cluster's nodes: files as machines of v1, v2 and both have them, and a real mount of v2."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cgroups
import pytest
from errors import ClusterError

V1 = """\
30 24 0:26 / /sys/fs/cgroup ro,nosuid,nodev,noexec - tmpfs tmpfs ro,mode=755
32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
33 30 0:29 / /sys/fs/cgroup/memory rw,relatime shared:10 - cgroup cgroup rw,memory
"""
BOTH = f"{V1}31 30 0:27 / /sys/fs/cgroup/unified rw,relatime shared:8 - cgroup2 cgroup2 rw\n"
V1_IN_A_CONTAINER = """\
32 30 0:28 /docker/3f2a /sys/fs/cgroup/cpu,cpuacct ro,relatime master:9 - cgroup cgroup rw,cpu,cpuacct
33 30 0:29 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
34 30 0:29 / /mnt/memory rw,relatime - cgroup cgroup rw,memory
"""
V2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


@pytest.mark.parametrize(
    ("mounts", "types", "expected"),
    [
        (V1, ("cgroup",), ["/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/memory"]),
        (BOTH, ("cgroup",), ["/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/memory"]),
        (BOTH, ("cgroup2",), ["/sys/fs/cgroup/unified"]),
        (V1_IN_A_CONTAINER, ("cgroup",), ["/sys/fs/cgroup/memory"]),
        (V2, ("cgroup",), []),
        (V2, ("cgroup", "cgroup2"), ["/sys/fs/cgroup"]),
    ],
)
def test_hierarchies_of_a_machine(
    mounts: str, types: tuple[str, ...], expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each once, and only those that are seen from their root."""
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(mounts)
    monkeypatch.setattr(cgroups, "MOUNTS", mountinfo)
    assert [str(path) for path in cgroups._mounted(*types)] == expected


def a_v2_folder(path: Path, controllers: str, delegated: str) -> Path:
    """Files as the kernel has them in a cgroup of v2."""
    path.mkdir()
    (path / "cgroup.controllers").write_text(f"{controllers}\n")
    (path / "cgroup.subtree_control").write_text(f"{delegated}\n" if delegated else "")
    return path


@pytest.mark.parametrize(
    ("controllers", "delegated", "written"),
    [
        ("cpuset cpu io memory hugetlb pids rdma misc", "cpu io memory pids", "+cpuset +hugetlb"),
        ("cpuset cpu io memory hugetlb pids", "cpuset cpu io memory hugetlb pids", ""),
        ("cpu memory pids", "", "+cpu +memory +pids"),
        ("", "", ""),
    ],
)
def test_controllers_are_delegated_to_the_children(
    controllers: str, delegated: str, written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that the kubelet uses, that the machine has, and that were not delegated before."""
    folder, words = a_v2_folder(tmp_path / "top", controllers, delegated), []
    monkeypatch.setattr(Path, "write_text", lambda _, text: words.append(text))
    cgroups._delegate_controllers(folder)
    assert " ".join(words) == written


@pytest.fixture
def unified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A real mount of v2, in the place of the machine's; as root, as the cluster needs it."""
    top = tmp_path / "unified"
    top.mkdir()
    subprocess.run(["mount", "-t", "cgroup2", "none", top], check=True)
    monkeypatch.setattr(cgroups, "UNIFIED", top)
    try:
        yield top
    finally:
        subprocess.run(["umount", top], check=True)


NAME = f"/asp-test-{os.getpid()}/node-1"


def test_a_node_of_v2_is_made_and_removed_with_its_processes(unified: Path) -> None:
    """On the kernel's own files: what runs in a pod's cgroup is killed, and no folder stays."""
    assert cgroups.is_v2()
    cgroups.create(NAME)
    pod = unified / NAME.strip("/") / "kubepods" / "pod-1"
    pod.mkdir(parents=True)
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        (pod / "cgroup.procs").write_text(str(process.pid))
        cgroups.remove(NAME.rpartition("/")[0])
        assert process.wait(timeout=60) == -9
    finally:
        process.kill()
        process.wait()
    assert not (unified / NAME.split("/")[1]).exists()


def test_a_controller_that_cannot_be_delegated_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the root of a container's cgroup namespace has processes."""
    folder = a_v2_folder(tmp_path / "top", "cpu memory", "cpu")

    def refuse(path: Path, text: str) -> int:
        raise OSError(16, "Device or resource busy", str(path), None, None)

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(ClusterError, match=r"cannot delegate the memory controller in .*top: .*busy"):
        cgroups._delegate_controllers(folder)
