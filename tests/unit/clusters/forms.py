"""The table of kubeconfigs: each form, and what the API server must get from a client that uses it."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from airflow_script_provider.clusters.addresses import basic
from tests.servers import WebServer, web_server
from tests.stand_in_api import NOT_FOUND

V1 = "client.authentication.k8s.io/v1"


@dataclass
class Stand:
    """Where a form's files are put, and servers of each kind. ``proxy`` is asked where a form names it."""

    folder: Path
    environment: pytest.MonkeyPatch
    servers: ExitStack
    ca: trustme.CA = field(default_factory=trustme.CA)
    server: WebServer | None = None
    proxy: WebServer | None = None

    def __post_init__(self) -> None:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "KUBECONFIG"):
            self.environment.delenv(name, raising=False)

    def plain(self) -> dict[str, Any]:
        """A cluster without TLS."""
        self.server = self.servers.enter_context(web_server())
        self.server.unknown = NOT_FOUND
        return {"server": self.server.url}

    def tls(self, **settings: Any) -> dict[str, Any]:
        """A cluster with TLS and its authority."""
        self.server = self.servers.enter_context(web_server(self.ca, **settings))
        self.server.unknown = NOT_FOUND
        return {"server": self.server.url, "certificate-authority-data": encoded(self.ca.cert_pem.bytes())}

    def proxied(self) -> str:
        """Host and port of a proxy."""
        self.proxy = self.servers.enter_context(web_server())
        self.proxy.unknown = NOT_FOUND
        return self.proxy.url.removeprefix("http://")

    def written(self, name: str, content: str | bytes | Mapping[str, Any], mode: int = 0o600) -> str:
        """The path of a file."""
        text = yaml.safe_dump(content) if isinstance(content, Mapping) else content
        path = self.folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        return str(path)

    def file(self, cluster: Mapping[str, Any], user: Mapping[str, Any] | None) -> dict[str, Any]:
        """The arguments for a kubeconfig of this cluster and user."""
        return {"config_file": self.written("config", a_config(cluster, user))}

    def connection(self, **extra: Any) -> dict[str, Any]:
        """The arguments for a connection of these fields."""
        self.environment.setenv("AIRFLOW_CONN_FORM", json.dumps({"conn_type": "kubernetes", "extra": extra}))
        return {"kubernetes_conn_id": "form"}

    def plugin(self, shell: str, **more: Any) -> dict[str, Any]:
        """A user whose credentials come from these commands."""
        self.written("plugin", f"#!/bin/sh\n{shell}\n", 0o700)
        return {"exec": {"apiVersion": V1, "interactiveMode": "Never", "command": "./plugin"} | more}


def encoded(data: bytes) -> str:
    """As ``-data`` fields have it."""
    return base64.b64encode(data).decode()


def a_config(cluster: Mapping[str, Any], user: Mapping[str, Any] | None, name: str = "a") -> dict[str, Any]:
    """A kubeconfig of one context."""
    users = [] if user is None else [{"name": name, "user": dict(user)}]
    context = {"cluster": name} | ({} if user is None else {"user": name})
    return {
        "clusters": [{"name": name, "cluster": dict(cluster)}],
        "users": users,
        "contexts": [{"name": name, "context": context}],
        "current-context": name,
    }


def gives(status: Mapping[str, Any]) -> str:
    """The shell command that prints a plugin's answer."""
    return f"printf %s '{json.dumps({'apiVersion': V1, 'kind': 'ExecCredential', 'status': status})}'"


def _token_file(stand: Stand) -> dict[str, Any]:
    stand.written("token", "t\n")
    return stand.file(stand.plain(), {"tokenFile": "token", "token": "old"})


def _several_files(stand: Stand) -> dict[str, Any]:
    first = {name: value for name, value in a_config(stand.plain(), {}).items() if name != "users"}
    second = a_config({"server": "http://other"}, {"token": "t"}) | {"current-context": "b"}
    paths = ["/missing", stand.written("first", first), stand.written("second", second)]
    stand.environment.setenv("KUBECONFIG", ":".join(paths))
    return {}


