"""Checks the machine and installs missing Debian packages; an error names what is missing."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

from commands import run
from errors import ClusterError
from node import CNI_FOLDERS
from progress import Step
from steps import Steps

# Programs, and the Debian packages that contain them.
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
    """Raise an error on a machine that cannot run a cluster."""
    if platform.system() != "Linux":
        raise ClusterError(f"the development cluster needs Linux; this machine runs {platform.system()}")
    if os.geteuid() != 0:
        raise ClusterError("the development cluster needs root (mounts, cgroups, bridges): run it with sudo")
    folders = os.environ.get("PATH", "").split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join([*folders, *(add for add in SYSTEM_FOLDERS if add not in folders)])


def planned() -> list[Step]:
    """The step that installs missing packages; none if the machine has them all."""
    missing = missing_packages()
    return [_step(missing)] if missing else []


def install_missing(steps: Steps) -> None:
    """Install missing programs with apt-get."""
    missing = missing_packages()
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise ClusterError(f"missing Debian packages, and no apt-get to install them: {', '.join(missing)}")
    with steps.doing(_step(missing)):
        _install(missing)
    if still_missing := missing_packages():
        raise ClusterError(f"missing after apt-get install: programs of {', '.join(still_missing)}")


def missing_packages() -> list[str]:
    """The Debian packages that contain the missing programs."""
    missing = {package for program, package in PACKAGES.items() if not shutil.which(program)}
    if not any((folder / "bridge").exists() for folder in CNI_FOLDERS):
        missing.add(CNI_PACKAGE)
    return sorted(missing)


def has_network_programs() -> bool:
    """Whether this machine can have bridges and firewall rules of a cluster."""
    return all(shutil.which(program) for program in ("ip", "iptables"))


def _step(missing: list[str]) -> Step:
    return Step("install Debian packages", f"{', '.join(missing)}; once per machine")


def _install(packages: list[str]) -> None:
    """Install without starting services: the cluster starts its own containerd."""
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
