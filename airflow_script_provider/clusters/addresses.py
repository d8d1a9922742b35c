"""Addresses of an API server and of its proxy, without the logins that they may hold."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from airflow_script_provider.clusters.kubeconfig import passing_errors

_SCHEMES = ("http", "https")


@dataclass(frozen=True)
class Address:
    """A URL without login, and the header's value for the login that stood in it."""

    url: str
    authorization: str | None = None


def server_address(server: str, *, is_tls: bool) -> Address:
    """The API server's address.

    Without a scheme it is https if the kubeconfig has anything about TLS, as for kubectl.
    ``ValueError`` quotes nothing of it.
    """
    url = server if "://" in server else f"{'https' if is_tls else 'http'}://{server}"
    parts = _split(url)
    if parts is None or parts.scheme not in _SCHEMES:
        raise ValueError("the cluster's server is not a valid URL")
    host = parts.netloc.rpartition("@")[2]
    return Address(f"{parts.scheme}://{host}{parts.path.rstrip('/')}", _login(parts))


def proxy_address(server: str, proxy_url: str, environ: Mapping[str, str]) -> Address | None:
    """The proxy for an API server: the kubeconfig's, otherwise the environment's.

    As for kubectl and curl, the scheme may be missing. ``ValueError`` names where a proxy stands
    that cannot be used, and quotes nothing of it.
    """
    if proxy_url:
        return _proxy(proxy_url, "proxy-url of the kubeconfig")
    parts = urlsplit(server)
    for variable in (f"{parts.scheme}_proxy", f"{parts.scheme}_proxy".upper()):
        if url := environ.get(variable, "").strip():
            exempt = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
            with passing_errors():
                return None if _is_exempt(parts, exempt) else _proxy(url, variable)
    return None


def proxy_route(proxy: Address | None, *, is_tls: bool) -> dict[str, Any]:
    """Arguments of aiohttp's ``request`` for a proxy. Its login is for the tunnel of TLS."""
    if proxy is None:
        return {}
    login = {"Proxy-Authorization": proxy.authorization} if proxy.authorization and is_tls else None
    return {"proxy": proxy.url} | ({"proxy_headers": login} if login else {})


def _proxy(url: str, where: str) -> Address:
    parts = _split(url if "://" in url else f"http://{url}")
    if parts is not None and parts.scheme.startswith("socks"):
        raise ValueError(f"{where} names a SOCKS proxy, which is not supported; name an HTTP proxy")
    if parts is None or parts.scheme not in _SCHEMES:
        advice = "In its login, characters such as / # ? @ must be percent-encoded"
        raise ValueError(f"{where} is not a valid address of an HTTP proxy. {advice}")
    return Address(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", _login(parts))


def _split(url: str) -> SplitResult | None:
    """The parts of a URL, None if it has no host or its login may be taken for another part."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for what is not a number
    except ValueError:  # its text quotes the URL
        return None
    return parts if parts.hostname and "@" not in parts.path + parts.query + parts.fragment else None


def _login(parts: SplitResult) -> str | None:
    if parts.username is None and parts.password is None:
        return None
    return basic(unquote(parts.username or ""), unquote(parts.password or ""))


def basic(user: str, password: str) -> str:
    """The header's value for a user's name and password."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _is_exempt(server: SplitResult, no_proxy: str) -> bool:
    """Whether NO_PROXY names the server: its host, a domain above it, or a range of addresses."""
    port = server.port or (443 if server.scheme == "https" else 80)
    host = (server.hostname or "").rstrip(".")
    names = (name.strip().lower() for name in no_proxy.split(","))
    return any(_is_named(host, port, name) for name in names if name)


def _is_named(host: str, port: int, name: str) -> bool:
    address = _ip(host)
    if name == "*":
        return True
    if address is not None and "/" in name:
        with contextlib.suppress(ValueError):
            return address in ip_network(name, strict=False)
    if _ip(name) is None and (_split(f"//{name}") is not None):
        parts = urlsplit(f"//{name}")
        if parts.port not in (None, port):
            return False
        name = parts.hostname or ""
    if address is not None or _ip(name) is not None:
        return address is not None and address == _ip(name)
    domain = name.removeprefix("*")
    return host.endswith(domain) if domain.startswith(".") else host == domain or host.endswith(f".{domain}")


def _ip(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text.strip("[]"))
    except ValueError:
        return None
