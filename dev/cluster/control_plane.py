"""The command lines of etcd, API server, controller manager and scheduler."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from binaries import Binaries
from credentials import Credentials
from instance import Instance
from network import Block

# Metadata is enough to count requests by user agent, verb and resource.
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "omitManagedFields": True,
    "rules": [{"level": "Metadata"}],
}
API_SERVICE_PORT = 443
Commands = Mapping[str, Sequence[str | Path]]
"""Command lines by component."""


@dataclass(frozen=True)
class Ports:
    """The loopback ports that the control plane listens on."""

    api: int
    etcd: int
    etcd_peers: int

    @property
    def api_url(self) -> str:
        """The API server's URL for clients on this machine."""
        return f"https://127.0.0.1:{self.api}"


@dataclass(frozen=True)
class ControlPlane:
    """The inputs of the command lines."""

    instance: Instance
    binaries: Binaries
    credentials: Credentials
    block: Block
    ports: Ports

    def controllers(self) -> Commands:
        """What works through the API server.

        The controller manager ends if it has not got its rights within 10 s, which a busy machine
        needs to start the API server: it is started when this is ready.
        """
        program = self.binaries.kubernetes
        return {
            "kube-controller-manager": [program, "kube-controller-manager", *_flags(self._controller_manager())],
            "kube-scheduler": [program, "kube-scheduler", *_flags(self._scheduler())],
        }

    def servers(self) -> Commands:
        """The API server and what it needs, in the order of their start."""
        program = self.binaries.kubernetes
        return {
            "etcd": [program, "etcd", *_flags(self._etcd())],
            "kube-apiserver": [program, "kube-apiserver", *_flags(self._api_server())],
            "api-service": [
                program,
                "forward",
                f"{self.block.api_service}:{API_SERVICE_PORT}",
                f"127.0.0.1:{self.ports.api}",
            ],
        }

    def write_audit_policy(self) -> None:
        """Write the audit policy to the file that the API server reads."""
        self._audit_policy.write_text(json.dumps(AUDIT_POLICY))

    @property
    def _audit_policy(self) -> Path:
        return self.instance.state / "audit-policy.json"

    def _etcd(self) -> Mapping[str, str | int | Path]:
        clients = f"http://127.0.0.1:{self.ports.etcd}"
        peers = f"http://127.0.0.1:{self.ports.etcd_peers}"
        return {
            "name": "dev",
            "data-dir": self.instance.state / "etcd",
            "listen-client-urls": clients,
            "advertise-client-urls": clients,
            "listen-peer-urls": peers,
            "initial-advertise-peer-urls": peers,
            "initial-cluster": f"dev={peers}",
            # The data need not survive a power cut; a sync would make every write wait.
            "unsafe-no-fsync": "true",
            "log-level": "warn",
        }

    def _api_server(self) -> Mapping[str, str | int | Path]:
        secrets = self.credentials
        return {
            "bind-address": "127.0.0.1",
            "secure-port": self.ports.api,
            # Only announced. The default comes from the default route, which may be missing.
            "advertise-address": str(self.block.node("node-1")),
            "endpoint-reconciler-type": "none",
            "etcd-servers": f"http://127.0.0.1:{self.ports.etcd}",
            "service-cluster-ip-range": str(self.block.services),
            "authorization-mode": "Node,RBAC",
            "enable-admission-plugins": "NodeRestriction",
            "allow-privileged": "true",
            "token-auth-file": secrets.tokens,
            "client-ca-file": secrets.ca,
            "tls-cert-file": secrets.certificate("apiserver"),
            "tls-private-key-file": secrets.key("apiserver"),
            "kubelet-client-certificate": secrets.certificate("kubelet-client"),
            "kubelet-client-key": secrets.key("kubelet-client"),
            "kubelet-preferred-address-types": "InternalIP",
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": secrets.service_account_public_key,
            "service-account-signing-key-file": secrets.service_account_key,
            "audit-policy-file": self._audit_policy,
            "audit-log-path": self.instance.audit_log,
            # Size of the file in MB, and number of older files: the tests write 45 MB in an hour.
            "audit-log-maxsize": 50,
            "audit-log-maxbackup": 1,
            # With the grace period below: eviction 50 s after a node's death, not 340 s.
            "default-not-ready-toleration-seconds": 30,
            "default-unreachable-toleration-seconds": 30,
        }

    def _controller_manager(self) -> Mapping[str, str | int | Path]:
        return {
            **self._common("system:kube-controller-manager"),
            "use-service-account-credentials": "true",
            "root-ca-file": self.credentials.ca,
            "service-account-private-key-file": self.credentials.service_account_key,
            # A thousand Jobs at once would take minutes at the default of 20 calls a second.
            "kube-api-qps": 200,
            "kube-api-burst": 400,
            # A dead node is detected after 20 s instead of 50 s.
            "node-monitor-period": "2s",
            "node-monitor-grace-period": "20s",
        }

    def _scheduler(self) -> Mapping[str, str | int | Path]:
        return self._common("system:kube-scheduler")

    def _common(self, user: str) -> Mapping[str, str | int | Path]:
        """No port, because it has no client, and no leader election: less load when idle."""
        return {"kubeconfig": self.credentials.kubeconfig(user), "leader-elect": "false", "secure-port": 0}


def _flags(values: Mapping[str, str | int | Path]) -> list[str]:
    return [f"--{name}={value}" for name, value in values.items()]
