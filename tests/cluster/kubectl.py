"""kubectl, to set up what a test needs and to look at what it left."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.patience import PATIENCE, wait_for
from tests.servers import a_program

_EMBEDDED_CLUSTER = Path(__file__).parents[2] / ".cluster"
PROGRAM = str(_EMBEDDED_CLUSTER / "kubectl") if (_EMBEDDED_CLUSTER / "kubectl").exists() else "kubectl"
"""The embedded cluster's kubectl where there is one: a fresh machine has no other."""

_GROUPS = {
    **dict.fromkeys(("pods", "configmaps", "secrets", "events", "serviceaccounts", "resourcequotas"), "api/v1"),
    "jobs": "apis/batch/v1",
    "statefulsets": "apis/apps/v1",
}


def kubeconfig_of_tests() -> str:
    """Path of the kubeconfig: KUBECONFIG's, else the embedded cluster's."""
    path = os.environ.get("KUBECONFIG") or str(_EMBEDDED_CLUSTER / "kubeconfig")
    if not Path(path).is_file():
        raise AssertionError(f"no cluster: {path} does not exist; run make cluster-up")
    return path


def _selectors(words: tuple[str, ...]) -> dict[str, str]:
    """The query of a list for kubectl's words, such as ``-l app=api --field-selector=status.phase=Running``."""
    parser = argparse.ArgumentParser(prog="kubectl get", allow_abbrev=False)
    parser.add_argument("-l", "--selector", dest="labelSelector")
    parser.add_argument("--field-selector", dest="fieldSelector")
    return {name: value for name, value in vars(parser.parse_args(words)).items() if value is not None}


@contextmanager
def kubectl_with(kubeconfig: str) -> Iterator[Kubectl]:
    """kubectl with a kubeconfig; its proxy answers at a port of this machine until the end of the block."""
    with a_program(PROGRAM, "--kubeconfig", kubeconfig, "proxy", "--port=PORT") as url:
        yield Kubectl(kubeconfig, url)


@dataclass(frozen=True)
class Kubectl:
    """Runs kubectl with one kubeconfig, and asks its proxy for what tests look at again and again.

    A process of kubectl takes a tenth of a second of CPU, a request to the proxy a thousandth.
    """

    kubeconfig: str
    proxy: str

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

    def items(self, kinds: str, namespace: str, *words: str) -> list[dict[str, Any]]:
        """Objects of some kinds in a namespace; the words are those of ``kubectl get`` that select."""
        query = _selectors(words)
        return [item for kind in kinds.split(",") for item in self._list(kind, namespace, query)]

    def _list(self, kind: str, namespace: str, query: dict[str, str]) -> list[dict[str, Any]]:
        """A list, in which each object has its kind, as kubectl prints it."""
        found = self._request("GET", f"{_GROUPS[kind]}/namespaces/{namespace}/{kind}", query)
        type_of = {"apiVersion": found["apiVersion"], "kind": found["kind"].removesuffix("List")}
        return [type_of | item for item in found["items"]]

    def _request(self, method: str, path: str, query: dict[str, str] | None = None, body: Any = None) -> Any:
        """What the API server answers."""
        url = f"{self.proxy}/{path}?{urllib.parse.urlencode(query or {})}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{method} {path}: {error.read().decode()}") from None

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
        self._request("POST", "api/v1/namespaces", body={"metadata": {"name": name, "labels": labels or {}}})
        try:
            wait_for(lambda: "default" in self.names("serviceaccounts", name), "the default account")
            yield name
        finally:
            with suppress(AssertionError):  # a test may have deleted it
                self._request("DELETE", f"api/v1/namespaces/{name}")

    def describe(self, namespace: str) -> str:
        """Pods and events, for the report of a failed test."""
        pods = self("get", "jobs,pods,configmaps,secrets", "-n", namespace, "-o", "wide", check=False)
        return pods + self("get", "events", "-n", namespace, "--sort-by=.lastTimestamp", check=False)
