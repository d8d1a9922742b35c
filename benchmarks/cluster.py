"""The cluster that a benchmark runs in: a namespace of its own, a node, plain watches and the audit log."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

IMAGE = "docker.io/library/python:3.11-slim"
OBSERVER = "benchmark-observer"
"""User agent of requests that belong to the measuring, not to what is measured."""
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_NOT_MEASURED = (OBSERVER, "kwok/")


def core_api(*, user_agent: str | None = None) -> Any:
    """A client for pods, namespaces and nodes, from KUBECONFIG."""
    from kubernetes import client

    return client.CoreV1Api(_api_client(user_agent))


def batch_api(*, user_agent: str | None = None) -> Any:
    """A client for Jobs, from KUBECONFIG."""
    from kubernetes import client

    return client.BatchV1Api(_api_client(user_agent))


def _api_client(user_agent: str | None) -> Any:
    from kubernetes import config

    client = config.new_client_from_config()
    if user_agent:
        client.user_agent = user_agent
    return client


@contextmanager
def own_namespace() -> Iterator[str]:
    """A namespace for this run, so that requests and objects of others are not counted."""
    core = core_api(user_agent=OBSERVER)
    name = f"benchmark-{secrets.token_hex(4)}"
    core.create_namespace({"metadata": {"name": name}})
    try:
        yield name
    finally:
        core.delete_namespace(name)


@contextmanager
def account_of_a_pod(namespace: str) -> Iterator[None]:
    """The files that a pod has of its service account, on this machine; it may do all in the namespace."""
    if _ACCOUNT.exists():
        raise FileExistsError(f"{_ACCOUNT} exists: this is a pod")
    from kubernetes import client

    core, name = core_api(user_agent=OBSERVER), "benchmark"
    core.create_namespaced_service_account(namespace, {"metadata": {"name": name}})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"}
    subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    binding = {"metadata": {"name": name}, "roleRef": role, "subjects": [subject]}
    client.RbacAuthorizationV1Api(core.api_client).create_namespaced_role_binding(namespace, binding)
    token = core.create_namespaced_service_account_token(name, namespace, {"spec": {"expirationSeconds": 7200}})
    authority = Path(core.api_client.configuration.ssl_ca_cert).read_text()
    _ACCOUNT.mkdir(parents=True)
    try:
        for file, text in {"token": token.status.token, "ca.crt": authority, "namespace": namespace}.items():
            (_ACCOUNT / file).write_text(text)
        yield
    finally:
        shutil.rmtree(_ACCOUNT)


def use_pods_account() -> None:
    """Let this process use the account of ``account_of_a_pod``, at the server of KUBECONFIG."""
    from urllib.parse import urlsplit

    import yaml

    server = urlsplit(
        yaml.safe_load(Path(os.environ.pop("KUBECONFIG")).read_text())["clusters"][0]["cluster"]["server"]
    )
    os.environ |= {
        "KUBERNETES_SERVICE_HOST": str(server.hostname),
        "KUBERNETES_SERVICE_PORT": str(server.port),
        "AIRFLOW_CONN_KUBERNETES_DEFAULT": '{"conn_type": "kubernetes", "extra": {"in_cluster": true}}',
    }


def ready_node() -> str:
    """The first node that is ready and no fake: contenders that are compared by their log run on the same one."""
    for node in core_api(user_agent=OBSERVER).list_node().items:
        is_ready = any(condition.type == "Ready" and condition.status == "True" for condition in node.status.conditions)
        if is_ready and not node.spec.taints:
            return str(node.metadata.name)
    raise LookupError("no node is ready; look at: kubectl get nodes")


def bare_job(name: str, script: str, node: str | None = None) -> dict[str, Any]:
    """The least Job that runs this Python script."""
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 0,
        "containers": [
            {
                "name": "script",
                "image": IMAGE,
                "imagePullPolicy": "IfNotPresent",
                "command": ["python3", "-u", "-c", script],
            }
        ],
    }
    if node:
        pod["nodeSelector"] = {"kubernetes.io/hostname": node}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}},
    }


def watch_plainly(list_objects: Any, namespace: str, **query: str | int) -> Iterator[dict[str, Any]]:
    """Objects as dicts as they change; not through the client's models, which take their time."""
    from kubernetes.watch.watch import iter_resp_lines

    answer = list_objects(namespace, watch=True, _preload_content=False, **query)
    try:
        for line in iter_resp_lines(answer):
            if line:
                yield json.loads(line)["object"]
    finally:
        answer.close()
        answer.release_conn()


def container_states(pod: Mapping[str, Any], state: str) -> list[Any]:
    """The states of a pod's containers that are ``running`` or ``terminated``."""
    statuses = pod.get("status", {}).get("containerStatuses") or []
    return [status["state"][state] for status in statuses if state in status.get("state", {})]


@dataclass(frozen=True)
class AuditLog:
    """The API server's audit log, where this machine has it."""

    path: Path

    @classmethod
    def beside_kubeconfig(cls) -> AuditLog:
        """The log of the development cluster, which lies beside its kubeconfig."""
        return cls(Path(os.environ.get("KUBECONFIG", "")).with_name("audit.log"))

    def requests(self, namespace: str) -> list[tuple[float, str]] | None:
        """Time and ``verb resource`` of each request in a namespace by an ordinary user; None without a log."""
        if not self.path.is_file():
            return None
        seen: dict[str, tuple[float, str]] = {}
        for path in sorted(self.path.parent.glob("audit*.log")):  # what was set aside when it grew large, too
            with path.open() as lines:
                for line in lines:
                    if namespace in line and (request := _request_of(line, namespace)):
                        seen[request[0]] = request[1:]
        return list(seen.values())


def _request_of(line: str, namespace: str) -> tuple[str, float, str] | None:
    """Id, time and words of a request; a watch is in the log twice, at its start and at its end."""
    try:
        event = json.loads(line)
    except ValueError:  # the line that is being written
        return None
    thing = event.get("objectRef", {})
    is_ordinary = not event["user"]["username"].startswith("system:")
    is_ordinary = is_ordinary and not event.get("userAgent", "").startswith(_NOT_MEASURED)
    if thing.get("namespace") != namespace or thing.get("resource") == "namespaces" or not is_ordinary:
        return None
    resource = "/".join(part for part in (thing["resource"], thing.get("subresource")) if part)
    received = datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp()
    return event["auditID"], received, f"{event['verb']} {resource}"
