"""Which cluster is meant, and how its connection says to reach it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from airflow_script_provider import exceptions
from airflow_script_provider.clusters.kubeconfig import Chosen, Entry, Kubeconfig, choose, is_true, parsed
from airflow_script_provider.kube.syntax import check_flag

DEFAULT_CONN_ID = "kubernetes_default"
FALLBACK_NAMESPACE = "default"

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_PREFIX = "extra__kubernetes__"
_IN_CONNECTION = "kube_config"
"""The connection's kubeconfig in messages: the name of its field."""


@dataclass(frozen=True)
class ClusterRef:
    """Which cluster is meant: an Airflow connection, and arguments that replace its fields.

    It holds no credential. ``in_cluster``, ``config_file`` and ``cluster_context`` are None where
    the connection decides.
    """

    conn_id: str | None = DEFAULT_CONN_ID
    in_cluster: bool | None = None
    config_file: str | None = None
    cluster_context: str | None = None

    def resolve(self) -> ClusterAccess:
        """Read the connection, if there is one. Blocks: not for the triggerer's event loop."""
        return ClusterAccess.from_extra(_connection_extra(self.conn_id), self)

    async def aresolve(self) -> ClusterAccess:
        """``resolve`` for the triggerer."""
        from airflow_script_provider._airflow import async_connection_extra

        return ClusterAccess.from_extra(await async_connection_extra(self.conn_id, DEFAULT_CONN_ID), self)

    def to_dict(self) -> dict[str, Any]:
        """The arguments of operators, hooks and triggers that say the same."""
        named = asdict(self)
        return {"kubernetes_conn_id": named.pop("conn_id"), **named}


@dataclass(frozen=True)
class ClusterAccess:
    """How to reach a cluster: the connection's fields with the arguments over them.

    At most one of ``in_cluster``, ``config_file`` and ``config`` is set. Without any of them, the
    pod's service account is used inside a cluster, and ``KUBECONFIG`` or ``~/.kube/config``
    elsewhere.
    """

    in_cluster: bool = False
    config_file: str | None = None
    config: Mapping[str, Any] | None = None
    cluster_context: str | None = None
    namespace: str | None = None
    verify_ssl: bool = True

    @classmethod
    def from_extra(cls, extra: Mapping[str, Any], ref: ClusterRef) -> ClusterAccess:
        """The access that these fields of a connection and the reference describe.

        ``ConnectionFieldError`` if they contradict each other, or one cannot be read.
        """
        check_flag(ref.in_cluster, "in_cluster", none_allowed=True)

        def field(name: str) -> Any:
            return extra.get(name) or extra.get(_PREFIX + name) or None

        access = cls(
            in_cluster=is_true(field("in_cluster")) if ref.in_cluster is None else ref.in_cluster,
            config_file=ref.config_file or field("kube_config_path"),
            config=_config_of(field("kube_config"), ref.conn_id),
            cluster_context=ref.cluster_context or field("cluster_context"),
            namespace=field("namespace"),
            verify_ssl=not is_true(field("disable_verify_ssl")),
        )
        forms = {"in_cluster": access.in_cluster, "kube_config_path": access.config_file, "kube_config": access.config}
        chosen = [name for name, value in forms.items() if value]
        if len(chosen) > 1:
            message = f"connection {ref.conn_id!r}: {' and '.join(chosen)} exclude each other; keep one"
            raise exceptions.ConnectionFieldError(message)
        return access

    def namespace_for(self, namespace: str | None) -> str:
        """The namespace to use.

        It is the first that is set: the argument's, the connection's, the pod's own, ``default``.
        """
        return namespace or self.namespace or self._own_namespace() or FALLBACK_NAMESPACE

    def namespace_of_context(self) -> str | None:
        """The namespace of the kubeconfig's context; None without a kubeconfig.

        The command line uses it.
        """
        if self.uses_service_account:
            return None
        try:
            return chosen_by(self).namespace
        except (OSError, ValueError):
            return None  # the connection attempt reports it

    @property
    def uses_service_account(self) -> bool:
        """Whether the pod's own account is used."""
        return self.in_cluster or (not self.config_file and self.config is None and is_in_cluster())

    def _own_namespace(self) -> str | None:
        file = _SERVICE_ACCOUNT / "namespace"
        return file.read_text().strip() if self.uses_service_account and file.is_file() else None


def _connection_extra(conn_id: str | None) -> Mapping[str, Any]:
    """The fields of a connection.

    Without an id Airflow is not imported: the import takes the command line seconds.
    """
    if not conn_id:
        return {}
    from airflow_script_provider._airflow import connection_extra

    return connection_extra(conn_id, DEFAULT_CONN_ID)


def is_in_cluster() -> bool:
    """Whether this process runs in a pod that has a service account."""
    return bool(os.environ.get("KUBERNETES_SERVICE_HOST")) and (_SERVICE_ACCOUNT / "token").is_file()


def names_of(access: ClusterAccess) -> str:
    """The kubeconfigs as they are named, whether they exist or not."""
    if access.config is not None:
        return _IN_CONNECTION
    return access.config_file or os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")


def chosen_by(access: ClusterAccess) -> Chosen:
    """The cluster and the user that are meant. Reads files.

    Raises ``FileNotFoundError`` if no kubeconfig exists, ``ValueError`` for one that is not valid.
    """
    if access.config is not None:
        return choose([Kubeconfig(_IN_CONNECTION, Path.cwd(), access.config)], access.cluster_context)
    if access.uses_service_account:
        return _service_account()
    names = names_of(access)
    paths = [(name, Path(name).expanduser().absolute()) for name in names.split(os.pathsep) if name]
    configs = [Kubeconfig(name, path.parent, _read(name, path)) for name, path in paths if path.exists()]
    if not configs:
        raise FileNotFoundError(f"{names} does not exist")
    return choose(configs, access.cluster_context)


def _read(name: str, path: Path) -> Mapping[str, Any]:
    try:
        return parsed(path.read_text(encoding="utf-8-sig"), name)
    except UnicodeDecodeError:
        raise ValueError(f"{name} is not UTF-8 text") from None


def _service_account() -> Chosen:
    """The pod's own account, in a kubeconfig's form."""
    host, port = (os.environ.get(f"KUBERNETES_SERVICE_{part}") for part in ("HOST", "PORT"))
    if not host or not port:
        raise ValueError("in_cluster is set, but this is not a pod: KUBERNETES_SERVICE_HOST or _PORT is missing")
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    cluster = {"server": server, "certificate-authority": "ca.crt"}
    title = "the pod's service account"
    return Chosen(Entry(title, cluster, _SERVICE_ACCOUNT), Entry(title, {"tokenFile": "token"}, _SERVICE_ACCOUNT))


def _config_of(value: Any, conn_id: str | None) -> Mapping[str, Any] | None:
    """The connection's kubeconfig: YAML text, which JSON is too, or a mapping."""
    if not value or isinstance(value, Mapping):
        return value or None
    if not isinstance(value, str):
        raise exceptions.ConnectionFieldError(f"connection {conn_id!r}: kube_config is not a mapping")
    try:
        return parsed(value, "kube_config")
    except ValueError as error:
        raise exceptions.ConnectionFieldError(f"connection {conn_id!r}: {error}") from None
