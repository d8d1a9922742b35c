"""kubectl, to set up what a test needs and to look at what it left."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.patience import PATIENCE, wait_for

_EMBEDDED_CLUSTER = Path(__file__).parents[2] / ".cluster"
PROGRAM = str(_EMBEDDED_CLUSTER / "kubectl") if (_EMBEDDED_CLUSTER / "kubectl").exists() else "kubectl"
"""The embedded cluster's kubectl where there is one: a fresh machine has no other."""


def kubeconfig_of_tests() -> str:
    """Path of the kubeconfig: KUBECONFIG's, else the embedded cluster's."""
    path = os.environ.get("KUBECONFIG") or str(_EMBEDDED_CLUSTER / "kubeconfig")
    if not Path(path).is_file():
        raise AssertionError(f"no cluster: {path} does not exist; run make cluster-up")
    return path


@dataclass(frozen=True)
class Kubectl:
    """Runs kubectl with one kubeconfig."""

    kubeconfig: str

    def __call__(self, *words: str, stdin: str | None = None, check: bool = True) -> str:
        """Run a command and return what it printed."""
        command = [PROGRAM, "--kubeconfig", self.kubeconfig, *words]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=PATIENCE)
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(words)}: {done.stderr}")
        return done.stdout

    @property
    def minor(self) -> int:
        """The minor version of the API server, 34 for Kubernetes 1.34."""
        return int(json.loads(self("get", "--raw", "/version"))["minor"].rstrip("+"))

    def apply(self, *objects: dict[str, Any]) -> None:
        """Create or change objects."""
        self("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    def items(self, kind: str, namespace: str, *words: str) -> list[dict[str, Any]]:
        """Objects of a kind in a namespace."""
        found: list[dict[str, Any]] = json.loads(self("get", kind, "-n", namespace, "-o", "json", *words))["items"]
        return found

    def names(self, kind: str, namespace: str, *words: str) -> list[str]:
        """Their names."""
        return [item["metadata"]["name"] for item in self.items(kind, namespace, *words)]

    def let_expire(self, job: str, namespace: str) -> None:
        """Let a Job's deadline be over: Kubernetes takes a new one at once, and counts it from the Job's start."""
        self("patch", "job", job, "-n", namespace, "-p", '{"spec": {"activeDeadlineSeconds": 1}}')

    def evict(self, pod: str, namespace: str) -> None:
        """Evict a pod by the API, as a drain does."""
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}}
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
        self("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))

    def running_pods(self, namespace: str, *words: str) -> list[str]:
        """The names of the pods that run and will go on, as soon as one does."""

        def look() -> list[str]:
            pods = self.items("pods", namespace, "--field-selector=status.phase=Running", *words)
            return [pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]]

        return wait_for(look, "a running pod")

    @contextmanager
    def namespace(self, name: str, labels: dict[str, str] | None = None) -> Iterator[str]:
        """A namespace that is ready for pods, deleted afterwards."""
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels or {}}})
        wait_for(lambda: self("get", "serviceaccount", "default", "-n", name, check=False), "the default account")
        try:
            yield name
        finally:
            self("delete", "namespace", name, "--wait=false", check=False)

    def describe(self, namespace: str) -> str:
        """Pods and events, for the report of a failed test."""
        pods = self("get", "jobs,pods,configmaps,secrets", "-n", namespace, "-o", "wide", check=False)
        return pods + self("get", "events", "-n", namespace, "--sort-by=.lastTimestamp", check=False)
