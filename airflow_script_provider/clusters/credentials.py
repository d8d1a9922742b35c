"""From the fields of a connection to a session with the API server."""

from __future__ import annotations

import asyncio
import os
import ssl
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_script_provider import exceptions
from airflow_script_provider.api.client import KubernetesApi, patiently
from airflow_script_provider.api.sessions import Session
from airflow_script_provider.clusters import exec_plugin, identity, oidc
from airflow_script_provider.clusters.access import ClusterAccess, chosen_by, names_of
from airflow_script_provider.clusters.addresses import Address, proxy_address, proxy_route, server_address
from airflow_script_provider.clusters.kubeconfig import Chosen, Entry, PassingError, passing_errors
from airflow_script_provider.clusters.plugin_processes import PluginProcess

LOAD_TIMEOUT = 60.0
"""Seconds for a kubeconfig's plugin, or the issuer of its tokens, to answer.

A plugin that waits for keyboard input never answers.
"""
LOAD_PATIENCE = 5.0
"""Seconds for which a run, and a trigger for all that start with it, asks a kubeconfig's plugin,
or the issuer of its tokens, again after a failure: the task may have no other try."""


@dataclass(frozen=True)
class Credentials:
    """The API server's address, and what every request needs: who asks, and the way there.

    ``trust`` is None where the connection is not encrypted.
    """

    server: str
    headers: Sequence[tuple[str, str]]
    route: dict[str, Any]
    trust: ssl.SSLContext | None


@asynccontextmanager
async def open_api(
    access: ClusterAccess, *, connections: int = 100, patience: float = 0.0
) -> AsyncIterator[KubernetesApi]:
    """A session with the cluster's API server, of at most so many connections.

    Raises ``ApiUnreachableError`` where the credentials cannot be loaded. For ``patience`` seconds
    a plugin or an issuer that fails is asked again.
    """

    async def session(patience: float = 0.0) -> Session:
        return _session(await load(access, patience), connections)

    api = KubernetesApi(await session(patience), session)
    try:
        yield api
    finally:
        await api.close()


def _session(credentials: Credentials, connections: int) -> Session:
    import aiohttp

    connector = aiohttp.TCPConnector(limit=connections, ssl=credentials.trust or True)
    http = aiohttp.ClientSession(connector=connector)
    return Session(host=credentials.server, http=http, route=credentials.route, headers=credentials.headers)


async def load(access: ClusterAccess, patience: float = 0.0) -> Credentials:
    """The credentials of a cluster.

    Files are read and plugins run in a thread. Raises ``ApiUnreachableError``. If the connection
    itself holds a kubeconfig that is not valid, another try cannot help. A plugin or an issuer
    that fails is asked again for ``patience`` seconds, and by the next try.
    """
    return await patiently(lambda: _loaded(access), patience, _may_pass)


def _may_pass(error: exceptions.KubernetesApiError) -> bool:
    """Whether a plugin or an issuer has failed, which may answer a little later."""
    return isinstance(error.__context__, PassingError)


async def _loaded(access: ClusterAccess) -> Credentials:
    try:
        return await _load(access)
    except Exception as error:  # noqa: BLE001  # anything that a kubeconfig holds
        message = (
            f"no credentials for a Kubernetes cluster: {_reason(error, access)}. "
            "Set them in the Kubernetes connection, config_file or KUBECONFIG."
        )
        is_invalid = isinstance(error, ValueError) and not isinstance(error, PassingError)
        is_permanent = access.config is not None and is_invalid
        raise exceptions.ApiUnreachableError(message, retryable=not is_permanent) from None


def _reason(error: Exception, access: ClusterAccess) -> str:
    """What went wrong. Only our own errors and the system's are known to quote no credential."""
    if isinstance(error, UnicodeError) or not isinstance(error, ValueError | OSError):
        return f"{names_of(access)} is not a valid kubeconfig ({type(error).__name__})"
    return " ".join(str(error).split())


