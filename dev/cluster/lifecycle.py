"""Starts and removes the cluster, and reports its status."""

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
import kueue
import kwok
import network
import prerequisites
import processes
from errors import ClusterError
from instance import NODE_NAMES, Instance
from node import Node
from progress import Step, duration
from steps import Steps, say
from versions import Versions, chosen

READY_SECONDS = 120.0
OPTIONAL = (kwok.COMPONENT, kueue.COMPONENT)

CLEAN = Step("remove the rest of an earlier cluster")
NETWORK = Step("set up network and certificates")
CONTROL_PLANE = Step("start the control plane")
NODES = Step("start the nodes")
IMAGES = Step("load the images into the nodes")


def up(instance: Instance, kubernetes: str | None = None, containerd: str | None = None) -> None:
    """Leave a healthy cluster as it is; otherwise remove the rest of it and start a new one.

    A healthy cluster of other versions than those asked for is an error.
    """
    prerequisites.check_machine()
    versions = chosen(kubernetes, containerd)
    with cache.lock(f"cluster-{instance.id}"):
        if healthy(instance):
            _check_versions(instance, versions, is_any=kubernetes is None and containerd is None)
            say(f"cluster is up already: export KUBECONFIG={instance.kubeconfig}")
            return
        started = time.monotonic()
        steps = Steps(_planned(instance, versions))
        steps.announce(f"start two nodes of {versions}")
        prerequisites.install_missing(steps)
        _clean(instance, steps)
        programs = binaries.build(versions, steps)
        _start(instance, programs, images.archive(programs.pause, steps), steps)
        _mark(instance).write_text(f"{versions}\n")
        say(f"cluster is up after {duration(time.monotonic() - started)}; kubectl is {instance.state}/kubectl")
        say(f"export KUBECONFIG={instance.kubeconfig}")


def down(instance: Instance) -> None:
    """Remove everything that belongs to the cluster."""
    prerequisites.check_machine()
    with cache.lock(f"cluster-{instance.id}"), Steps([]).doing(Step("remove the cluster")):
        _remove_remains(instance)


def status(instance: Instance) -> bool:
    """Print the components and how to reach the cluster; return whether it is healthy."""
    prerequisites.check_machine()
    for name in processes.started(instance):
        state = f"pid {processes.pid_of(instance, name)}" if processes.running(instance, name) else "not running"
        say(f"  {name:24} {state:12} {processes.log_path(instance, name)}")
    if not healthy(instance):
        say(f"cluster {instance.name} of {instance.checkout} is not up")
        return False
    say(f"cluster {instance.name} of {instance.checkout} is up: {_mark(instance).read_text().strip()}")
    say(f"export KUBECONFIG={instance.kubeconfig}")
    return True


def healthy(instance: Instance) -> bool:
    """Whether the start was completed, all components run and both nodes are Ready."""
    if not instance.kubeconfig.exists() or not _mark(instance).exists():
        return False
    running = {name: processes.running(instance, name) for name in processes.started(instance)}
    return is_whole(running, api.from_kubeconfig(instance.kubeconfig).ready_nodes())


def is_whole(running: Mapping[str, bool], ready_nodes: Collection[str]) -> bool:
    """Whether all components run and both nodes are Ready; kwok, its fake nodes and Kueue are optional."""
    components = {name: runs for name, runs in running.items() if name not in OPTIONAL}
    return bool(components) and all(components.values()) and set(NODE_NAMES) <= set(ready_nodes)


def _mark(instance: Instance) -> Path:
    """The file that marks a completed start, with what runs.

    Nodes are Ready before their images are loaded.
    """
    return instance.state / "started"


def _check_versions(instance: Instance, versions: Versions, *, is_any: bool) -> None:
    running = _mark(instance).read_text().strip()
    if not is_any and running != str(versions):
        raise ClusterError(f"the cluster runs {running}; run make cluster-down first, then start {versions}")


