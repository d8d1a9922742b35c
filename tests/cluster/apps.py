"""Deployments that run already, for what runs in their pods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.cluster.kubectl import Kubectl
from tests.patience import wait_for

PYTHON = "python:3.11-slim"
NO_SHELL = "pause-only:1"


def a_deployment(
    name: str,
    namespace: str,
    *containers: str,
    image: str = PYTHON,
    replicas: int = 1,
    ready: bool = True,
    env: Sequence[tuple[str, str]] = (),
    command: Sequence[str] = ("sleep", "infinity"),
) -> dict[str, Any]:
    """A Deployment whose containers sleep; one that is not ``ready`` never becomes so."""
    sleeps = {"command": list(command)} if image != NO_SHELL else {}
    probe = {} if ready else {"readinessProbe": {"exec": {"command": ["false"]}}}
    variables = [{"name": key, "value": value} for key, value in env]
    template = [{"name": one, "image": image, "env": variables} | sleeps | probe for one in containers or (name,)]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": template},
            },
        },
    }


def a_stateful_set(name: str, namespace: str) -> dict[str, Any]:
    """A StatefulSet whose container sleeps."""
    deployment = a_deployment(name, namespace)
    return deployment | {"kind": "StatefulSet", "spec": deployment["spec"] | {"serviceName": name}}


def rolled_out(kubectl: Kubectl, *deployments: dict[str, Any]) -> None:
    """Apply Deployments, and wait until they are ready and their older pods are gone.

    Another module may have had a Deployment of that name in the namespace.
    """
    kubectl.apply(*deployments)
    for deployment in deployments:
        name, namespace = (deployment["metadata"][field] for field in ("name", "namespace"))
        kubectl("rollout", "status", f"deployment/{name}", "-n", namespace)
        _wait_for_pods(kubectl, namespace, name, deployment["spec"]["replicas"])


def _wait_for_pods(kubectl: Kubectl, namespace: str, name: str, count: int) -> None:
    wait_for(lambda: len(pods_of(kubectl, namespace, name)) == count, f"the end of older pods of {name}")


def pods_of(kubectl: Kubectl, namespace: str, name: str) -> list[str]:
    """The names of a Deployment's pods."""
    return sorted(kubectl.names("pods", namespace, "-l", f"app={name}"))


def processes_in(kubectl: Kubectl, namespace: str, pod: str) -> list[str]:
    """The command lines of what runs in a pod, but for its first process and the one that looks."""
    look = (
        "import os, pathlib\n"
        "for p in pathlib.Path('/proc').glob('[0-9]*'):\n"
        "  if int(p.name) not in (1, os.getpid()):\n"
        "    try: print(p.name, (p / 'cmdline').read_bytes().replace(b'\\0', b' ').decode())\n"
        "    except OSError: pass\n"
    )
    printed = kubectl("exec", "-n", namespace, pod, "--", "python3", "-c", look)
    return [line for line in printed.splitlines() if len(line.split()) > 1]


def nothing_runs(kubectl: Kubectl, namespace: str, pod: str) -> None:
    """Wait until nothing runs in a pod but its own."""
    wait_for(lambda: not processes_in(kubectl, namespace, pod), "the end of every process")
