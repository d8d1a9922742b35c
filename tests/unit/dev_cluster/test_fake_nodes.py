"""kwok's configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fake_nodes


def a_stage(name: str) -> dict[str, Any]:
    """The spec of one stage."""
    return next(dict(stage["spec"]) for stage in fake_nodes.stages() if stage["metadata"]["name"] == name)


def test_a_node_is_marked_tainted_and_selectable() -> None:
    """kwok finds it by the annotation, other pods stay away, and pods select its group."""
    assert fake_nodes.node("fake-0001", "fake") == {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": "fake-0001",
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {
                "dev-cluster/fake-nodes": "fake",
                "kubernetes.io/hostname": "fake-0001",
                "kubernetes.io/os": "linux",
            },
        },
        "spec": {"taints": [{"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}]},
    }


def test_our_toleration_fits_the_taint() -> None:
    """Without this, no pod could run on a fake node."""
    (taint,) = fake_nodes.node("fake-0001", "fake")["spec"]["taints"]
    assert {"key": taint["key"], "operator": "Exists", "effect": taint["effect"]} == fake_nodes.TOLERATION


def test_there_are_as_many_nodes_as_asked_for() -> None:
    """Each has its own name, which begins with the group."""
    names = [node["metadata"]["name"] for node in fake_nodes.nodes(500, "many")["items"]]
    assert (len(set(names)), names[0], names[-1]) == (500, "many-0001", "many-0500")


def test_a_pod_ends_when_its_annotation_says() -> None:
    """The value is a duration or a time; without the annotation the pod does not end."""
    stage = a_stage("pod-ends")
    expression = '.metadata.annotations["dev-cluster/ends"]'
    assert stage["delay"] == {"durationFrom": {"expressionFrom": expression}}
    assert {"key": expression, "operator": "Exists"} in stage["selector"]["matchExpressions"]


def test_kwok_removes_a_pod_that_is_being_deleted() -> None:
    """A kubelet would do this on a real node."""
    assert a_stage("pod-is-deleted")["next"] == {"delete": True}


def test_kwok_reads_one_document_after_the_other() -> None:
    """The stages, then the file that is every container's log."""
    documents = [json.loads(text) for text in fake_nodes.config(Path("/state/container.log")).split("\n---\n")]
    assert documents == [*fake_nodes.stages(), fake_nodes.logs(Path("/state/container.log"))]
    assert documents[-1]["spec"] == {"logs": [{"logsFile": "/state/container.log", "follow": True}]}