def _two_contexts(stand: Stand) -> dict[str, Any]:
    one, other = a_config({"server": "http://other"}, {"token": "x"}), a_config(stand.plain(), {"token": "t"}, "b")
    both = {name: [*one[name], *other[name]] for name in ("clusters", "users", "contexts")}
    return {"config_file": stand.written("config", both | {"current-context": "a"}), "cluster_context": "b"}


def _pair(stand: Stand) -> tuple[bytes, bytes]:
    issued = stand.ca.issue_cert("client@example.org")
    return issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes()


def _certificate_in_files(stand: Stand) -> dict[str, Any]:
    cluster, pair = stand.tls(clients=True), _pair(stand)
    stand.written("authority", stand.ca.cert_pem.bytes())
    stand.written("certificate", pair[0])
    stand.written("key", pair[1])
    cluster = {"server": cluster["server"], "certificate-authority": "authority"}
    return stand.file(cluster, {"client-certificate": "certificate", "client-key": "key"})


def _certificate_of_a_plugin(stand: Stand) -> dict[str, Any]:
    cluster, pair = stand.tls(clients=True), _pair(stand)
    status = {"clientCertificateData": pair[0].decode(), "clientKeyData": pair[1].decode()}
    return stand.file(cluster, stand.plugin(gives(status)))


def _plugin_told_of_its_cluster(stand: Stand) -> dict[str, Any]:
    asks = 'echo "$KUBERNETES_EXEC_INFO" | grep -q \'"cluster": {"server": "http://\' || exit 1'
    return stand.file(stand.plain(), stand.plugin(f"{asks}\n{gives({'token': 't'})}", provideClusterInfo=True))


def _oidc(stand: Stand, **settings: str) -> dict[str, Any]:
    return stand.file(stand.plain(), {"auth-provider": {"name": "oidc", "config": settings}})


def _oidc_token(stand: Stand) -> dict[str, Any]:
    return _oidc(stand, **{"id-token": OIDC_TOKEN})


def _oidc_refreshed(stand: Stand) -> dict[str, Any]:
    issuer = stand.servers.enter_context(web_server())
    issuer.answers("/.well-known/openid-configuration", json.dumps({"token_endpoint": f"{issuer.url}/t"}).encode())
    issuer.answers("/t", b'{"id_token": "t"}')
    return _oidc(stand, **{"idp-issuer-url": issuer.url, "client-id": "c", "refresh-token": "r"})


def _proxy_of_environment(stand: Stand) -> dict[str, Any]:
    arguments = stand.file(stand.tls(), {"token": "t"})
    stand.environment.setenv("HTTPS_PROXY", f"user:hunter2@{stand.proxied()}")
    return arguments


def _proxy_of_kubeconfig(stand: Stand) -> dict[str, Any]:
    return stand.file(stand.tls() | {"proxy-url": f"http://user:hunter2@{stand.proxied()}"}, {"token": "t"})


def _proxy_without_tls(stand: Stand) -> dict[str, Any]:
    cluster = {"server": "http://cluster.example.org", "proxy-url": f"http://user:hunter2@{stand.proxied()}"}
    stand.server = stand.proxy
    return stand.file(cluster, {"token": "t"})


def _server_with_login(stand: Stand) -> dict[str, Any]:
    server = str(stand.plain()["server"]).replace("//", "//user:hunter2@")
    return stand.file({"server": server}, None)


def _server_without_scheme(stand: Stand) -> dict[str, Any]:
    cluster = stand.tls()
    return stand.file(cluster | {"server": cluster["server"].removeprefix("https://")}, {"token": "t"})


def _impersonating(stand: Stand) -> dict[str, Any]:
    who = {"as": "jane", "as-uid": "42", "as-groups": ["dev", "ops"], "as-user-extra": {"scopes": ["a", "b"]}}
    return stand.file(stand.plain(), {"token": "t"} | who)


