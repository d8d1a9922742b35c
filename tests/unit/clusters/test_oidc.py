"""The tokens of an OIDC provider."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from airflow_script_provider.clusters import oidc
from airflow_script_provider.clusters.addresses import basic
from airflow_script_provider.clusters.kubeconfig import Entry
from tests.servers import Answer, WebServer, web_server

SETTINGS = "/.well-known/openid-configuration"


def a_token(**claims: Any) -> str:
    """A token whose claims have both characters in which base64url differs from base64."""
    text = json.dumps({"who": "~~~???>>>"} | claims).encode()
    parts = (b'{"alg":"none"}', text, b"signature")
    token = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
    assert {"-", "_"} <= set(token)
    return token


def a_provider(issuer: str = "", **fields: Any) -> oidc.Provider:
    """A provider of client ``c`` with the secret ``s:/``."""
    usual = {"idp-issuer-url": issuer, "client-id": "c", "client-secret": "s:/", "refresh-token": "r0"}
    return oidc.Provider.of(Entry("config", usual | fields, Path("/")))


@pytest.mark.parametrize(
    ("claims", "is_valid"),
    [({}, True), ({"exp": time.time() + 3600}, True), ({"exp": time.time() + 60}, False), ({"exp": 1}, False)],
    ids=["no expiry", "in an hour", "in a minute", "long ago"],
)
def test_a_token_is_used_while_it_is_valid(claims: dict[str, Any], is_valid: bool) -> None:
    """Its claims are base64url without padding (R40)."""
    token = a_token(**claims)
    assert a_provider(**{"id-token": token}).valid_token == (token if is_valid else None)


@pytest.mark.parametrize("token", ["hunter2", "a.hunter2.c", "a.aHVudGVyMg.c", "a.W10.c"])
def test_a_token_that_cannot_be_read_is_not_quoted(token: str) -> None:
    """It is a credential (R26)."""
    with pytest.raises(ValueError, match=r"^oidc: ") as caught:
        _ = a_provider(**{"id-token": token}).valid_token
    assert "hunter2" not in str(caught.value)


@pytest.fixture
def issuer() -> Iterator[WebServer]:
    """An issuer of tokens."""
    oidc._next_refresh_tokens.clear()
    with web_server() as server:
        server.answers(SETTINGS, json.dumps({"token_endpoint": f"{server.url}/token"}).encode())
        yield server


async def test_the_next_token(issuer: WebServer) -> None:
    """The client names itself in a header; a refresh token that is given only once is remembered (R40)."""
    issuer.answers("/token", *(json.dumps({"id_token": f"t{n}", "refresh_token": f"r{n}"}).encode() for n in (1, 2)))
    assert await oidc.next_token(a_provider(issuer.url)) == "t1"
    assert await oidc.next_token(a_provider(issuer.url)) == "t2"
    asked = [request for request in issuer.requests if request.path == "/token"]
    assert [request.headers["authorization"] for request in asked] == [basic("c", "s%3A%2F")] * 2
    assert [request.body for request in asked] == [
        b"grant_type=refresh_token&refresh_token=r0",
        b"grant_type=refresh_token&refresh_token=r1",
    ]


async def test_a_client_in_the_form(issuer: WebServer) -> None:
    """Some issuers take the secret from the form only, and some clients have none (R40)."""
    issuer.answers("/token", Answer(status=401), json.dumps({"id_token": "t"}).encode())
    assert await oidc.next_token(a_provider(issuer.url)) == "t"
    assert issuer.requests[-1].body.endswith(b"client_id=c&client_secret=s%3A%2F")
    assert await oidc.next_token(a_provider(issuer.url, **{"client-secret": ""})) == "t"
    assert issuer.requests[-1].body.endswith(b"refresh_token=r0&client_id=c")


async def test_an_issuer_is_verified() -> None:
    """The secret goes to no server whose certificate is not of the authority that is named (R26, R40)."""
    ca, other = trustme.CA(), trustme.CA()
    with web_server(ca) as server:
        server.answers(SETTINGS, json.dumps({"token_endpoint": f"{server.url}/token"}).encode())
        server.answers("/token", b'{"id_token": "t"}')
        for authority in (other.cert_pem.bytes(), None):
            data = base64.b64encode(authority).decode() if authority else None
            with pytest.raises(ValueError, match="oidc: the issuer cannot be asked: ClientConnectorCertificateError"):
                await oidc.next_token(a_provider(server.url, **{"idp-certificate-authority-data": data}))
        assert server.requests == []
        data = base64.b64encode(ca.cert_pem.bytes()).decode()
        assert await oidc.next_token(a_provider(server.url, **{"idp-certificate-authority-data": data})) == "t"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(b"hunter2", 400), "the issuer does not give a token .400."),
        (Answer(b"hunter2"), "the issuer's answer is not a JSON object"),
        (Answer(b'{"hunter2": 1}'), "the issuer's answer has no id_token"),
        (Answer(status=302, headers={"Location": "http://user:hunter2@elsewhere"}), "does not give a token .302."),
    ],
)
async def test_an_issuer_that_refuses_is_not_quoted(issuer: WebServer, answer: Answer, words: str) -> None:
    """Its answer may hold a credential, and no redirect is followed with one (R26)."""
    issuer.answers("/token", answer)
    with pytest.raises(ValueError, match=words) as caught:
        await oidc.next_token(a_provider(issuer.url))
    assert "hunter2" not in str(caught.value)


async def test_nothing_to_refresh_with() -> None:
    """The error says what is missing."""
    with pytest.raises(ValueError, match="cannot refresh without refresh-token"):
        await oidc.next_token(a_provider("https://a", **{"refresh-token": ""}))
