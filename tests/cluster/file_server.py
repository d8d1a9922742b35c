"""A web server in a pod, for what other pods read: package indexes and repositories."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.cluster.kubectl import Kubectl
from tests.patience import PATIENCE

PORT = 8000
_FOLDER = "/files"
_PROGRAM = f"""
import base64, http.server, os

WANTED = "Basic " + base64.b64encode(os.environ["LOGIN"].encode()).decode()

class Handler(http.server.SimpleHTTPRequestHandler):
    def send_head(self):
        if os.environ["LOGIN"] and self.headers["Authorization"] != WANTED:
            return self.refuse()
        return super().send_head()

    def refuse(self):
        self.send_response(401)
        self.send_header("WWW-Authenticate", "Basic realm=index")
        self.send_header("Content-Length", "0")
        self.end_headers()

os.chdir("{_FOLDER}")
http.server.ThreadingHTTPServer(("", {PORT}), Handler).serve_forever()
"""


@contextmanager
def file_server(kubectl: Kubectl, namespace: str, files: Mapping[str, bytes], login: str = "") -> Iterator[str]:
    """Host and port of a pod that serves files by their paths; given ``user:password``, only to whoever has it."""
    name = f"files-{uuid.uuid4().hex[:8]}"
    kubectl.apply(_config_map(name, namespace, files), _pod(name, namespace, files, login))
    try:
        kubectl("wait", "-n", namespace, f"pod/{name}", "--for=condition=Ready", f"--timeout={PATIENCE:g}s")
        address = kubectl("get", "pod", name, "-n", namespace, "-o", "jsonpath={.status.podIP}")
        yield f"{address}:{PORT}"
    finally:
        kubectl("delete", f"pod/{name}", f"configmap/{name}", "-n", namespace, "--wait=false", "--grace-period=0")


def _config_map(name: str, namespace: str, files: Mapping[str, bytes]) -> dict[str, Any]:
    data = {f"file-{number}": base64.b64encode(data).decode() for number, data in enumerate(files.values())}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "binaryData": data}


def _pod(name: str, namespace: str, files: Mapping[str, bytes], login: str) -> dict[str, Any]:
    items = [{"key": f"file-{number}", "path": path} for number, path in enumerate(files)]
    container = {
        "name": "files",
        "image": "python:3.11-slim",
        "command": ["python3", "-c", _PROGRAM],
        "env": [{"name": "LOGIN", "value": login}],
        "volumeMounts": [{"name": "files", "mountPath": _FOLDER}],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
    }
    volume = {"name": "files", "configMap": {"name": name, "items": items}}
    spec = {"containers": [container], "volumes": [volume], "terminationGracePeriodSeconds": 0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": spec}
