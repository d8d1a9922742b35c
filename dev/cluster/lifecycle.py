"""Brings the cluster up and down."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import api
import binaries
import cache
import cgroups
import control_plane
import credentials
import images
import kwok
import network
import prerequisites
import processes
from errors import ClusterError
from instance import NODE_NAMES, Instance
from node import Node
from steps import say, step

READY_SECONDS = 120.0


def up(instance: Instance) -> None:
    """Leave a healthy cluster as it is; otherwise throw away what remains of one and start anew."""
    prerequisites.check_machine()
    with cache.lock(f"cluster-{instance.id}"):
        if healthy(instance):
            say(f"cluster is up already: export KUBECONFIG={instance.kubeconfig}")
            return
        started = time.monotonic()
        prerequisites.install_missing()
        _remove_remains(instance)
        _start(instance, *_build())
        _mark(instance).touch()
        say(f"cluster is up after {time.monotonic() - started:.0f} s; kubectl is {instance.state}/kubectl")
        say(f"export KUBECONFIG={instance.kubeconfig}")


def down(instance: Instance) -> None:
    """Leave nothing of the cluster."""
    prerequisites.check_machine()
    with cache.lock(f"cluster-{instance.id}"), step("cluster is down"):
        _remove_remains(instance)


def status(instance: Instance) -> bool:
    """Print every component's process and the nodes; whether all is well."""
    prerequisites.check_machine()
    for name in processes.started(instance):
        state = f"pid {processes.pid_of(instance, name)}" if processes.running(instance, name) else "not running"
        say(f"  {name:24} {state:12} {processes.log_path(instance, name)}")
    if not healthy(instance):
        say(f"cluster {instance.name} of {instance.checkout} is not up")
        return False
    say(f"cluster {instance.name} of {instance.checkout} is up: {api.from_kubeconfig(instance.kubeconfig).version()}")
    say(f"export KUBECONFIG={instance.kubeconfig}")
    return True


def healthy(instance: Instance) -> bool:
    """Whether the cluster was started to the end, images and all, its components run and both nodes are Ready."""
    if not instance.kubeconfig.exists() or not _mark(instance).exists():
        return False
    running = {name: processes.running(instance, name) for name in processes.started(instance)}
    return is_whole(running, api.from_kubeconfig(instance.kubeconfig).ready_nodes())


def is_whole(running: Mapping[str, bool], ready_nodes: Collection[str]) -> bool:
    """Whether all components run and both nodes are Ready; fake nodes and what plays them come and go."""
    components = {name: runs for name, runs in running.items() if name != kwok.COMPONENT}
    return bool(components) and all(components.values()) and set(NODE_NAMES) <= set(ready_nodes)


def _mark(instance: Instance) -> Path:
    """The file that says that a start came to its end; nodes are Ready before their images are loaded."""
    return instance.state / "started"


def _build() -> tuple[binaries.Binaries, Path]:
    built = binaries.build()
    return built, images.archive(built.pause)


def _remove_remains(instance: Instance) -> None:
    """Remove all of an earlier cluster, however it ended."""
    processes.kill(instance)
    cgroups.remove(f"/{instance.name}")
    if prerequisites.has_network_programs():
        network.remove(instance)
    if instance.state.exists():
        shutil.rmtree(instance.state)


def _start(instance: Instance, programs: binaries.Binaries, archive: Path) -> None:
    instance.state.mkdir()
    (instance.state / "kubectl").symlink_to(programs.kubectl)
    with cache.lock("network"):
        block = network.choose_block(instance)
        network.create(instance, block)
    ports = control_plane.Ports(*network.choose_ports(instance, 3))
    addresses = ["127.0.0.1", str(block.api_service), *(str(block.node(name)) for name in NODE_NAMES)]
    secrets = credentials.create(instance, ports.api_url, addresses)
    nodes = [Node(name, instance, programs, secrets, block) for name in NODE_NAMES]
    _start_control_plane(control_plane.ControlPlane(instance, programs, secrets, block, ports))
    _start_nodes(instance, nodes, archive)


def _start_control_plane(plane: control_plane.ControlPlane) -> None:
    plane.write_audit_policy()
    for name, command in plane.components().items():
        processes.start(plane.instance, name, command)


def _start_nodes(instance: Instance, nodes: list[Node], archive: Path) -> None:
    """Load the images while the control plane starts; a kubelet needs none of them to become Ready."""
    for node in nodes:
        node.start_containerd()
    client = api.from_kubeconfig(instance.kubeconfig)
    with ThreadPoolExecutor() as pool:
        loading = [pool.submit(_load_images, instance, node, archive) for node in nodes]
        with step("control plane is ready"):
            _wait(instance, "kube-apiserver", client.ready)
        for node in nodes:
            node.start_kubelet()
        with step("nodes are Ready"):
            for node in nodes:
                _wait(instance, node.kubelet, partial(_is_ready, client, node))
            _wait(instance, "kube-controller-manager", client.accepts_pods)
        with step("images are loaded"):
            for result in loading:
                result.result()


def _is_ready(client: api.Api, node: Node) -> bool:
    return node.name in client.ready_nodes()


def _load_images(instance: Instance, node: Node, archive: Path) -> None:
    _wait(instance, node.containerd, node.socket.exists)
    node.load_images(archive)


def _wait(instance: Instance, component: str, done: Callable[[], bool]) -> None:
    """Wait for what a component has to do; its log says why it does not."""
    deadline = time.monotonic() + READY_SECONDS
    while not done():
        stopped = [name for name in processes.started(instance) if not processes.running(instance, name)]
        if stopped:
            raise ClusterError(f"{stopped[0]} ended; {processes.log_tail(instance, stopped[0])}")
        if time.monotonic() > deadline:
            log = processes.log_tail(instance, component)
            raise ClusterError(f"{component} is not ready after {READY_SECONDS:.0f} s; {log}")
        time.sleep(0.1)
