"""A real two-node Kubernetes for this checkout: `python3 dev/cluster up|down|status`; see the README beside."""

from __future__ import annotations

import argparse
import sys

import lifecycle
from errors import ClusterError
from instance import of_this_checkout


def main() -> int:
    """Run the command and return the exit code."""
    about = "A real two-node Kubernetes on this machine, without Docker."
    parser = argparse.ArgumentParser(prog="python3 dev/cluster", description=about)
    parser.add_argument("command", choices=["up", "down", "status"])
    command = parser.parse_args().command
    try:
        instance = of_this_checkout()
        if command == "status":
            return 0 if lifecycle.status(instance) else 1
        (lifecycle.up if command == "up" else lifecycle.down)(instance)
    except ClusterError as error:
        print(f"dev/cluster: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
