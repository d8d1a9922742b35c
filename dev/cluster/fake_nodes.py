"""kwok's configuration: nodes without machines, and the stages of their pods."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MANAGED = ("kwok.x-k8s.io/node", "fake")
"""Annotation and taint of fake nodes: kwok manages only these, and other pods stay away."""
GROUP_LABEL = "dev-cluster/fake-nodes"
"""Label of a group of nodes: pods select by it, and a group is removed by it."""
ENDS = "dev-cluster/ends"
"""Annotation of a pod: its containers succeed after a time (``60s``) or at a time (RFC 3339).

A pod without it runs until it is deleted.
"""
DEFAULT_GROUP = "fake"
TOLERATION = {"key": MANAGED[0], "operator": "Exists", "effect": "NoSchedule"}

_IS_DELETED = {"key": ".metadata.deletionTimestamp", "operator": "Exists"}
_IS_ALIVE = {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"}
_READY = '.status.conditions.[] | select( .type == "Ready" ) | .status'

_NODE_CONDITIONS = """
{{ $now := Now }}
{{ $since := or .metadata.creationTimestamp $now }}
conditions:
{{ range NodeConditions }}
- lastHeartbeatTime: {{ $now | Quote }}
  lastTransitionTime: {{ $since | Quote }}
  message: {{ .message | Quote }}
  reason: {{ .reason | Quote }}
  status: {{ .status | Quote }}
  type: {{ .type | Quote }}
{{ end }}
"""
_NODE_STARTS = (
    _NODE_CONDITIONS
    + """
addresses:
- address: {{ NodeIP | Quote }}
  type: InternalIP
- address: {{ .metadata.name | Quote }}
  type: Hostname
daemonEndpoints:
  kubeletEndpoint:
    Port: {{ NodePort }}
allocatable: {cpu: 1k, memory: 1Ti, pods: 1M}
capacity: {cpu: 1k, memory: 1Ti, pods: 1M}
nodeInfo:
  architecture: amd64
  bootID: ""
  containerRuntimeVersion: kwok
  kernelVersion: kwok
  kubeProxyVersion: kwok
  kubeletVersion: kwok
  machineID: ""
  operatingSystem: linux
  osImage: ""
  systemUUID: ""
phase: Running
"""
)
_POD_STARTS = """
{{ $now := Now }}
conditions:
{{ range $type := list "PodReadyToStartContainers" "Initialized" "Ready" "ContainersReady" }}
- lastTransitionTime: {{ $now | Quote }}
  status: "True"
  type: {{ $type }}
{{ end }}
containerStatuses:
{{ range .spec.containers }}
- containerID: containerd://{{ $.metadata.uid }}
  image: {{ .image | Quote }}
  imageID: {{ .image | Quote }}
  name: {{ .name | Quote }}
  ready: true
  restartCount: 0
  started: true
  state:
    running:
      startedAt: {{ $now | Quote }}
{{ end }}
{{ if .spec.initContainers }}
initContainerStatuses:
{{ range .spec.initContainers }}
- image: {{ .image | Quote }}
  imageID: {{ .image | Quote }}
  name: {{ .name | Quote }}
  ready: true
  restartCount: 0
  started: false
  state:
    terminated:
      exitCode: 0
      finishedAt: {{ $now | Quote }}
      reason: Completed
      startedAt: {{ $now | Quote }}
{{ end }}
{{ end }}
hostIP: {{ NodeIPWith .spec.nodeName | Quote }}
{{ $address := PodIPWith .spec.nodeName false .metadata.uid .metadata.name .metadata.namespace }}
podIP: {{ $address | Quote }}
podIPs:
- ip: {{ $address | Quote }}
phase: Running
startTime: {{ $now | Quote }}
"""
_POD_ENDS = """
{{ $now := Now }}
{{ $pod := . }}
conditions:
{{ range $type := list "PodReadyToStartContainers" "Ready" "ContainersReady" }}
- lastTransitionTime: {{ $now | Quote }}
  reason: PodCompleted
  status: "False"
  type: {{ $type }}
{{ end }}
containerStatuses:
{{ range $index, $container := .spec.containers }}
{{ $before := index $pod.status.containerStatuses $index }}
- containerID: {{ $before.containerID }}
  image: {{ $container.image | Quote }}
  imageID: {{ $container.image | Quote }}
  name: {{ $container.name | Quote }}
  ready: false
  restartCount: 0
  started: false
  state:
    terminated:
      containerID: {{ $before.containerID }}
      exitCode: 0
      finishedAt: {{ $now | Quote }}
      reason: Completed
      startedAt: {{ $before.state.running.startedAt | Quote }}
{{ end }}
phase: Succeeded
"""


def node(name: str, group: str) -> dict[str, Any]:
    """A node for pods that tolerate its taint."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": dict([MANAGED]),
            "labels": {GROUP_LABEL: group, "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
        },
        "spec": {"taints": [{"key": MANAGED[0], "value": MANAGED[1], "effect": "NoSchedule"}]},
    }


def nodes(count: int, group: str = DEFAULT_GROUP) -> dict[str, Any]:
    """A list of `count` nodes, named after their group."""
    items = [node(f"{group}-{number:04}", group) for number in range(1, count + 1)]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def stages() -> list[dict[str, Any]]:
    """The changes that kwok makes to fake nodes and their pods in place of a kubelet."""
    ends = f'.metadata.annotations["{ENDS}"]'
    return [
        _stage("node-starts", "Node", [{"key": _READY, "operator": "NotIn", "values": ["True"]}], _NODE_STARTS),
        _stage(
            "node-lives",
            "Node",
            [{"key": _READY, "operator": "In", "values": ["True"]}],
            _NODE_CONDITIONS,
            # Leases prove that the node lives; as a kubelet does, kwok repeats the status seldom.
            {"durationMilliseconds": 300_000, "jitterDurationMilliseconds": 360_000},
        ),
        _stage("pod-starts", "Pod", [_IS_ALIVE, _in_phase("Pending")], _POD_STARTS),
        _stage(
            "pod-ends",
            "Pod",
            [_IS_ALIVE, _in_phase("Running"), {"key": ends, "operator": "Exists"}],
            _POD_ENDS,
            {"durationFrom": {"expressionFrom": ends}},
        ),
        _stage("pod-is-deleted", "Pod", [_IS_DELETED], None),
    ]


def logs(file: Path) -> dict[str, Any]:
    """The log of every container is one file in the kubelet's format."""
    spec = {"logs": [{"logsFile": str(file), "follow": True}]}
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "ClusterLogs",
        "metadata": {"name": "one-log-for-all"},
        "spec": spec,
    }


def config(log_file: Path) -> str:
    """The contents of the configuration file that kwok starts with."""
    return "\n---\n".join(json.dumps(document) for document in (*stages(), logs(log_file)))


def _in_phase(phase: str) -> dict[str, Any]:
    return {"key": ".status.phase", "operator": "In", "values": [phase]}


def _stage(
    name: str, kind: str, when: list[dict[str, Any]], status: str | None, delay: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A change of an object's status; without a status, the object is deleted."""
    spec: dict[str, Any] = {
        "resourceRef": {"apiGroup": "v1", "kind": kind},
        "selector": {"matchExpressions": when},
        "next": {"delete": True} if status is None else {"statusTemplate": status},
    }
    if delay:
        spec["delay"] = dict(delay)
    return {"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Stage", "metadata": {"name": name}, "spec": spec}
