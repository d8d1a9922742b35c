"""The command lines of the control plane."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, cast

from control_plane import ControlPlane, Ports
from instance import Instance
from network import Block


class Anything:
    """Paths of programs and credentials; the tests ignore them."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: Path(name)


def the_arguments_of(component: str) -> set[str]:
    """A component's command line."""
    anything = cast("Any", Anything())
    block = Block(IPv4Network("10.64.4.0/22"))
    plane = ControlPlane(Instance(Path("/checkout")), anything, anything, block, Ports(1, 2, 3))
    commands = {**plane.servers(), **plane.controllers()}
    return {str(argument) for argument in commands[component]}


def test_the_audit_log_has_a_limit() -> None:
    """The API server rotates it at 50 MB and keeps one older file."""
    assert {"--audit-log-maxsize=50", "--audit-log-maxbackup=1"} <= the_arguments_of("kube-apiserver")


def test_a_thousand_jobs_start_in_seconds() -> None:
    """The controllers' default of 20 calls a second would take minutes."""
    assert {"--kube-api-qps=200", "--kube-api-burst=400"} <= the_arguments_of("kube-controller-manager")
