"""One call of the Kubernetes API, as plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_METHODS = {"create": "POST", "get": "GET", "list": "GET", "watch": "GET", "patch": "PATCH", "delete": "DELETE"}
_CORE = "/api/v1"
_GROUPS = {
    "jobs": "/apis/batch/v1",
    "deployments": "/apis/apps/v1",
    "replicasets": "/apis/apps/v1",
    "statefulsets": "/apis/apps/v1",
    "workloads": "/apis/kueue.x-k8s.io/v1beta1",
    "selfsubjectaccessreviews": "/apis/authorization.k8s.io/v1",
    "version": "",
}


@dataclass(frozen=True)
class Call:
    """A verb of Kubernetes on a resource or on the object of a name.

    Resources are named in the plural (``jobs``); ``pods/log`` is a subresource of pods. Without a
    namespace the call is for the whole cluster.
    """

    verb: str
    resource: str
    namespace: str | None = None
    name: str = ""
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def method(self) -> str:
        """HTTP's method."""
        return _METHODS[self.verb]

    @property
    def path(self) -> str:
        """The URL path of the resource or object."""
        kind, _, subresource = self.resource.partition("/")
        parts = [_GROUPS.get(kind, _CORE)]
        parts += [f"namespaces/{self.namespace}"] if self.namespace else []
        parts += [part for part in (kind, self.name, subresource) if part]
        return "/".join(parts)

    @property
    def group(self) -> str:
        """The API group of the resource, empty for the core's."""
        return _GROUPS[self.resource].split("/")[2] if self.resource in _GROUPS else ""

    @property
    def content_type(self) -> str:
        """The media type of the body."""
        return "application/merge-patch+json" if self.verb == "patch" else "application/json"

    def content(self) -> bytes | None:
        """The body as JSON, None without one."""
        if self.body is None:
            return None
        return json.dumps(self.body, ensure_ascii=False).encode("utf-8", "surrogatepass")
