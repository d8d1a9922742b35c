"""The names and folders of a checkout's own cluster; all derive from the checkout's path."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from errors import ClusterError

NODE_NAMES = ("node-1", "node-2")

# A UNIX socket's path has at most 107 bytes. The longest is the kubelet's pod-resources socket.
LONGEST_CHECKOUT_PATH = 107 - len("/.cluster/node-1/kubelet/pod-resources/kubelet.sock")


@dataclass(frozen=True)
class Instance:
    """The cluster of one checkout."""

    checkout: Path

    @property
    def id(self) -> str:
        """Six hex digits: the name of a network interface has at most 15 characters."""
        return hashlib.sha256(bytes(self.checkout)).hexdigest()[:6]

    @property
    def name(self) -> str:
        """The name of bridges, cgroups and firewall rules."""
        return f"asp-{self.id}"

    @property
    def state(self) -> Path:
        """The folder of all files that the cluster writes; `down` deletes it."""
        return self.checkout / ".cluster"

    @property
    def logs(self) -> Path:
        """One file per component."""
        return self.state / "logs"

    @property
    def pids(self) -> Path:
        """One file per component with its process id."""
        return self.state / "pids"

    @property
    def secrets(self) -> Path:
        """Keys, certificates and tokens."""
        return self.state / "secrets"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.state / "kubeconfig"

    @property
    def audit_log(self) -> Path:
        """One JSON line per API request."""
        return self.state / "audit.log"

    def node_folder(self, node: str) -> Path:
        """The folder of one node's containerd and kubelet."""
        return self.state / node

    def cgroup(self, node: str) -> str:
        """The cgroup that holds a node's pods."""
        return f"/{self.name}/{node}"

    def bridge(self, node: str) -> str:
        """The network interface that connects a node's pods."""
        return f"{self.name}-{node.removeprefix('node-')}"

    @property
    def service_bridge(self) -> str:
        """The network interface with the address of Service `kubernetes`."""
        return f"{self.name}-api"


def of_this_checkout() -> Instance:
    """The cluster of the checkout that contains this program."""
    instance = Instance(Path(__file__).resolve().parents[2])
    if len(bytes(instance.checkout)) > LONGEST_CHECKOUT_PATH:
        raise ClusterError(
            f"checkout path {instance.checkout} is too long for UNIX sockets below it: "
            f"move it to a path of at most {LONGEST_CHECKOUT_PATH} characters"
        )
    return instance
