"""From an Airflow connection to a session with the API server."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from airflow_script_provider import exceptions
from airflow_script_provider.hooks.plugins import run_with_plugins
from airflow_script_provider.jobs.api import KubernetesApi
from airflow_script_provider.jobs.sessions import Session
from airflow_script_provider.kube.syntax import check_flag

DEFAULT_CONN_ID = "kubernetes_default"
FALLBACK_NAMESPACE = "default"
LOAD_TIMEOUT = 60.0
"""Seconds for a kubeconfig's plugin to answer; one that waits for somebody at a keyboard never does."""

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_PREFIX = "extra__kubernetes__"
_QUOTED = re.compile(r"\{.*\}", re.DOTALL)
_FAILED_PLUGIN = re.compile(r"exec: process returned -?\d+")

_heard: ContextVar[list[str] | None] = ContextVar("complaints", default=None)


@dataclass(frozen=True)
class ClusterAccess:
    """How to reach a cluster: the connection's fields with the arguments over them.

    At most one of ``in_cluster``, ``config_file`` and ``config`` is set; with none of them it is the pod's service
    account inside a cluster and else ``KUBECONFIG`` or ``~/.kube/config``.
    """

    in_cluster: bool = False
    config_file: str | None = None
    config: Mapping[str, Any] | None = None
    cluster_context: str | None = None
    namespace: str | None = None
    verify_ssl: bool = True

    @classmethod
    def resolve(
        cls,
        conn_id: str | None = DEFAULT_CONN_ID,
        *,
        in_cluster: bool | None = None,
        config_file: str | None = None,
        cluster_context: str | None = None,
    ) -> ClusterAccess:
        """Read the connection, if there is one. Blocks: not for the triggerer's event loop."""
        extra = _connection_extra(conn_id)
        return cls.from_extra(
            extra, conn_id, in_cluster=in_cluster, config_file=config_file, cluster_context=cluster_context
        )

    @classmethod
    async def aresolve(
        cls,
        conn_id: str | None = DEFAULT_CONN_ID,
        *,
        in_cluster: bool | None = None,
        config_file: str | None = None,
        cluster_context: str | None = None,
    ) -> ClusterAccess:
        """``resolve`` for the triggerer."""
        from airflow_script_provider._airflow import async_connection_extra

        extra = await async_connection_extra(conn_id, DEFAULT_CONN_ID)
        return cls.from_extra(
            extra, conn_id, in_cluster=in_cluster, config_file=config_file, cluster_context=cluster_context
        )

    @classmethod
    def from_extra(
        cls,
        extra: Mapping[str, Any],
        conn_id: str | None = None,
        *,
        in_cluster: bool | None = None,
        config_file: str | None = None,
        cluster_context: str | None = None,
    ) -> ClusterAccess:
        """The access that these fields and arguments describe; ``ValueError`` if they contradict each other."""
        check_flag(in_cluster, "in_cluster", none_allowed=True)

        def field(name: str) -> Any:
            return extra.get(name) or extra.get(_PREFIX + name) or None

        access = cls(
            in_cluster=_truth(field("in_cluster")) if in_cluster is None else in_cluster,
            config_file=config_file or field("kube_config_path"),
            config=_parsed(field("kube_config"), conn_id),
            cluster_context=cluster_context or field("cluster_context"),
            namespace=field("namespace"),
            verify_ssl=not _truth(field("disable_verify_ssl")),
        )
        forms = {"in_cluster": access.in_cluster, "kube_config_path": access.config_file, "kube_config": access.config}
        chosen = [name for name, value in forms.items() if value]
        if len(chosen) > 1:
            raise ValueError(f"connection {conn_id!r}: {' and '.join(chosen)} exclude each other; keep one")
        return access

    def namespace_for(self, namespace: str | None) -> str:
        """The argument's namespace, else the connection's, else the pod's own, else ``default``."""
        return namespace or self.namespace or self._own_namespace() or FALLBACK_NAMESPACE

    def namespace_of_context(self) -> str | None:
        """What the kubeconfig's context says, for the command line; None where there is no kubeconfig."""
        if self.in_cluster or (not self.config_file and not self.config and _is_in_cluster()):
            return None
        try:
            configs = [self.config] if self.config else _read_configs(_config_files(self))
        except (OSError, ValueError):
            return None  # said by whoever connects
        current = (config["current-context"] for config in configs if config.get("current-context"))
        context = self.cluster_context or next(current, None)
        contexts = (entry for config in configs for entry in config.get("contexts") or ())
        found: Mapping[str, Any] = next((entry for entry in contexts if entry.get("name") == context), {})
        return (found.get("context") or {}).get("namespace") or None

    def _own_namespace(self) -> str | None:
        file = _SERVICE_ACCOUNT / "namespace"
        uses_service_account = self.in_cluster or (not self.config_file and not self.config and _is_in_cluster())
        return file.read_text().strip() if uses_service_account and file.is_file() else None


