"""An API server that answers as a test writes down: answers that a real one gives only in bad luck."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.clusters.access import ClusterAccess
from airflow_script_provider.clusters.credentials import open_api
from tests.builders import a_kubeconfig
from tests.servers import Answer, WebServer, web_server

EXISTS = ("AlreadyExists", 'configmaps "x" already exists')
CONFLICT = ("Conflict", 'Operation cannot be fulfilled on resourcequotas "q": the object has been modified')


@contextmanager
def stand_in() -> Iterator[WebServer]:
    """A server that has no object, and says so as an API server does."""
    with web_server() as server:
        server.unknown = NOT_FOUND
        yield server


def access_to(server: WebServer) -> ClusterAccess:
    """The stand-in's address and credentials."""
    return ClusterAccess(config=a_kubeconfig(server.url, namespace="etl", token="t"))


@asynccontextmanager
async def api_of(server: WebServer) -> AsyncIterator[KubernetesApi]:
    """The client of a stand-in server."""
    async with open_api(access_to(server)) as api:
        yield api


def an_object(
    kind: str = "Job", status: int = 200, *, spec: Mapping[str, Any] | None = None, **metadata: Any
) -> Answer:
    """An object as an answer."""
    body: dict[str, Any] = {"kind": kind, "apiVersion": "batch/v1"}
    body |= {"metadata": {"name": "x", "namespace": "etl", "uid": "uid-1"} | metadata, "spec": dict(spec or {})}
    body |= {"items": []} if kind.endswith("List") else {}
    return Answer(json.dumps(body).encode(), status, {"Content-Type": "application/json"})


def a_refusal(status: int, reason: str = "", message: str = "") -> Answer:
    """A refusal in the API server's form."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status}
    text = json.dumps(body | {"reason": reason, "message": message})
    return Answer(text.encode(), status, {"Content-Type": "application/json"})


def requests(server: WebServer, method: str, path: str = "") -> int:
    """How often the server was asked so."""
    return sum(one.method == method and one.path.startswith(path) for one in server.requests)


NOT_FOUND = a_refusal(404, "NotFound", "not found")
