"""The command lines of the control plane."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, cast

from control_plane import ControlPlane, Ports
from instance import Instance
from network import Block


class Anything:
    """Paths of programs and credentials, which don't matter here."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: Path(name)


def the_words_of(component: str) -> set[str]:
    """A component's command line."""
    anything = cast("Any", Anything())
    block = Block(IPv4Network("10.64.4.0/22"))
    plane = ControlPlane(Instance(Path("/checkout")), anything, anything, block, Ports(1, 2, 3))
    return {str(word) for word in plane.components()[component]}


def test_the_audit_log_does_not_grow_for_ever() -> None:
    """The API server sets it aside at 50 MB and keeps one such file."""
    assert {"--audit-log-maxsize=50", "--audit-log-maxbackup=1"} <= the_words_of("kube-apiserver")


def test_a_thousand_jobs_start_in_seconds() -> None:
    """The controllers' default of 20 calls a second would take minutes."""
    assert {"--kube-api-qps=200", "--kube-api-burst=400"} <= the_words_of("kube-controller-manager")
