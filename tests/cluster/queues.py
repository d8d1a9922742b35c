"""Kueue's controller beside the cluster, and its queues and Workloads."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.kubectl import Kubectl
from tests.patience import wait_for

_PROGRAM = Path(__file__).parents[2] / "dev" / "cluster"
_API = "kueue.x-k8s.io/v1beta2"
_WORKLOADS = "workloads.kueue.x-k8s.io"
JOB_UID = "kueue.x-k8s.io/job-uid"
"""The label of a Workload with the uid of its Job."""
_ENABLED = {"dev-cluster/kueue": "enabled"}
"""The label of namespaces in which Kueue's webhooks are called: ``dev/cluster/kueue_settings.py``."""
ONE_CPU: dict[str, Any] = {"container_resources": {"requests": {"cpu": "1"}}}
"""What a script asks for that fills a queue of one cpu."""


def is_on_this_machine(kubeconfig: str) -> bool:
    """Whether the API server reaches a loopback address of this machine, where Kueue's webhooks are."""
    config = yaml.safe_load(Path(kubeconfig).read_text())
    return "//127.0.0.1:" in config["clusters"][0]["cluster"]["server"]


@contextmanager
def kueue_running(kubeconfig: str) -> Iterator[None]:
    """Kueue's controller, which is removed with its queues at the end.

    Its webhooks and definitions belong to the whole cluster, so another process of the tests waits
    until the first one has removed them.
    """
    with (Path(tempfile.gettempdir()) / "kueue-of-tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            _run("up", kubeconfig)
            yield
        finally:
            _run("down", kubeconfig)


def _run(action: str, kubeconfig: str) -> None:
    command = [sys.executable, str(_PROGRAM), "kueue", action, "--kubeconfig", kubeconfig]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"kueue {action} failed: {done.stdout}{done.stderr}")


@dataclass(frozen=True)
class Queues:
    """A LocalQueue ``team-a`` in a namespace; ClusterQueue, flavor and priorities have names of their own."""

    kubectl: Kubectl
    namespace: str
    cluster_queue: str

    def create(self, cpu: str = "1", **spec: Any) -> None:
        """Create a ClusterQueue with so many cpus, and a LocalQueue ``team-a`` that leads to it."""
        quota = [{"name": "cpu", "nominalQuota": cpu}]
        groups = [{"coveredResources": ["cpu"], "flavors": [{"name": self.cluster_queue, "resources": quota}]}]
        self._apply("ResourceFlavor", self.cluster_queue)
        self._apply("ClusterQueue", self.cluster_queue, {"namespaceSelector": {}, "resourceGroups": groups, **spec})
        self._apply("LocalQueue", "team-a", {"clusterQueue": self.cluster_queue}, self.namespace)

    def create_priority(self, name: str, value: int) -> str:
        """Create a WorkloadPriorityClass; return its whole name."""
        whole = f"{self.cluster_queue}-{name}"
        self.kubectl.apply({"apiVersion": _API, "kind": "WorkloadPriorityClass", **_named(whole), "value": value})
        return whole

    def stop(self, policy: str) -> None:
        """Set the ClusterQueue's stop policy: ``None``, ``Hold`` or ``HoldAndDrain``."""
        patch = json.dumps({"spec": {"stopPolicy": policy}})
        self.kubectl("patch", "clusterqueue", self.cluster_queue, "--type=merge", "-p", patch)

    def workloads(self) -> list[dict[str, Any]]:
        """The Workloads of the namespace."""
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", _WORKLOADS, "-n", self.namespace, "-o", "json"))[
            "items"
        ]
        return found

    def conditions(self, job_uid: str) -> dict[str, dict[str, str]]:
        """The conditions of a Job's Workload, by type; none as long as there is no Workload."""
        owned = [found for found in self.workloads() if found["metadata"]["labels"].get(JOB_UID) == job_uid]
        return {condition["type"]: condition for found in owned for condition in found["status"].get("conditions", [])}

    def wait_until_waiting(self, jobs: int = 1) -> list[str]:
        """Wait until so many Workloads have no quota; return the messages that say why."""

        def look() -> list[str]:
            found = [self.conditions(uid).get("QuotaReserved", {}) for uid in self._job_uids()]
            messages = [condition["message"] for condition in found if condition.get("status") == "False"]
            return messages if len(messages) == jobs else []

        return wait_for(look, f"{jobs} waiting Workloads")

    def remove(self) -> None:
        """Delete what belongs to no namespace, once no Workload is left."""
        named = ("clusterqueue", "resourceflavor")
        priorities = self.kubectl("get", "workloadpriorityclass", "-o", "name").split()
        ours = [name for name in priorities if name.partition("/")[2].startswith(self.cluster_queue)]
        found = [f"{kind}/{self.cluster_queue}" for kind in named] + ours
        self.kubectl("delete", "--wait=false", "--ignore-not-found", *found)

    def _job_uids(self) -> list[str]:
        return [job["metadata"]["uid"] for job in self.kubectl.items("jobs", self.namespace)]

    def _apply(self, kind: str, name: str, spec: dict[str, Any] | None = None, namespace: str | None = None) -> None:
        self.kubectl.apply({"apiVersion": _API, "kind": kind, **_named(name, namespace), "spec": spec or {}})


def _named(name: str, namespace: str | None = None) -> dict[str, Any]:
    return {"metadata": {"name": name} | ({"namespace": namespace} if namespace else {})}


@contextmanager
def queues_of_a_test(kubectl: Kubectl) -> Iterator[Queues]:
    """A namespace that Kueue looks after, and nothing in it yet."""
    with (
        kubectl.namespace(f"kq-{uuid.uuid4().hex[:8]}") as namespace,
        queues_in(kubectl, namespace) as queues,
    ):
        yield queues


@contextmanager
def queues_in(kubectl: Kubectl, namespace: str) -> Iterator[Queues]:
    """Let Kueue look after a namespace."""
    kubectl("label", "namespace", namespace, *(f"{key}={value}" for key, value in _ENABLED.items()))
    queues = Queues(kubectl, namespace, f"kq-{uuid.uuid4().hex[:8]}")
    try:
        yield queues
    finally:
        queues.remove()
