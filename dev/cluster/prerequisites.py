"""Sees to it that the machine has what a cluster needs, and says in one line what is missing where it cannot."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

from commands import run
from errors import ClusterError
from node import CNI_FOLDERS
from steps import step

# Programs, and the Debian packages that bring them.
PACKAGES = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "ip": "iproute2",
    "openssl": "openssl",
    "mmdebstrap": "mmdebstrap",
    "mount": "mount",
    "nsenter": "util-linux",
    "unshare": "util-linux",
}
CNI_PACKAGE = "containernetworking-plugins"
# Debian's sbin folders are not on the PATH of every root shell.
SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
POLICY = Path("/usr/sbin/policy-rc.d")


def check_machine() -> None:
    """Refuse a machine on which no cluster can run."""
    if platform.system() != "Linux":
        raise ClusterError(f"the development cluster needs Linux, this is {platform.system()}")
    if os.geteuid() != 0:
        raise ClusterError("the development cluster needs root (mounts, cgroups, bridges): run it with sudo")
    folders = os.environ.get("PATH", "").split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join([*folders, *(add for add in SYSTEM_FOLDERS if add not in folders)])


def install_missing() -> None:
    """Install missing programs with apt-get."""
    missing = missing_packages()
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise ClusterError(f"missing, and no apt-get here to install it: {', '.join(missing)}")
    with step(f"installed {' '.join(missing)}"):
        _install(missing)
    if still_missing := missing_packages():
        raise ClusterError(f"missing although apt-get installed it: {', '.join(still_missing)}")


def missing_packages() -> list[str]:
    """The Debian packages that would bring what the machine lacks."""
    missing = {package for program, package in PACKAGES.items() if not shutil.which(program)}
    if not any((folder / "bridge").exists() for folder in CNI_FOLDERS):
        missing.add(CNI_PACKAGE)
    return sorted(missing)


def has_network_programs() -> bool:
    """Whether bridges and firewall rules of ours can exist at all."""
    return all(shutil.which(program) for program in ("ip", "iptables"))


def _install(packages: list[str]) -> None:
    """Install without starting services: a containerd of the machine's own is not what we need."""
    own_policy = not POLICY.exists()
    if own_policy:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        run(["apt-get", "-qq", "update"])
        options = ["-qq", "install", "--yes", "--no-install-recommends"]
        run(["apt-get", *options, *packages], env={"DEBIAN_FRONTEND": "noninteractive"})
    finally:
        if own_policy:
            POLICY.unlink()
