"""Fake nodes: kwok plays their kubelets, so thousands of pods need hardly any memory or CPU."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import api
import cache
import fake_nodes
import go
import network
import processes
from commands import run
from errors import ClusterError
from instance import Instance
from progress import Step
from steps import Steps, say

COMPONENT = "kwok"
VERSION = "v0.8.0"
PACKAGE = f"sigs.k8s.io/kwok/cmd/kwok@{VERSION}"
OLDEST_GO = (1, 26)
BUILD = Step(f"compile kwok {VERSION}", "once per machine, 2 to 4 minutes on two free cores")
READY_SECONDS = 120.0
ADDRESS = "127.0.0.1"
# kwok renews a lease after a quarter of this time; a node without renewals is dead after 20 s.
LEASE_SECONDS = 36
CHUNK = 100


def up(instance: Instance, count: int, group: str = fake_nodes.DEFAULT_GROUP) -> None:
    """Add or remove fake nodes until the group has `count`, all Ready; start kwok if needed."""
    client = _client(instance)
    ready = Step(f"make {count} fake nodes Ready")
    with cache.lock(f"kwok-{instance.id}"):
        steps = Steps([*_planned(), ready])
        steps.announce("start fake nodes")
        if not processes.running(instance, COMPONENT):
            _start(instance, steps)
        with steps.doing(ready):
            wanted = {node["metadata"]["name"] for node in fake_nodes.nodes(count, group)["items"]}
            _remove(instance, client, _names(client, group) - wanted)
            _create(instance, count, group)
            _wait_until_ready(instance, client, wanted)
    say(f"{count} fake nodes are Ready; nodeSelector of their pods: {fake_nodes.GROUP_LABEL}: {group}")


def down(instance: Instance, group: str | None = None) -> None:
    """Remove a group of nodes (default: all) and their pods; kwok ends with the last node."""
    client = _client(instance)
    gone = Step(f"remove the fake nodes of {f'group {group}' if group else 'all groups'}")
    with cache.lock(f"kwok-{instance.id}"), Steps([gone]).doing(gone):
        _remove(instance, client, _names(client, group))
        if not _names(client):
            processes.stop(instance, COMPONENT)


def log_file(instance: Instance) -> Path:
    """The log of every container on a fake node, in the kubelet's format; tests write to it."""
    return instance.state / "kwok" / "container.log"


def program(steps: Steps) -> Path:
    """The program from the cache, built with Go if it is missing there."""
    folder = _folder()
    if not folder.exists():
        with cache.lock("kwok"):
            if not folder.exists():
                _build_into(folder, steps)
    return folder / "kwok"


def _planned() -> list[Step]:
    """The steps that build kwok; none if it is in the cache."""
    return [] if _folder().exists() else [*go.planned(OLDEST_GO), BUILD]


def _folder() -> Path:
    return cache.folder() / f"kwok-{VERSION}"


def _build_into(folder: Path, steps: Steps) -> None:
    """Build with `go install`; `go list` does not accept a version, so the total is unknown."""
    found = go.program(OLDEST_GO, steps)
    with cache.scratch("kwok") as work, steps.doing(BUILD) as report:
        env = {"GOBIN": str(work / "bin"), "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": ""}
        counter = go.Compilation(report)
        command = [found, "install", "-v", "-trimpath", "-ldflags", "-s -w", PACKAGE]
        run(command, env=env, is_progress=counter.is_progress)
        counter.report_end()
        (work / "bin").rename(folder)


def _start(instance: Instance, steps: Steps) -> None:
    log = log_file(instance)
    log.parent.mkdir(exist_ok=True)
    log.touch()
    config = log.with_name("config.yaml")
    config.write_text(fake_nodes.config(log))
    (port,) = network.choose_ports(instance, 1)
    processes.start(instance, COMPONENT, [program(steps), *_flags(instance, config, port)])


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
    """Delete the nodes, then their pods: in this order, a new pod cannot start on these nodes."""
    for some in _in_chunks(sorted(names)):
        selector = quote(f"{fake_nodes.GROUP_LABEL},kubernetes.io/hostname in ({','.join(some)})")
        _kubectl(instance, "delete", "--raw", f"/api/v1/nodes?labelSelector={selector}")
    for namespace, pods in (_pods_on(client, names) if names else {}).items():
        _kubectl(instance, "-n", namespace, "delete", "pod", "--ignore-not-found", "--force", "--wait=false", *pods)


def _in_chunks(names: list[str]) -> Iterator[list[str]]:
    """Lists of names that are short enough for one URL."""
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