def _insecure(stand: Stand) -> dict[str, Any]:
    stand.tls()
    cluster = {"server": stand.server.url if stand.server else "", "insecure-skip-tls-verify": True}
    return stand.file(cluster, {"token": "t"})


def _not_verified_by_connection(stand: Stand) -> dict[str, Any]:
    cluster = {"server": stand.tls()["server"]}
    return stand.connection(kube_config=a_config(cluster, {"token": "t"}), disable_verify_ssl=True)


OIDC_TOKEN = ".".join(
    base64.urlsafe_b64encode(part).decode().rstrip("=")
    for part in (b"{}", json.dumps({"who": "~~~???>>>", "exp": time.time() + 86400}).encode(), b"s")
)
"""Its text has ``-`` and ``_``."""
BEARER = {"authorization": "Bearer t"}
LOGIN = basic("user", "hunter2")


@dataclass(frozen=True)
class Form:
    """What names the cluster, the headers that the server must get, and those that a proxy gets, None without one.

    A header of None must be missing.
    """

    given: Callable[[Stand], dict[str, Any]]
    headers: Mapping[str, str | None]
    of_proxy: Mapping[str, str] | None = None


FORMS: Mapping[str, Form] = {
    "token": Form(lambda stand: stand.file(stand.plain(), {"token": "t"}), BEARER),
    "token that YAML takes for a number": Form(
        lambda stand: stand.file(stand.plain(), {"token": 123}), {"authorization": "Bearer 123"}
    ),
    "token in a file that rotates": Form(_token_file, BEARER),
    "user and password": Form(
        lambda stand: stand.file(stand.plain(), {"username": "user", "password": "hunter2"}), {"authorization": LOGIN}
    ),
    "context without a user": Form(lambda stand: stand.file(stand.plain(), None), {"authorization": None}),
    "user without credentials": Form(lambda stand: stand.file(stand.plain(), {}), {"authorization": None}),
    "server with a login": Form(_server_with_login, {"authorization": LOGIN}),
    "server without a scheme": Form(_server_without_scheme, BEARER),
    "another context": Form(_two_contexts, BEARER),
    "several files in KUBECONFIG": Form(_several_files, BEARER),
    "path in the connection": Form(
        lambda stand: stand.connection(kube_config_path=stand.file(stand.plain(), {"token": "t"})["config_file"]),
        BEARER,
    ),
    "mapping in the connection": Form(
        lambda stand: stand.connection(kube_config=a_config(stand.plain(), {"token": "t"})), BEARER
    ),
    "JSON in the connection": Form(
        lambda stand: stand.connection(kube_config=json.dumps(a_config(stand.plain(), {"token": "t"}))), BEARER
    ),
    "YAML in the connection": Form(
        lambda stand: stand.connection(kube_config=yaml.safe_dump(a_config(stand.plain(), {"token": "t"}))), BEARER
    ),
    "authority": Form(lambda stand: stand.file(stand.tls(), {"token": "t"}), BEARER),
    "insecure-skip-tls-verify": Form(_insecure, BEARER),
    "disable_verify_ssl of the connection": Form(_not_verified_by_connection, BEARER),
    "tls-server-name": Form(
        lambda stand: stand.file(
            stand.tls(name="cluster.local") | {"tls-server-name": "cluster.local"}, {"token": "t"}
        ),
        BEARER,
    ),
    "client certificate": Form(
        lambda stand: stand.file(
            stand.tls(clients=True),
            dict(zip(("client-certificate-data", "client-key-data"), map(encoded, _pair(stand)), strict=True)),
        ),
        {"authorization": None},
    ),
    "client certificate in files": Form(_certificate_in_files, {"authorization": None}),
    "client certificate of a plugin": Form(_certificate_of_a_plugin, {"authorization": None}),
    "plugin beside the kubeconfig": Form(
        lambda stand: stand.file(stand.plain(), stand.plugin(gives({"token": "t"}))), BEARER
    ),
    "plugin that is told of its cluster": Form(_plugin_told_of_its_cluster, BEARER),
    "token beside a plugin": Form(
        lambda stand: stand.file(stand.plain(), stand.plugin("exit 1") | {"token": "t"}), BEARER
    ),
    "OIDC": Form(_oidc_token, {"authorization": f"Bearer {OIDC_TOKEN}"}),
    "OIDC, refreshed": Form(_oidc_refreshed, BEARER),
    "impersonation": Form(
        _impersonating,
        BEARER
        | {
            "impersonate-user": "jane",
            "impersonate-uid": "42",
            "impersonate-group": "dev, ops",
            "impersonate-extra-scopes": "a, b",
        },
    ),
    "HTTPS_PROXY without a scheme, with a login": Form(
        _proxy_of_environment, BEARER | {"proxy-authorization": None}, {"proxy-authorization": LOGIN}
    ),
    "proxy-url with a login": Form(
        _proxy_of_kubeconfig, BEARER | {"proxy-authorization": None}, {"proxy-authorization": LOGIN}
    ),
    "proxy-url, without TLS": Form(_proxy_without_tls, BEARER, {"proxy-authorization": LOGIN}),
}
"""What works with kubectl works here, as the same user. Later work may add to it, and take nothing away."""


