"""A real two-node Kubernetes for this checkout: `python3 dev/cluster up|down|status|kwok|kueue`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import fake_nodes
import kueue
import kwok
import lifecycle
import prerequisites
import versions
from errors import ClusterError
from instance import Instance, of_this_checkout


def main() -> int:
    """Run the command and return the exit code."""
    asked = _parser().parse_args()
    try:
        return _run(of_this_checkout(), asked)
    except ClusterError as error:
        print(f"dev/cluster: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    about = "A real two-node Kubernetes on this machine, without Docker."
    parser = argparse.ArgumentParser(prog="python3 dev/cluster", description=about)
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("up", help="start it; a healthy cluster is left as it is")
    start.add_argument("--kubernetes", choices=versions.NEEDS, help=f"the version, {versions.DEFAULT} by default")
    start.add_argument("--containerd", choices=versions.CONTAINERDS, help=f"{versions.DEBIAN} by default")
    commands.add_parser("down", help="remove it")
    commands.add_parser("status", help="show whether it is healthy")
    fakes = commands.add_parser("kwok", help="add or remove fake nodes").add_subparsers(dest="fakes", required=True)
    up = fakes.add_parser("up", help="add or remove nodes until the group has this number")
    up.add_argument("--nodes", type=int, default=10)
    up.add_argument("--group", default=fake_nodes.DEFAULT_GROUP, help="default: %(default)s")
    fakes.add_parser("down", help="remove them and the pods on them").add_argument("--group", help="default: all")
    queues = commands.add_parser("kueue", help="start or remove Kueue's controller").add_subparsers(
        dest="queues", required=True
    )
    for action, about in (("up", "start it anew, without queues"), ("down", "remove it and all queues")):
        added = queues.add_parser(action, help=about)
        added.add_argument("--kubeconfig", type=Path, help="of another cluster on this machine; default: this one's")
    return parser


def _run(instance: Instance, asked: argparse.Namespace) -> int:
    if asked.command == "status":
        return 0 if lifecycle.status(instance) else 1
    if asked.command == "kwok":
        prerequisites.check_machine()
        if asked.fakes == "up":
            kwok.up(instance, asked.nodes, asked.group)
        else:
            kwok.down(instance, asked.group)
        return 0
    if asked.command == "kueue":
        prerequisites.check_machine()
        controller = kueue.Kueue(instance, (asked.kubeconfig or instance.kubeconfig).resolve())
        controller.up() if asked.queues == "up" else controller.down()
        return 0
    if asked.command == "up":
        lifecycle.up(instance, asked.kubernetes, asked.containerd)
    else:
        lifecycle.down(instance)
    return 0


if __name__ == "__main__":
    sys.exit(main())
