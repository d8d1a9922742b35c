"""Addresses of a cluster."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import network
import pytest
from errors import ClusterError
from instance import Instance

BLOCK = network.Block(IPv4Network("10.64.4.0/22"))
INSTANCE = Instance(Path("/checkout"))


def test_a_block_has_a_part_for_each_node_and_one_for_services() -> None:
    """A node has its pods' first address; Service ``kubernetes`` has the first Service address."""
    assert [str(BLOCK.pods(node)) for node in ("node-1", "node-2")] == ["10.64.4.0/24", "10.64.5.0/24"]
    assert [str(BLOCK.node(node)) for node in ("node-1", "node-2")] == ["10.64.4.1", "10.64.5.1"]
    assert (str(BLOCK.services), str(BLOCK.api_service)) == ("10.64.7.0/24", "10.64.7.1")


def test_a_checkout_has_the_same_block_at_every_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as the block is free; otherwise it gets another one."""
    taken: list[IPv4Network] = []
    monkeypatch.setattr(network, "_taken_networks", lambda: taken)
    first = network.choose_block(INSTANCE)
    assert network.choose_block(INSTANCE) == first
    taken.append(first.network)
    assert not network.choose_block(INSTANCE).network.overlaps(first.network)


def test_without_a_free_block_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A route may cover all blocks."""
    monkeypatch.setattr(network, "_taken_networks", lambda: [IPv4Network("10.0.0.0/8")])
    with pytest.raises(ClusterError, match=r"no free block of addresses in 10.64.0.0/10"):
        network.choose_block(INSTANCE)