def _refused_socks(stand: Stand) -> dict[str, Any]:
    return stand.file({"server": "https://a", "proxy-url": "socks5://user:hunter2@proxy:1080"}, {"token": "hunter2"})


def _refused_socks_of_environment(stand: Stand) -> dict[str, Any]:
    stand.environment.setenv("HTTPS_PROXY", "socks5://user:hunter2@proxy:1080")
    return stand.file({"server": "https://a"}, {"token": "hunter2"})


def _refused_yaml(stand: Stand) -> dict[str, Any]:
    broken = "users:\n- name: a\n  user:\n    token: hunter2: x\n"
    paths = [stand.written("good", a_config({"server": "https://a"}, {})), stand.written("broken", broken)]
    stand.environment.setenv("KUBECONFIG", ":".join(paths))
    return {}


REFUSED: Mapping[str, tuple[Callable[[Stand], dict[str, Any]], str]] = {
    "SOCKS in proxy-url": (_refused_socks, "proxy-url of the kubeconfig names a SOCKS proxy, which is not supported"),
    "SOCKS in HTTPS_PROXY": (_refused_socks_of_environment, "HTTPS_PROXY names a SOCKS proxy, which is not supported"),
    "a second file that is not valid YAML": (_refused_yaml, "/broken is not valid YAML: line 4, column 19"),
    "groups without a user to act as": (
        lambda stand: stand.file({"server": "https://a"}, {"token": "hunter2", "as-groups": ["hunter2"]}),
        "user 'a' impersonates a uid, groups or extra fields without a user: set as",
    ),
    "a broken kubeconfig in the connection": (
        lambda stand: stand.connection(kube_config="token: hunter2: x"),
        "connection 'form': kube_config is not valid YAML: line 1, column 15",
    ),
    "a plugin that wants a keyboard": (
        lambda stand: stand.file({"server": "https://a"}, stand.plugin("", interactiveMode="Always", args=["hunter2"])),
        "interactiveMode is Always, and there is no keyboard",
    ),
    "a certificate that is not valid": (
        lambda stand: stand.file({"server": "https://a", "certificate-authority-data": "aHVudGVyMg=="}, {}),
        "the cluster's certificate-authority is not valid PEM",
    ),
}
"""What is refused, always with the reason."""


@contextmanager
def a_stand(folder: Path, environment: pytest.MonkeyPatch) -> Iterator[Stand]:
    """Where a form is tried."""
    with ExitStack() as servers:
        yield Stand(folder, environment, servers)
