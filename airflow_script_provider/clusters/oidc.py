"""The tokens of a kubeconfig's OIDC provider, and the request for the next one."""

from __future__ import annotations

import base64
import json
import os
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

from airflow_script_provider.clusters.addresses import basic, proxy_address, proxy_route
from airflow_script_provider.clusters.kubeconfig import Entry, passing_errors

if TYPE_CHECKING:
    import aiohttp

EXPIRY_MARGIN = 300.0
"""Seconds of validity that a token must have left."""
_next_refresh_tokens: dict[tuple[str, str, str], str] = {}
"""What followed a kubeconfig's refresh token, for issuers that accept each only once."""


@dataclass(frozen=True)
class Provider:
    """An OIDC provider, as kubectl's ``auth-provider`` describes it."""

    issuer: str
    client_id: str
    client_secret: str
    id_token: str
    refresh_token: str
    authority: bytes | None

    @classmethod
    def of(cls, settings: Entry) -> Provider:
        """The provider of a user. Reads the file of its authority."""
        return cls(
            issuer=settings.text("idp-issuer-url"),
            client_id=settings.text("client-id"),
            client_secret=settings.text("client-secret"),
            id_token=settings.text("id-token"),
            refresh_token=settings.text("refresh-token"),
            authority=settings.data("idp-certificate-authority"),
        )

    @property
    def valid_token(self) -> str | None:
        """The token of the kubeconfig if it is valid for a while."""
        return self.id_token if self.id_token and not _is_expired(self.id_token, time.time()) else None


def _is_expired(token: str, now: float) -> bool:
    """Whether a token expires soon. Its parts are base64url without padding."""
    parts = token.split(".")
    if len(parts) != 3:
        raise ValueError("oidc: JWT tokens should contain 3 period-delimited parts")
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        expires = claims.get("exp")
        return expires is not None and float(expires) - EXPIRY_MARGIN <= now
    except (ValueError, TypeError, AttributeError):
        raise ValueError("oidc: the claims of the id-token cannot be read") from None


async def next_token(provider: Provider) -> str:
    """Another token, for the refresh token. ``ValueError`` quotes no answer and no address.

    It is a ``PassingError`` if the provider has what the request needs.
    """
    import aiohttp

    for name, value in (("refresh-token", provider.refresh_token), ("idp-issuer-url", provider.issuer)):
        if not value:
            raise ValueError(f"oidc: No valid id-token, and cannot refresh without {name}")
    text = provider.authority.decode("ascii", "replace") if provider.authority else None
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cadata=text))
    with passing_errors():
        try:
            async with aiohttp.ClientSession(connector=connector) as session:
                return await _refreshed(session, provider)
        except (aiohttp.ClientError, OSError) as error:
            raise ValueError(f"oidc: the issuer cannot be asked: {type(error).__name__}") from None


async def _refreshed(session: aiohttp.ClientSession, provider: Provider) -> str:
    issuer = provider.issuer.rstrip("/")
    found = await _answer(session, "GET", f"{issuer}/.well-known/openid-configuration")
    endpoint = str(found.get("token_endpoint") or "")
    if not endpoint:
        raise ValueError("oidc: the issuer names no token_endpoint")
    key = (provider.issuer, provider.client_id, provider.refresh_token)
    form = {"grant_type": "refresh_token", "refresh_token": _next_refresh_tokens.get(key, provider.refresh_token)}
    tokens = await _tokens(session, endpoint, form, provider)
    if refresh_token := str(tokens.get("refresh_token") or ""):
        _next_refresh_tokens[key] = refresh_token
    if not (token := str(tokens.get("id_token") or "")):
        raise ValueError("oidc: the issuer's answer has no id_token")
    return token


async def _tokens(
    session: aiohttp.ClientSession, endpoint: str, form: Mapping[str, str], provider: Provider
) -> Mapping[str, Any]:
    """The issuer's answer.

    The client names itself in a header or, if it has no secret or the issuer wants it so, in the
    form.
    """
    named = {**form, "client_id": provider.client_id}
    if not provider.client_secret:
        return await _answer(session, "POST", endpoint, data=named)
    login = basic(quote_plus(provider.client_id), quote_plus(provider.client_secret))
    try:
        return await _answer(session, "POST", endpoint, data=form, headers={"Authorization": login})
    except ValueError:
        return await _answer(session, "POST", endpoint, data=named | {"client_secret": provider.client_secret})


async def _answer(session: aiohttp.ClientSession, method: str, url: str, **request: Any) -> Mapping[str, Any]:
    route = proxy_route(proxy_address(url, "", os.environ), is_tls=url.startswith("https:"))
    async with session.request(method, url, allow_redirects=False, **route, **request) as answer:
        if answer.status != 200:
            what = "a token" if method == "POST" else "its settings"
            raise ValueError(f"oidc: the issuer does not give {what} ({answer.status})")
        try:
            found = json.loads(await answer.read())
        except ValueError:
            found = None
    if not isinstance(found, dict):
        raise ValueError("oidc: the issuer's answer is not a JSON object")
    return found
