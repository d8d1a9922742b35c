"""Which cluster is meant, and how its connection says to reach it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from airflow_script_provider.kube.syntax import check_flag

DEFAULT_CONN_ID = "kubernetes_default"
FALLBACK_NAMESPACE = "default"

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_PREFIX = "extra__kubernetes__"


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

        ``ValueError`` if they contradict each other.
        """
        check_flag(ref.in_cluster, "in_cluster", none_allowed=True)

        def field(name: str) -> Any:
            return extra.get(name) or extra.get(_PREFIX + name) or None

        access = cls(
            in_cluster=_truth(field("in_cluster")) if ref.in_cluster is None else ref.in_cluster,
            config_file=ref.config_file or field("kube_config_path"),
            config=_parsed(field("kube_config"), ref.conn_id),
            cluster_context=ref.cluster_context or field("cluster_context"),
            namespace=field("namespace"),
            verify_ssl=not _truth(field("disable_verify_ssl")),
        )
        forms = {"in_cluster": access.in_cluster, "kube_config_path": access.config_file, "kube_config": access.config}
        chosen = [name for name, value in forms.items() if value]
        if len(chosen) > 1:
            raise ValueError(f"connection {ref.conn_id!r}: {' and '.join(chosen)} exclude each other; keep one")
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
        if self.in_cluster or (not self.config_file and not self.config and is_in_cluster()):
            return None
        try:
            configs = [self.config] if self.config else read_configs(config_files(self))
        except (OSError, ValueError):
            return None  # the connection attempt reports it
        current = (config["current-context"] for config in configs if config.get("current-context"))
        context = self.cluster_context or next(current, None)
        contexts = (entry for config in configs for entry in config.get("contexts") or ())
        found: Mapping[str, Any] = next((entry for entry in contexts if entry.get("name") == context), {})
        return (found.get("context") or {}).get("namespace") or None

    def _own_namespace(self) -> str | None:
        file = _SERVICE_ACCOUNT / "namespace"
        uses_service_account = self.in_cluster or (not self.config_file and not self.config and is_in_cluster())
        return file.read_text().strip() if uses_service_account and file.is_file() else None


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


def named_files(access: ClusterAccess) -> str:
    """The kubeconfigs as they are named, whether they exist or not."""
    return access.config_file or os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")


def config_files(access: ClusterAccess) -> list[str]:
    """The kubeconfigs that exist, in the order of ``KUBECONFIG``.

    Raises ``FileNotFoundError`` if none exists.
    """
    named = named_files(access)
    files = [file for file in named.split(os.pathsep) if file and Path(file).expanduser().exists()]
    if not files:
        raise FileNotFoundError(f"{named} does not exist")
    return files


def read_configs(files: Sequence[str]) -> list[Mapping[str, Any]]:
    """The content of each file; ``ValueError`` for one that is not valid YAML."""
    import yaml

    try:
        return [yaml.safe_load(Path(file).expanduser().read_text()) or {} for file in files]
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None


def _parsed(config: Any, conn_id: str | None) -> Mapping[str, Any] | None:
    """The connection's kubeconfig: JSON text or a mapping."""
    if not config or isinstance(config, Mapping):
        return config or None
    try:
        parsed = json.loads(config)
    except ValueError as error:
        raise ValueError(f"connection {conn_id!r}: kube_config is not valid JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise ValueError(f"connection {conn_id!r}: kube_config is not a mapping")
    return parsed


def _truth(value: Any) -> bool:
    return value.strip().lower() in ("1", "true", "yes", "on") if isinstance(value, str) else bool(value)