def _connection_extra(conn_id: str | None) -> Mapping[str, Any]:
    """The fields of a connection; without one Airflow is not even imported, which takes the command line seconds."""
    if not conn_id:
        return {}
    from airflow_script_provider._airflow import connection_extra

    return connection_extra(conn_id, DEFAULT_CONN_ID)


@asynccontextmanager
async def open_api(access: ClusterAccess, *, connections: int = 100) -> AsyncIterator[KubernetesApi]:
    """A session with the cluster's API server, of at most so many connections.

    Raises ``ApiUnreachableError`` where the credentials cannot be loaded.
    """

    async def session() -> Session:
        return _session(*await asyncio.to_thread(_load, access), connections)

    api = KubernetesApi(await session(), session)
    try:
        yield api
    finally:
        await api.close()


def _session(configuration: Any, trust: ssl.SSLContext, connections: int) -> Session:
    import aiohttp

    names = {"proxy": "proxy", "proxy_headers": "proxy_headers", "server_hostname": "tls_server_name"}
    values = {word: getattr(configuration, name, None) for word, name in names.items()}

    async def authorization() -> str | None:
        key: str | None = await configuration.get_api_key_with_prefix("BearerToken")
        return key.strip() if key else None  # a file of a token may end with a line's end

    return Session(
        host=str(configuration.host),
        http=aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=connections, ssl=trust)),
        route={word: value for word, value in values.items() if value},
        authorization=authorization,
    )


def _load(access: ClusterAccess) -> tuple[Any, ssl.SSLContext]:
    """A client configuration and whom to trust; in a thread of its own, because files are read and plugins run."""
    from kubernetes_asyncio.client import Configuration

    configuration = Configuration()
    try:
        with _complaints() as complaints:
            run_with_plugins(_load_in_time(configuration, access))
        if complaints:
            raise ValueError(complaints[0])
        configuration.verify_ssl = configuration.verify_ssl and access.verify_ssl
        configuration.proxy = configuration.proxy or _proxy_of_environment(str(configuration.host))
        return configuration, _trust(configuration)
    except Exception as error:  # noqa: BLE001  # whatever a file holds or a plugin does
        raise exceptions.ApiUnreachableError(
            f"no credentials for a Kubernetes cluster: {_words(error, access)}. "
            "Set them in the Kubernetes connection, config_file or KUBECONFIG."
        ) from None


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """What the client logs as an error while it loads: with a plugin's words in it, which may be a credential."""
    logging.getLogger("kubernetes_asyncio.config.kube_config").addFilter(_is_not_ours)
    complaints: list[str] = []
    token = _heard.set(complaints)
    try:
        yield complaints
    finally:
        _heard.reset(token)


def _is_not_ours(record: logging.LogRecord) -> bool:
    """Whether a line may be logged; the client serves others in this process, too."""
    heard = _heard.get()
    if heard is None or record.levelno < logging.ERROR:
        return True
    heard.append(record.getMessage())
    return False


