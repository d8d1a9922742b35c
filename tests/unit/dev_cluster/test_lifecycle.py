"""When a cluster counts as up."""

from __future__ import annotations

import pytest
from lifecycle import is_whole

NODES = {"node-1", "node-2"}


@pytest.mark.parametrize(
    ("running", "ready", "whole"),
    [
        ({"etcd": True}, NODES, True),
        ({"etcd": True}, NODES | {"fake-0001"}, True),
        ({"etcd": True, "kwok": False}, NODES, True),
        ({"etcd": True, "kueue": False}, NODES, True),
        ({"etcd": False}, NODES, False),
        ({"etcd": True}, {"node-1", "fake-0001"}, False),
        ({"kwok": True}, NODES, False),
        ({}, NODES, False),
    ],
)
def test_fake_nodes_and_queues_change_nothing(running: dict[str, bool], ready: set[str], whole: bool) -> None:
    """A cluster is whole if all components run and both real nodes are Ready."""
    assert is_whole(running, ready) is whole
