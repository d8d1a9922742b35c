"""Secrets among values of headers and queries."""

from __future__ import annotations

import pytest

from airflow_script_provider.sources.web.sensitive import is_sensitive, looks_random, secrets_in_header

HEX = "9f86d081884c7d659a2feaa0c55ad015"


@pytest.mark.parametrize(
    "name",
    [
        "Authorization", "Proxy-Authorization", "Cookie", "X-Api-Key", "apikey", "PRIVATE-TOKEN", "JWT-Assertion",
        "X-Amz-Security-Token", "X-Goog-Signature", "X-Amz-Credential", "sig", "client_secret", "X-Session-Id",
    ],
)  # fmt: skip
def test_some_names_say_that_their_value_is_a_secret(name: str) -> None:
    """Names of logins, keys, tokens and signatures mark secrets (R26)."""
    assert is_sensitive(name)


@pytest.mark.parametrize("name", ["X-GitHub-Api-Version", "Range", "X-Request-Id", "X-Tenant", "If-None-Match"])
def test_other_names_say_nothing(name: str) -> None:
    """Other names leave the decision to the value's characters."""
    assert not is_sensitive(name)


@pytest.mark.parametrize(
    "word", [HEX, "hvs.CAESIJp2mQ4fTnYw", "AbCdEfGhIjKlMnOpQrSt", "3f2504e0-4f89-11d3-9a0c-0305e82c3301"]
)
def test_keys_look_random(word: str) -> None:
    """A long word with digits or both cases looks random (R26)."""
    assert looks_random(word)


@pytest.mark.parametrize(
    "word", ["v2", "2022-11-28", "production", "XMLHttpRequest", "analytics.internal.example.com", "20221128" * 4, ""]
)
def test_words_dates_and_hosts_do_not(word: str) -> None:
    """Masked words, dates and hosts would make the log unreadable."""
    assert not looks_random(word)


@pytest.mark.parametrize(
    ("name", "value", "secrets"),
    [
        ("X-Api-Key", "hunter22", {"hunter22"}),
        ("Authorization", "Bearer hunter22", {"Bearer hunter22", "hunter22"}),
        ("Cookie", f"theme=default; sid={HEX}", {f"theme=default; sid={HEX}", f"sid={HEX}", HEX}),
        ("X-Custom", f"id {HEX}, v2", {HEX}),
        ("X-GitHub-Api-Version", "2022-11-28", set()),
        ("Accept", "application/vnd.github.v3.raw+json", set()),
    ],
)
def test_what_of_a_header_is_a_secret(name: str, value: str, secrets: set[str]) -> None:
    """A marked header is a secret; of others, only random words are (R26)."""
    assert set(secrets_in_header(name, value)) - {""} == secrets


def test_a_connections_header_is_a_secret_whatever_its_name() -> None:
    """A connection's headers are secrets, except common ones (R26)."""
    assert "platform" in set(secrets_in_header("X-Team", "platform", of_connection=True))
    assert not set(secrets_in_header("User-Agent", "airflow", of_connection=True))
