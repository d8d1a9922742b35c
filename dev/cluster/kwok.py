"""Fake nodes beside the real ones: kwok plays their kubelets, so that thousands of pods cost next to nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import api
import binaries
import cache
import fake_nodes
import network
import processes
from commands import run
from errors import ClusterError
from instance import Instance
from steps import say, step

COMPONENT = "kwok"
VERSION = "v0.8.0"
PACKAGE = f"sigs.k8s.io/kwok/cmd/kwok@{VERSION}"
OLDEST_GO = (1, 26)
READY_SECONDS = 120.0
ADDRESS = "127.0.0.1"
# Renewed after a quarter of it: twice before the controller manager calls a node dead.
LEASE_SECONDS = 36
CHUNK = 100


def up(instance: Instance, count: int, group: str = fake_nodes.DEFAULT_GROUP) -> None:
    """Leave a group with exactly so many nodes, all of them Ready; start kwok unless it runs."""
    client = _client(instance)
    with cache.lock(f"kwok-{instance.id}"):
        if not processes.running(instance, COMPONENT):
            _start(instance)
        with step(f"{count} fake nodes are Ready: nodeSelector {fake_nodes.GROUP_LABEL}: {group}"):
            wanted = {node["metadata"]["name"] for node in fake_nodes.nodes(count, group)["items"]}
            _remove(instance, client, _names(client, group) - wanted)
            _create(instance, count, group)
            _wait_until_ready(instance, client, wanted)


def down(instance: Instance, group: str | None = None) -> None:
    """Remove a group of nodes (default: all groups) with the pods on them, and kwok with the last."""
    client = _client(instance)
    with cache.lock(f"kwok-{instance.id}"), step(f"fake nodes are gone: {group or 'all groups'}"):
        _remove(instance, client, _names(client, group))
        if not _names(client):
            processes.stop(instance, COMPONENT)


def log_file(instance: Instance) -> Path:
    """The log of every container on a fake node, in the kubelet's format; empty until somebody writes it."""
    return instance.state / "kwok" / "container.log"


def program() -> Path:
    """The program from the cache, built by Go if it lacks it."""
    folder = cache.folder() / f"kwok-{VERSION}"
    if not folder.exists():
        with cache.lock("kwok"):
            if not folder.exists():
                _build_into(folder)
    return folder / "kwok"


def _build_into(folder: Path) -> None:
    say(f"  building kwok {VERSION} (two to four minutes on two cores)")
    with cache.scratch("kwok") as work, step(f"built kwok {VERSION}"):
        env = {"GOBIN": str(work / "bin"), "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": ""}
        run([binaries.go(OLDEST_GO), "install", "-trimpath", "-ldflags", "-s -w", PACKAGE], env=env)
        (work / "bin").rename(folder)


def _start(instance: Instance) -> None:
    log = log_file(instance)
    log.parent.mkdir(exist_ok=True)
    log.touch()
    config = log.with_name("config.yaml")
    config.write_text(fake_nodes.config(log))
    (port,) = network.choose_ports(instance, 1)
    processes.start(instance, COMPONENT, [program(), *_flags(instance, config, port)])


def _flags(instance: Instance, config: Path, port: int) -> list[str]:
    annotation, value = fake_nodes.MANAGED
    return [
        f"--kubeconfig={instance.kubeconfig}",
        f"--config={config}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={annotation}={value}",
        f"--node-ip={ADDRESS}",
        f"--node-port={port}",
        f"--server-address={ADDRESS}:{port}",
        f"--node-lease-duration-seconds={LEASE_SECONDS}",
        "--v=WARN",
    ]


def _create(instance: Instance, count: int, group: str) -> None:
    manifest = log_file(instance).with_name(f"nodes-{group}.json")
    manifest.write_text(json.dumps(fake_nodes.nodes(count, group)))
    _kubectl(instance, "apply", "--server-side", "-f", str(manifest))


def _remove(instance: Instance, client: api.Api, names: set[str]) -> None:
    """The nodes first, so that what a controller creates anew finds none; then what was on them."""
    for some in _in_chunks(sorted(names)):
        selector = quote(f"{fake_nodes.GROUP_LABEL},kubernetes.io/hostname in ({','.join(some)})")
        _kubectl(instance, "delete", "--raw", f"/api/v1/nodes?labelSelector={selector}")
    for namespace, pods in (_pods_on(client, names) if names else {}).items():
        _kubectl(instance, "-n", namespace, "delete", "pod", "--ignore-not-found", "--force", "--wait=false", *pods)


def _in_chunks(names: list[str]) -> Iterator[list[str]]:
    """As many names as fit into one URL."""
    return (names[start : start + CHUNK] for start in range(0, len(names), CHUNK))


def _pods_on(client: api.Api, names: set[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for pod in _items(client, "/api/v1/pods"):
        if pod["spec"].get("nodeName") in names:
            found.setdefault(pod["metadata"]["namespace"], []).append(pod["metadata"]["name"])
    return found


def _names(client: api.Api, group: str | None = None) -> set[str]:
    """The fake nodes that exist."""
    selector = fake_nodes.GROUP_LABEL if group is None else f"{fake_nodes.GROUP_LABEL}={group}"
    return {node["metadata"]["name"] for node in _items(client, f"/api/v1/nodes?labelSelector={quote(selector)}")}


def _items(client: api.Api, path: str) -> list[dict[str, Any]]:
    answer = client.get(path)
    if answer is None:
        raise ClusterError(f"the API server does not answer {path}")
    return list(answer["items"])


def _wait_until_ready(instance: Instance, client: api.Api, names: set[str]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while missing := names - client.ready_nodes():
        if not processes.running(instance, COMPONENT):
            raise ClusterError(f"kwok ended; {processes.log_tail(instance, COMPONENT)}")
        if time.monotonic() > deadline:
            log = processes.log_tail(instance, COMPONENT)
            raise ClusterError(f"{len(missing)} fake nodes are not Ready after {READY_SECONDS:.0f} s; {log}")
        time.sleep(0.2)


def _client(instance: Instance) -> api.Api:
    if not instance.kubeconfig.exists():
        raise ClusterError("fake nodes need a cluster: run `python3 dev/cluster up` first")
    return api.from_kubeconfig(instance.kubeconfig)


def _kubectl(instance: Instance, *arguments: str) -> None:
    run([instance.state / "kubectl", "--kubeconfig", instance.kubeconfig, *arguments])
