"""Kueue's configuration, and its resource definitions and webhooks for a controller on loopback.

Kueue's own manifests call its webhooks by a Service. This cluster has no kube-proxy, so the API
server calls them by a loopback URL instead.
"""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAMESPACE_LABEL = "dev-cluster/kueue"
"""Label of a namespace, with value ``enabled``: the webhooks for Jobs are called only there."""
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
ADDRESS = "127.0.0.1"
GROUP = "kueue.x-k8s.io"
OURS = {"app.kubernetes.io/managed-by": "dev-cluster-kueue"}
"""Labels of everything that is created in the cluster: it is found by them when it is removed."""

_FRAMEWORK = "batch/job"
_NAMESPACES = {"matchLabels": {NAMESPACE_LABEL: "enabled"}}
_QUEUED = {"matchExpressions": [{"key": QUEUE_LABEL, "operator": "Exists"}]}
# A webhook that does not answer must not hold up the tests of other people for long.
_TIMEOUT_SECONDS = 5
# No test needs these, and each would watch more or open another port.
_WITHOUT = ("MultiKueue", "TopologyAwareScheduling", "VisibilityOnDemand")


@dataclass(frozen=True)
class Endpoint:
    """Where the controller listens, and the certificate that it shows there, in PEM."""

    webhook_port: int
    health_port: int
    certificate: str

    @property
    def ready(self) -> str:
        """The URL that answers 200 once the webhooks are served."""
        return f"http://{ADDRESS}:{self.health_port}/readyz"

    def client_config(self, path: str) -> dict[str, str]:
        """How the API server reaches the webhook of this path."""
        ca = base64.b64encode(self.certificate.encode()).decode()
        return {"url": f"https://{ADDRESS}:{self.webhook_port}{path}", "caBundle": ca}


def configuration(endpoint: Endpoint, certificates: Path) -> dict[str, Any]:
    """The contents of the file that the controller starts with."""
    return {
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "health": {"healthProbeBindAddress": f"{ADDRESS}:{endpoint.health_port}"},
        "metrics": {"bindAddress": "0"},
        "webhook": {"host": ADDRESS, "port": endpoint.webhook_port, "certDir": str(certificates)},
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": False},
        "clientConnection": {"qps": 50, "burst": 100},
        "manageJobsWithoutQueueName": False,
        "managedJobsNamespaceSelector": _NAMESPACES,
        "integrations": {"frameworks": [_FRAMEWORK]},
        "featureGates": dict.fromkeys(_WITHOUT, False),
    }


def definitions(objects: Iterable[Mapping[str, Any]], endpoint: Endpoint) -> list[dict[str, Any]]:
    """The resource definitions; those of more than one version are converted by the controller."""
    return [_definition(copy.deepcopy(dict(found)), endpoint) for found in objects]


def webhooks(objects: Iterable[Mapping[str, Any]], endpoint: Endpoint) -> list[dict[str, Any]]:
    """The webhook configurations, without the webhooks for kinds that this cluster does not have."""
    return [_webhook_configuration(copy.deepcopy(dict(found)), endpoint) for found in objects]


def parsed(text: str) -> list[dict[str, Any]]:
    """The objects that kubectl printed as JSON, one after the other or in a List."""
    found: list[dict[str, Any]] = []
    decoder, rest = json.JSONDecoder(), text.lstrip()
    while rest:
        document, end = decoder.raw_decode(rest)
        found += document["items"] if document["kind"] == "List" else [document]
        rest = rest[end:].lstrip()
    return found


def plurals(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of the definitions, such as `workloads.kueue.x-k8s.io`."""
    return [definition["metadata"]["name"] for definition in found]


def _definition(found: dict[str, Any], endpoint: Endpoint) -> dict[str, Any]:
    found.pop("status", None)
    found["metadata"] = {**found["metadata"], "labels": dict(OURS)}
    if len(found["spec"]["versions"]) > 1:
        webhook = {"clientConfig": endpoint.client_config("/convert"), "conversionReviewVersions": ["v1"]}
        found["spec"]["conversion"] = {"strategy": "Webhook", "webhook": webhook}
    return found


def _webhook_configuration(found: dict[str, Any], endpoint: Endpoint) -> dict[str, Any]:
    kept = [webhook for webhook in found["webhooks"] if _groups(webhook) <= {GROUP, "batch"}]
    metadata = {"name": f"kueue-{found['metadata']['name']}", "labels": dict(OURS)}
    return {**found, "metadata": metadata, "webhooks": [_webhook(webhook, endpoint) for webhook in kept]}


def _webhook(found: dict[str, Any], endpoint: Endpoint) -> dict[str, Any]:
    """One webhook; those for Jobs are called only for queued Jobs of labelled namespaces."""
    found["clientConfig"] = endpoint.client_config(found["clientConfig"]["service"]["path"])
    found["timeoutSeconds"] = _TIMEOUT_SECONDS
    if _groups(found) == {"batch"}:
        found |= {"namespaceSelector": _NAMESPACES, "objectSelector": _QUEUED}
    return found


def _groups(webhook: Mapping[str, Any]) -> set[str]:
    return {group for rule in webhook["rules"] for group in rule["apiGroups"]}
