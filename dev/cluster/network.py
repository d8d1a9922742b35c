"""Gives the nodes and pods addresses that nothing else on the machine uses.

A cluster has one block of 1024 addresses: the first 256 for node-1 and its pods, the next 256 for
node-2 and its pods, the last 256 for the Services. A node's address is on its bridge, because the
kubelet refuses a loopback address. The bridge is also the gateway of the node's pods, because the
CNI plugin refuses a bridge with another address.
"""

from __future__ import annotations

import json
import random
import shlex
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPV4LENGTH, IPv4Address, IPv4Network
from pathlib import Path

from commands import run
from errors import ClusterError
from instance import NODE_NAMES, Instance

RESOLVERS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
# Below the range of ports that the kernel gives to outgoing connections.
PORTS = range(20000, 32000)


@dataclass(frozen=True)
class Block:
    """The addresses of one cluster."""

    network: IPv4Network

    def node(self, node: str) -> IPv4Address:
        """The node's own address: the first one of its pods' network."""
        return self.pods(node)[1]

    def pods(self, node: str) -> IPv4Network:
        """The addresses of the node and its pods."""
        return list(self.network.subnets(new_prefix=24))[NODE_NAMES.index(node)]

    @property
    def services(self) -> IPv4Network:
        """The addresses of Services."""
        return list(self.network.subnets(new_prefix=24))[3]

    @property
    def api_service(self) -> IPv4Address:
        """The address of Service `kubernetes`: always the first one."""
        return self.services[1]


def choose_block(instance: Instance) -> Block:
    """A block that does not overlap a route, an address or a name server of this machine."""
    taken = _taken_networks()
    for network in _candidates(instance):
        if not any(network.overlaps(other) for other in taken):
            return Block(network)
    raise ClusterError("no free block of addresses in 10.64.0.0/10: see `ip route`")


def choose_ports(instance: Instance, count: int) -> list[int]:
    """Free loopback ports; the same ones at every start, as long as they are free."""
    found: list[int] = []
    for port in random.Random(instance.id).sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise ClusterError(
        f"fewer than {count} free ports between {PORTS.start} and {PORTS.stop} on 127.0.0.1: see `ss -ltn`"
    )


def create(instance: Instance, block: Block) -> None:
    """Make the nodes' bridges and forward the pods' traffic to other networks."""
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    for node in NODE_NAMES:
        _create_bridge(instance.bridge(node), block.node(node), block.pods(node).prefixlen)
        for rule in _rules(instance, block, node):
            run(["iptables", "--wait", *rule])
    _create_bridge(instance.service_bridge, block.api_service, IPV4LENGTH)


def remove(instance: Instance) -> None:
    """Remove bridges and firewall rules, by the cluster's name."""
    for bridge in (*map(instance.bridge, NODE_NAMES), instance.service_bridge):
        if Path("/sys/class/net", bridge).exists():
            run(["ip", "link", "delete", bridge])
    for table in ("nat", "filter"):
        for line in run(["iptables", "--wait", "-t", table, "-S"]).splitlines():
            rule = shlex.split(line)
            if instance.name in rule and rule[0] == "-A":
                run(["iptables", "--wait", "-t", table, "-D", *rule[1:]])


def name_servers() -> list[str]:
    """The name servers that a pod can reach; it cannot reach systemd-resolved on loopback."""
    for path in RESOLVERS:
        servers = _name_servers_in(path)
        if servers and not any(server.is_loopback for server in servers):
            return [str(server) for server in servers]
    return []


def _create_bridge(bridge: str, address: IPv4Address, prefix: int) -> None:
    run(["ip", "link", "add", "name", bridge, "type", "bridge"])
    # Without a fixed address, the bridge would take that of each new pod, and neighbours cache it.
    hardware = "02:" + ":".join(f"{byte:02x}" for byte in b"\0" + address.packed)
    run(["ip", "link", "set", bridge, "address", hardware, "up"])
    run(["ip", "address", "add", f"{address}/{prefix}", "dev", bridge])


def _rules(instance: Instance, block: Block, node: str) -> Iterable[list[str]]:
    comment = ["-m", "comment", "--comment", instance.name]
    pods = str(block.pods(node))
    outside = ["!", "-d", str(block.network)]
    yield ["-t", "nat", "-A", "POSTROUTING", "-s", pods, *outside, *comment, "-j", "MASQUERADE"]
    # A container engine sets the machine to forward only what a rule accepts.
    yield ["-I", "FORWARD", "-s", pods, *comment, "-j", "ACCEPT"]
    yield ["-I", "FORWARD", "-d", pods, *comment, "-j", "ACCEPT"]


def _candidates(instance: Instance) -> Iterable[IPv4Network]:
    blocks = list(IPv4Network("10.64.0.0/10").subnets(new_prefix=22))
    return random.Random(instance.id).sample(blocks, len(blocks))


def _taken_networks() -> list[IPv4Network]:
    listed = json.loads(run(["ip", "-4", "-json", "route", "show", "table", "all"]))
    routes = [route["dst"] for route in listed if route.get("dst", "default") != "default"]
    return [IPv4Network(route, strict=False) for route in routes] + [
        IPv4Network(server) for path in RESOLVERS for server in _name_servers_in(path)
    ]


def _name_servers_in(path: Path) -> list[IPv4Address]:
    lines = path.read_text().splitlines() if path.exists() else []
    words = [line.split() for line in lines]
    return [IPv4Address(line[1]) for line in words if len(line) > 1 and line[0] == "nameserver" and ":" not in line[1]]
