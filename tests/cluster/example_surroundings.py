"""What the examples find in the cluster: objects, an application, a package index."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cluster.kubectl import Kubectl
from tests.cluster.node_folder import node_folder
from tests.cluster.package_index import USER, package_index
from tests.patience import wait_for

_CLAIM = "example-data"
_PASSWORD = "index-hunter2"


@contextmanager
def applied(kubectl: Kubectl, manifests: Path) -> Iterator[None]:
    """The manifests of a folder, in the namespace that the examples run in."""
    paths = [word for path in sorted(manifests.glob("*.yaml")) for word in ("-f", str(path))]
    kubectl("apply", "-n", "default", *paths)
    try:
        wait_for(
            lambda: kubectl("get", "serviceaccount", "default", "-n", "restricted-example", check=False),
            "the account of the restricted namespace",
        )
        yield
    finally:
        # Not waited for: a claim goes with the last pod that had it, which is kept for its Job's TTL.
        kubectl("delete", "-n", "default", "--wait=false", "--ignore-not-found", *paths)


@contextmanager
def volume(kubectl: Kubectl, where: dict[str, Any]) -> Iterator[None]:
    """A volume for the examples' claim, which a cluster with a StorageClass would make by itself."""
    with node_folder(where) as folder:
        name = f"{_CLAIM}-{where['namespace']}"
        kubectl.apply(_volume(name, f"/tmp/{folder.name}"))
        try:
            yield
        finally:
            kubectl("delete", "pv", name, "--wait=false")


def _volume(name: str, path: str) -> dict[str, Any]:
    of_node_1 = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-1"]}
    spec = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "claimRef": {"name": _CLAIM, "namespace": "default"},
        "hostPath": {"path": path, "type": "DirectoryOrCreate"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [of_node_1]}]}},
    }
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}


@contextmanager
def index_connection(kubectl: Kubectl, namespace: str) -> Iterator[str]:
    """The connection to a package index with the package of ``example_private_index``."""
    with package_index(kubectl, namespace, _PASSWORD) as index:
        host, _, port = index.address.partition(":")
        login = {"login": USER, "password": _PASSWORD}
        yield json.dumps({"conn_type": "http", "schema": "http", "host": host, "port": int(port)} | login)


@contextmanager
def application(kubectl: Kubectl, folder: Path) -> Iterator[None]:
    """The application of ``exec_app``, as its manifests have it."""
    kubectl("apply", *(word for name in ("namespace", "api", "web") for word in ("-f", str(folder / f"{name}.yaml"))))
    try:
        for name in ("api", "web"):
            kubectl("rollout", "status", f"deployment/{name}", "-n", "exec-app")
        yield
    finally:
        kubectl("delete", "namespace", "exec-app", "--wait=false")