def _planned(instance: Instance, versions: Versions) -> list[Step]:
    """The steps of a start; steps whose results are in the cache are left out."""
    pause = binaries.located(versions).pause
    return [
        *prerequisites.planned(),
        *([CLEAN] if instance.state.exists() else []),
        *binaries.planned(versions),
        *images.planned(pause if pause.exists() else None),
        *(NETWORK, CONTROL_PLANE, NODES, IMAGES),
    ]


def _clean(instance: Instance, steps: Steps) -> None:
    """Remove the rest of an earlier cluster; it may run although its state folder is deleted."""
    if instance.state.exists():
        with steps.doing(CLEAN):
            _remove_remains(instance)
    else:
        _remove_remains(instance)


def _remove_remains(instance: Instance) -> None:
    """Remove everything of an earlier cluster, also of one that was killed."""
    processes.kill(instance)
    cgroups.remove(f"/{instance.name}")
    if prerequisites.has_network_programs():
        network.remove(instance)
    if instance.state.exists():
        shutil.rmtree(instance.state)


def _start(instance: Instance, programs: binaries.Binaries, archive: Path, steps: Steps) -> None:
    instance.state.mkdir()
    (instance.state / "kubectl").symlink_to(programs.kubernetes)
    with cache.lock("network"), steps.doing(NETWORK):
        block = network.choose_block(instance)
        network.create(instance, block)
        ports = control_plane.Ports(*network.choose_ports(instance, 3))
        addresses = ["127.0.0.1", str(block.api_service), *(str(block.node(name)) for name in NODE_NAMES)]
        secrets = credentials.create(instance, ports.api_url, addresses)
    nodes = [Node(name, instance, programs, secrets, block) for name in NODE_NAMES]
    plane = control_plane.ControlPlane(instance, programs, secrets, block, ports)
    plane.write_audit_policy()
    _start_all(instance, plane.servers())
    _start_rest(instance, plane, nodes, archive, steps)


def _start_all(instance: Instance, commands: control_plane.Commands) -> None:
    for name, command in commands.items():
        processes.start(instance, name, command)


def _start_rest(
    instance: Instance, plane: control_plane.ControlPlane, nodes: list[Node], archive: Path, steps: Steps
) -> None:
    """Start controllers and nodes and load the images at the same time.

    A node is Ready without its images.
    """
    for node in nodes:
        node.start_containerd()
    client = api.from_kubeconfig(instance.kubeconfig)
    with ThreadPoolExecutor() as pool:
        loading = [pool.submit(_load_images, instance, node, archive) for node in nodes]
        with steps.doing(CONTROL_PLANE):
            _wait(instance, "kube-apiserver", client.ready)
            _start_all(instance, plane.controllers())
        with steps.doing(NODES):
            for node in nodes:
                node.start_kubelet()
            for node in nodes:
                _wait(instance, node.kubelet, partial(_is_ready, client, node))
            _wait(instance, "kube-controller-manager", client.accepts_pods)
        with steps.doing(IMAGES):
            for result in loading:
                result.result()


def _is_ready(client: api.Api, node: Node) -> bool:
    return node.name in client.ready_nodes()


def _load_images(instance: Instance, node: Node, archive: Path) -> None:
    _wait(instance, node.containerd, partial(processes.listens, node.socket))
    node.load_images(archive)


def _wait(instance: Instance, component: str, done: Callable[[], bool]) -> None:
    """Wait until `done` is true; an error shows the end of the component's log."""
    deadline = time.monotonic() + READY_SECONDS
    while not done():
        stopped = [name for name in processes.started(instance) if not processes.running(instance, name)]
        if stopped:
            raise ClusterError(f"{stopped[0]} ended; {processes.log_tail(instance, stopped[0])}")
        if time.monotonic() > deadline:
            log = processes.log_tail(instance, component)
            raise ClusterError(f"{component} is not ready after {READY_SECONDS:.0f} s; {log}")
        time.sleep(0.1)
