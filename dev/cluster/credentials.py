"""Makes new keys, certificates, tokens and kubeconfigs at every start."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from commands import run
from instance import NODE_NAMES, Instance

# Users and groups as the API server's built-in roles expect them.
USERS = {
    "admin": "system:masters",
    "system:kube-controller-manager": "",
    "system:kube-scheduler": "",
    **{f"system:node:{node}": "system:nodes" for node in NODE_NAMES},
}
# Complete extensions: newer TLS libraries refuse certificates without key identifiers and usages.
CA_EXTENSIONS = (
    "basicConstraints=critical,CA:TRUE",
    "keyUsage=critical,keyCertSign,cRLSign",
    "subjectKeyIdentifier=hash",
)
LEAF_EXTENSIONS = (
    "basicConstraints=critical,CA:FALSE",
    "keyUsage=critical,digitalSignature",
    "extendedKeyUsage=serverAuth,clientAuth",
    "subjectKeyIdentifier=hash",
    "authorityKeyIdentifier=keyid",
)
EC_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650")


@dataclass(frozen=True)
class Credentials:
    """The paths of one cluster's secrets."""

    folder: Path

    @property
    def ca(self) -> Path:
        """The certificate of the authority that signs all others."""
        return self.folder / "ca.crt"

    @property
    def tokens(self) -> Path:
        """The API server's list of tokens and users."""
        return self.folder / "tokens.csv"

    @property
    def service_account_key(self) -> Path:
        """The key that signs service account tokens."""
        return self.folder / "service-account.key"

    @property
    def service_account_public_key(self) -> Path:
        """The key that verifies service account tokens."""
        return self.folder / "service-account.pub"

    def certificate(self, name: str) -> Path:
        """A component's certificate."""
        return self.folder / f"{name}.crt"

    def key(self, name: str) -> Path:
        """A component's private key."""
        return self.folder / f"{name}.key"

    def kubeconfig(self, user: str) -> Path:
        """A user's kubeconfig."""
        return self.folder / f"{user.replace(':', '-')}.kubeconfig"


def create(instance: Instance, server: str, addresses: Iterable[str]) -> Credentials:
    """Make all secrets; the API server's URL is `server`, its certificate names `addresses`."""
    instance.secrets.mkdir(mode=0o700)
    credentials = Credentials(instance.secrets)
    _create_ca(credentials, instance.name)
    names = ["DNS:localhost", "DNS:kubernetes", "DNS:kubernetes.default", "DNS:kubernetes.default.svc"]
    names += [f"IP:{address}" for address in addresses]
    _create_certificate(credentials, "apiserver", "/CN=kube-apiserver", [f"subjectAltName={','.join(names)}"])
    _create_certificate(credentials, "kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client", [])
    curve = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
    run(["openssl", "genpkey", *curve, "-out", credentials.service_account_key])
    public: list[str | Path] = ["-pubout", "-out", credentials.service_account_public_key]
    run(["openssl", "pkey", "-in", credentials.service_account_key, *public])
    tokens = {user: secrets.token_hex(24) for user in USERS}
    _write_tokens(credentials, tokens)
    for user, token in tokens.items():
        _write_kubeconfig(credentials.kubeconfig(user), credentials, server, user, token)
    _write_kubeconfig(instance.kubeconfig, credentials, server, "admin", tokens["admin"])
    return credentials


def _create_ca(credentials: Credentials, name: str) -> None:
    config = _openssl_config(credentials)
    extensions = _added(CA_EXTENSIONS)
    files: list[str | Path] = ["-keyout", credentials.key("ca"), "-out", credentials.ca]
    run(["openssl", "req", "-x509", "-config", config, *EC_KEY, "-subj", f"/CN={name}", *files, *extensions])


def _create_certificate(credentials: Credentials, name: str, subject: str, extensions: Iterable[str]) -> None:
    config = _openssl_config(credentials)
    signer: list[str | Path] = ["-CA", credentials.ca, "-CAkey", credentials.key("ca")]
    files: list[str | Path] = ["-keyout", credentials.key(name), "-out", credentials.certificate(name)]
    added = _added([*LEAF_EXTENSIONS, *extensions])
    run(["openssl", "req", "-x509", "-config", config, *EC_KEY, "-subj", subject, *signer, *files, *added])


def _openssl_config(credentials: Credentials) -> Path:
    """A configuration without extensions: the machine's own file would add others."""
    path = credentials.folder / "openssl.cnf"
    path.write_text("[req]\ndistinguished_name = subject\n[subject]\n")
    return path


def _added(extensions: Iterable[str]) -> list[str]:
    return [part for extension in extensions for part in ("-addext", extension)]


def _write_tokens(credentials: Credentials, tokens: dict[str, str]) -> None:
    lines = [f'{token},{user},{user},"{USERS[user]}"' for user, token in tokens.items()]
    credentials.tokens.write_text("\n".join(lines) + "\n")


def _write_kubeconfig(path: Path, credentials: Credentials, server: str, user: str, token: str) -> None:
    ca = base64.b64encode(credentials.ca.read_bytes()).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "dev", "cluster": {"server": server, "certificate-authority-data": ca}}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": "dev", "context": {"cluster": "dev", "user": user, "namespace": "default"}}],
        "current-context": "dev",
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(config, indent=2) + "\n")
