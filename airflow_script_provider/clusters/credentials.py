"""From the fields of a connection to a session with the API server."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit

from airflow_script_provider import exceptions
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.api.sessions import Session
from airflow_script_provider.clusters.access import (
    ClusterAccess,
    config_files,
    is_in_cluster,
    named_files,
    read_configs,
)
from airflow_script_provider.clusters.plugin_processes import run_with_plugins

LOAD_TIMEOUT = 60.0
"""Seconds for a kubeconfig's plugin to answer.

A plugin that waits for keyboard input never answers.
"""
_QUOTED = re.compile(r"\{.*\}", re.DOTALL)
_FAILED_PLUGIN = re.compile(r"exec: process returned -?\d+")
_heard: ContextVar[list[str] | None] = ContextVar("complaints", default=None)


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
        return key.strip() if key else None  # a token file may end with a newline

    return Session(
        host=str(configuration.host),
        http=aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=connections, ssl=trust)),
        route={word: value for word, value in values.items() if value},
        authorization=authorization,
    )


def _load(access: ClusterAccess) -> tuple[Any, ssl.SSLContext]:
    """A client configuration and the trusted authorities.

    Needs its own thread: it reads files and runs plugins.
    """
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
    except Exception as error:  # noqa: BLE001  # anything that a file holds or a plugin does
        raise exceptions.ApiUnreachableError(
            f"no credentials for a Kubernetes cluster: {_words(error, access)}. "
            "Set them in the Kubernetes connection, config_file or KUBECONFIG."
        ) from None


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """Catch what the client logs as an error while it loads.

    It may hold a plugin's output, which may be a credential.
    """
    logging.getLogger("kubernetes_asyncio.config.kube_config").addFilter(_is_not_ours)
    complaints: list[str] = []
    token = _heard.set(complaints)
    try:
        yield complaints
    finally:
        _heard.reset(token)


def _is_not_ours(record: logging.LogRecord) -> bool:
    """Whether a line may be logged; other code of this process may use the client."""
    heard = _heard.get()
    if heard is None or record.levelno < logging.ERROR:
        return True
    heard.append(record.getMessage())
    return False


def _words(error: Exception, access: ClusterAccess) -> str:
    """What went wrong, without the client's quotes: a plugin's output, a kubeconfig's user."""
    from kubernetes_asyncio.config import ConfigException

    text = " ".join(_QUOTED.sub("{…}", str(error)).split()) or type(error).__name__
    if failed := _FAILED_PLUGIN.match(text):
        return f"{failed[0]} (its output may be secret: run the plugin by hand)"
    if isinstance(error, ConfigException | OSError | ValueError):
        return text
    return f"{'kube_config' if access.config else named_files(access)} is not a valid kubeconfig: {text}"


def _proxy_of_environment(host: str) -> str | None:
    """The proxy by HTTPS_PROXY and NO_PROXY.

    aiohttp itself would also take a login from ~/.netrc.
    """
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
    elif access.in_cluster or (not access.config_file and is_in_cluster()):
        # The client's own refreshing reads the file in the event loop; we read it again at a 401.
        # The client does not annotate this function.
        config.load_incluster_config(client_configuration=configuration, try_refresh_token=False)  # type: ignore[no-untyped-call]
    else:
        files = config_files(access)
        await config.load_kube_config(
            config_file=os.pathsep.join(files),
            context=access.cluster_context or _current_context(files),
            client_configuration=configuration,
            persist_config=False,
        )


def _current_context(files: Sequence[str]) -> str | None:
    """The first current context of several kubeconfigs, as kubectl takes it.

    The client takes the last.
    """
    if len(files) == 1:
        return None
    configs = read_configs(files)
    return next((config["current-context"] for config in configs if config.get("current-context")), None)
