"""The versions that a cluster can run."""

from __future__ import annotations

import re

import pytest
from versions import NEEDS, Kubernetes, chosen, containerd_version

STAGING = re.compile(r"^\t(k8s\.io/\S+) => (k8s\.io/\S+) (v0\.\S+)$", re.MULTILINE)


@pytest.mark.parametrize("minor", NEEDS)
def test_all_modules_of_a_version_are_of_one_release(minor: str) -> None:
    """Kubernetes requires its own modules as v0.0.0; each is replaced by its release."""
    kubernetes = Kubernetes(minor)
    assert kubernetes.version.startswith(f"{minor}.")
    replaced = STAGING.findall(kubernetes.go_mod.read_text())
    assert len(replaced) >= 30
    for name, by, release in replaced:
        assert by == name
        assert release == f"v0.{kubernetes.version.removeprefix('1.')}"


@pytest.mark.parametrize("minor", NEEDS)
def test_the_modules_of_a_version_have_checksums(minor: str) -> None:
    """So that what was reviewed is what is built."""
    kubernetes = Kubernetes(minor)
    sums = kubernetes.go_mod.with_suffix(".sum").read_text()
    assert f"k8s.io/kubernetes v{kubernetes.version} h1:" in sums


def test_what_is_said_of_a_cluster() -> None:
    """With the patch of Kubernetes, and with the container runtime."""
    assert str(chosen("1.31", None)) == f"Kubernetes {Kubernetes('1.31').version} with Debian's containerd"
    assert str(chosen(None, "2")).endswith(f" with containerd {containerd_version()}")