async def _load(access: ClusterAccess) -> Credentials:
    chosen = await asyncio.to_thread(chosen_by, access)
    plugin = PluginProcess()
    try:
        found = await asyncio.to_thread(_known, chosen, plugin)
    except asyncio.CancelledError:
        plugin.end()
        raise
    if isinstance(found, oidc.Provider):
        found = exec_plugin.Answer(await _next_token(found), None)
    return await asyncio.to_thread(_credentials, chosen, found, access.verify_ssl)


async def _next_token(provider: oidc.Provider) -> str:
    try:
        async with asyncio.timeout(LOAD_TIMEOUT):
            return await oidc.next_token(provider)
    except TimeoutError:
        raise PassingError(f"oidc: the issuer has not answered within {LOAD_TIMEOUT:g} s") from None


def _known(chosen: Chosen, process: PluginProcess) -> exec_plugin.Answer | oidc.Provider:
    """What a plugin or a provider knows about a user who has no token and no password."""
    user = chosen.user
    if identity.authorization(user) is not None:
        return exec_plugin.NOTHING
    if (plugin := user.entry("exec")) is not None:
        command = exec_plugin.command_of(plugin, chosen.cluster, os.environ)
        with passing_errors():
            return exec_plugin.answer_in(process.output(command, LOAD_TIMEOUT), command.version)
    if (settings := identity.oidc_settings(user)) is not None:
        provider = oidc.Provider.of(settings)
        return exec_plugin.Answer(token, None) if (token := provider.valid_token) else provider
    return exec_plugin.NOTHING


def _credentials(chosen: Chosen, found: exec_plugin.Answer, verify_ssl: bool) -> Credentials:
    cluster, user = chosen.cluster, chosen.user
    authority = cluster.data("certificate-authority")
    certificate = identity.certificate(user) or found.certificate
    is_insecure = cluster.flag("insecure-skip-tls-verify")
    server = server_address(cluster.text("server"), is_tls=bool(authority or certificate or is_insecure))
    proxy = proxy_address(server.url, cluster.text("proxy-url"), os.environ)
    is_tls = server.url.startswith("https:")
    headers, route = identity.impersonation(user), _route(cluster, proxy, is_tls=is_tls)
    own = identity.authorization(user) or (f"Bearer {found.token}" if found.token else server.authorization)
    if own:
        headers.append(("Authorization", own))
    if proxy is not None and proxy.authorization and not is_tls:
        headers.append(("Proxy-Authorization", proxy.authorization))
    trust = _trust(authority, certificate, verify=verify_ssl and not is_insecure) if is_tls else None
    return Credentials(server.url, headers, route, trust)


def _route(cluster: Entry, proxy: Address | None, *, is_tls: bool) -> dict[str, Any]:
    """Arguments of aiohttp's ``request``: the proxy, and the server's name in its certificate."""
    name = cluster.text("tls-server-name")
    return ({"server_hostname": name} if name else {}) | proxy_route(proxy, is_tls=is_tls)


def _trust(authority: bytes | None, certificate: identity.Certificate | None, *, verify: bool) -> ssl.SSLContext:
    """The server's authority and our certificate.

    As for kubectl, any certificate of the authority's file is trusted, and one that lacks what RFC
    5280 asks of authorities is accepted.
    """
    try:
        trust = ssl.create_default_context(cadata=authority.decode("ascii", "replace") if authority else None)
    except ssl.SSLError:
        raise ValueError("the cluster's certificate-authority is not valid PEM") from None
    trust.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    trust.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not verify:
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    if certificate is not None:
        _load_certificate(trust, certificate)
    return trust


def _load_certificate(trust: ssl.SSLContext, certificate: identity.Certificate) -> None:
    """OpenSSL reads files only; these are gone when it has read them."""

    def ask() -> bytes:
        raise ValueError("the client-key is encrypted")

    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder, "certificate"), Path(folder, "key")
        for file, content in zip(files, (certificate.certificate, certificate.key), strict=True):
            file.write_bytes(content)
        try:
            trust.load_cert_chain(*files, password=ask)
        except ssl.SSLError:
            raise ValueError("the client's certificate and key are not valid PEM, or do not fit together") from None