def _words(error: Exception, access: ClusterAccess) -> str:
    """What went wrong, without what the client quotes: the words of a plugin, a whole user of a kubeconfig."""
    from kubernetes_asyncio.config import ConfigException

    text = " ".join(_QUOTED.sub("{…}", str(error)).split()) or type(error).__name__
    if failed := _FAILED_PLUGIN.match(text):
        return f"{failed[0]} (its words may be secret: run the plugin by hand)"
    if isinstance(error, ConfigException | OSError | ValueError):
        return text
    return f"{'kube_config' if access.config else _named_files(access)} is no kubeconfig: {text}"


def _proxy_of_environment(host: str) -> str | None:
    """What HTTPS_PROXY and NO_PROXY say; left to itself, aiohttp would take a login from ~/.netrc as well."""
    from requests.utils import get_environ_proxies

    proxy: str | None = get_environ_proxies(host).get(urlsplit(host).scheme)
    return proxy


def _trust(configuration: Any) -> ssl.SSLContext:
    """The server's authority and our certificate."""
    trust = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if configuration.cert_file:
        trust.load_cert_chain(configuration.cert_file, keyfile=configuration.key_file)
    if not configuration.verify_ssl:
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    if configuration.disable_strict_ssl_verification:
        trust.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return trust


async def _load_in_time(configuration: Any, access: ClusterAccess) -> None:
    try:
        async with asyncio.timeout(LOAD_TIMEOUT):
            await _load_into(configuration, access)
    except TimeoutError:
        raise ValueError(f"the kubeconfig's plugin has not answered within {LOAD_TIMEOUT:g} s") from None


async def _load_into(configuration: Any, access: ClusterAccess) -> None:
    from kubernetes_asyncio import config

    if access.config:
        await config.load_kube_config_from_dict(
            dict(access.config), context=access.cluster_context, client_configuration=configuration
        )
    elif access.in_cluster or (not access.config_file and _is_in_cluster()):
        # Its own refreshing reads the file in the event loop; a 401 makes us read it anew.
        config.load_incluster_config(client_configuration=configuration, try_refresh_token=False)  # type: ignore[no-untyped-call]  # not annotated there
    else:
        files = _config_files(access)
        await config.load_kube_config(
            config_file=os.pathsep.join(files),
            context=access.cluster_context or _current_context(files),
            client_configuration=configuration,
            persist_config=False,
        )


def _is_in_cluster() -> bool:
    return bool(os.environ.get("KUBERNETES_SERVICE_HOST")) and (_SERVICE_ACCOUNT / "token").is_file()


def _named_files(access: ClusterAccess) -> str:
    return access.config_file or os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")


def _config_files(access: ClusterAccess) -> list[str]:
    """The kubeconfig, or those of several that exist, as ``KUBECONFIG`` lists them; the client warns if none does."""
    named = _named_files(access)
    files = [file for file in named.split(os.pathsep) if file and Path(file).expanduser().exists()]
    if not files:
        raise FileNotFoundError(f"{named} does not exist")
    return files


def _current_context(files: Sequence[str]) -> str | None:
    """The first that one of several kubeconfigs names, as kubectl has it; the client takes the last."""
    if len(files) == 1:
        return None
    configs = _read_configs(files)
    return next((config["current-context"] for config in configs if config.get("current-context")), None)


def _read_configs(files: Sequence[str]) -> list[Mapping[str, Any]]:
    """What stands in each; ``ValueError`` for one that is no YAML."""
    import yaml

    try:
        return [yaml.safe_load(Path(file).expanduser().read_text()) or {} for file in files]
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None


def _parsed(config: Any, conn_id: str | None) -> Mapping[str, Any] | None:
    """The connection's kubeconfig, which may be JSON text or a mapping."""
    if not config or isinstance(config, Mapping):
        return config or None
    try:
        parsed = json.loads(config)
    except ValueError as error:
        raise ValueError(f"connection {conn_id!r}: kube_config is no JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise ValueError(f"connection {conn_id!r}: kube_config is no mapping")
    return parsed


def _truth(value: Any) -> bool:
    return value.strip().lower() in ("1", "true", "yes", "on") if isinstance(value, str) else bool(value)
