"""The protocol of a kubeconfig's exec plugins: what they are told, and what they answer."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_script_provider.clusters.identity import Certificate
from airflow_script_provider.clusters.kubeconfig import Entry, PassingError

_EXTENSION = "client.authentication.k8s.io/exec"
"""The extension of a cluster that holds its plugin's settings."""
_OF_CLUSTER = ("tls-server-name", "proxy-url")
_FLAGS = ("insecure-skip-tls-verify", "disable-compression")


@dataclass(frozen=True)
class Command:
    """A plugin's command line and environment. ``version`` is that of its protocol."""

    words: list[str]
    environment: Mapping[str, str]
    version: str


@dataclass(frozen=True)
class Answer:
    """A plugin's credentials: a token, a certificate, or both."""

    token: str | None
    certificate: Certificate | None


NOTHING = Answer(None, None)


def command_of(plugin: Entry, cluster: Entry, environ: Mapping[str, str]) -> Command:
    """How to start a plugin for a cluster.

    A command with a slash is relative to the kubeconfig's folder; another is looked up in PATH.
    ``ValueError`` if the plugin cannot work without a keyboard.
    """
    for field in ("command", "apiVersion"):
        if not plugin.text(field):
            raise ValueError(f"exec: malformed request. missing key '{field}'")
    if plugin.text("interactiveMode") == "Always":
        raise ValueError("exec: the plugin's interactiveMode is Always, and there is no keyboard")
    version, command = plugin.text("apiVersion"), plugin.text("command")
    words = [str(plugin.folder / command) if os.sep in command else _found(command, environ)]
    variables = {str(entry.get("name")): str(entry.get("value", "")) for entry in plugin.entries("env")}
    spec: dict[str, Any] = {"interactive": False}
    if plugin.flag("provideClusterInfo"):
        spec["cluster"] = cluster_info(cluster)
    info = json.dumps({"apiVersion": version, "kind": "ExecCredential", "spec": spec})
    return Command([*words, *plugin.texts("args")], {**environ, **variables, "KUBERNETES_EXEC_INFO": info}, version)


def cluster_info(cluster: Entry) -> dict[str, Any]:
    """What a plugin with ``provideClusterInfo`` is told about its cluster. Reads the CA's file."""
    info: dict[str, Any] = {"server": cluster.text("server")}
    info |= {field: text for field in _OF_CLUSTER if (text := cluster.text(field))}
    info |= dict.fromkeys((field for field in _FLAGS if cluster.flag(field)), True)
    if authority := cluster.data("certificate-authority"):
        info["certificate-authority-data"] = base64.b64encode(authority).decode()
    for extension in cluster.entries("extensions"):
        if extension.get("name") == _EXTENSION:
            info["config"] = extension.get("extension")
    return info


def answer_in(output: bytes, version: str) -> Answer:
    """The credentials in a plugin's output; ``ValueError`` quotes nothing of it."""
    try:
        answer = json.loads(output)
    except ValueError:
        raise ValueError("exec: failed to decode process output: it is not JSON") from None
    answer = answer if isinstance(answer, dict) else {}
    for key in ("apiVersion", "kind", "status"):
        if key not in answer:
            raise ValueError(f"exec: malformed response. missing key '{key}'")
    if answer["apiVersion"] != version:
        raise ValueError(f"exec: the plugin's answer has another apiVersion than {version}")
    status = Entry("the plugin's answer", answer, Path()).entry("status") or Entry("", {}, Path())
    token, certificate, key = map(status.text, ("token", "clientCertificateData", "clientKeyData"))
    if bool(certificate) != bool(key):
        raise ValueError("exec: missing clientCertificateData or clientKeyData field in plugin output")
    if not token and not certificate:
        raise ValueError("exec: missing token or clientCertificateData field in plugin output")
    return Answer(token.strip() or None, Certificate(certificate.encode(), key.encode()) if certificate else None)


def _found(command: str, environ: Mapping[str, str]) -> str:
    found = shutil.which(command, path=environ.get("PATH", os.defpath))
    if found is None:
        raise PassingError(f"exec: the kubeconfig's plugin {command!r} is not in PATH")
    return found
