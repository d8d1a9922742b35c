"""Asks the API server for the conditions that the start waits for."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = 5


@dataclass(frozen=True)
class Api:
    """A minimal client for the administrator."""

    server: str
    token: str
    tls: ssl.SSLContext

    def get(self, path: str) -> Any:
        """The parsed answer, or None if the server does not answer or answers with an error."""
        request = urllib.request.Request(self.server + path, headers={"Authorization": f"Bearer {self.token}"})
        try:
            with urllib.request.urlopen(request, timeout=SECONDS, context=self.tls) as answer:
                body = answer.read()
        except (OSError, urllib.error.HTTPError):
            return None
        return json.loads(body) if body.startswith(b"{") else body.decode()

    def ready(self) -> bool:
        """Whether the API server reports that it is ready."""
        return bool(self.get("/readyz") == "ok")

    def ready_nodes(self) -> set[str]:
        """The names of all nodes whose condition Ready is true."""
        nodes = (self.get("/api/v1/nodes") or {}).get("items", [])
        return {node["metadata"]["name"] for node in nodes if _is_ready(node)}

    def accepts_pods(self) -> bool:
        """Whether the default service account exists; without it, the server refuses pods."""
        return self.get("/api/v1/namespaces/default/serviceaccounts/default") is not None

    def version(self) -> str:
        """Kubernetes' version."""
        return str((self.get("/version") or {}).get("gitVersion", "unknown"))


def from_kubeconfig(path: Path) -> Api:
    """The client for a kubeconfig that `credentials` wrote."""
    config = json.loads(path.read_text())
    cluster = config["clusters"][0]["cluster"]
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    return Api(
        cluster["server"],
        config["users"][0]["user"]["token"],
        ssl.create_default_context(cadata=authority),
    )


def _is_ready(node: dict[str, Any]) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
