"""A folder of a node that several pods share, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.cluster.tasks import run_task


@dataclass(frozen=True)
class NodeFolder:
    """A folder below node-1's ``/tmp``."""

    name: str
    where: dict[str, Any]

    def mounted(self, path: str, part: str = "") -> dict[str, Any]:
        """Arguments for a pod of that node which has the folder, or a part of it, at a path."""
        return self._with({"mountPath": path, "subPath": self.name + part})

    def remove(self) -> None:
        """Delete it: the cluster's nodes outlive the tests."""
        whole = self._with({"mountPath": "/node"})
        script = f"import shutil\nshutil.rmtree('/node/{self.name}', ignore_errors=True)"
        run_task(script=script, backoff_limit=0, **whole).succeeded()

    def _with(self, mount: dict[str, Any]) -> dict[str, Any]:
        return {
            **self.where,
            "node_selector": {"kubernetes.io/hostname": "node-1"},
            "volumes": [{"name": "node", "hostPath": {"path": "/tmp"}}],
            "volume_mounts": [{"name": "node"} | mount],
        }


@contextmanager
def node_folder(where: dict[str, Any]) -> Iterator[NodeFolder]:
    """A folder while the block lasts; ``where`` are the operator's arguments for cluster and namespace."""
    folder = NodeFolder(f"{where['namespace']}-folder", where)
    try:
        yield folder
    finally:
        folder.remove()
