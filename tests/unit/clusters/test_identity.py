"""Whom a kubeconfig's user is for the API server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_script_provider.clusters import identity
from airflow_script_provider.clusters.addresses import basic
from airflow_script_provider.clusters.kubeconfig import Entry


def a_user(place: Path = Path("/"), /, **fields: Any) -> Entry:
    """A user with these fields."""
    return Entry("user 'a'", fields, place)


def test_all_fields_of_impersonation_are_sent() -> None:
    """User, uid, each group, and each value of the extra fields, whose keys are escaped (R40)."""
    extra = {"example.org/k%": ["1", "2"]}
    who: dict[str, Any] = {"as": "jane", "as-uid": 42, "as-groups": ["dev", "ops"], "as-user-extra": extra}
    user = a_user(**who)
    assert identity.impersonation(user) == [
        ("Impersonate-User", "jane"),
        ("Impersonate-Uid", "42"),
        ("Impersonate-Group", "dev"),
        ("Impersonate-Group", "ops"),
        ("Impersonate-Extra-example.org%2Fk%25", "1"),
        ("Impersonate-Extra-example.org%2Fk%25", "2"),
    ]
    assert identity.impersonation(a_user(token="t")) == []


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"as-groups": ["hunter2"]}, "impersonates .* without a user: set as"),
        ({"as-uid": "hunter2"}, "impersonates .* without a user: set as"),
        ({"as-user-extra": {"k": ["hunter2"]}}, "impersonates .* without a user: set as"),
        ({"as": {"hunter2": 1}}, "as of user 'a' is not a text"),
        ({"as": "a", "as-groups": "hunter2"}, "as-groups of user 'a' is not a list of texts"),
        ({"as": "a", "as-user-extra": ["hunter2"]}, "as-user-extra of user 'a' is not a mapping"),
        ({"as": "a", "as-user-extra": {"k": "hunter2"}}, "k of as-user-extra of user 'a' is not a list"),
        ({"as": "a\r\nhunter2: b"}, "the impersonation of user 'a' has a line end"),
    ],
)
def test_impersonation_that_cannot_be_sent_is_refused(fields: dict[str, Any], words: str) -> None:
    """Nothing of it is dropped: the request would be made with other rights (R40)."""
    with pytest.raises(ValueError, match=words) as caught:
        identity.impersonation(a_user(**fields))
    assert "hunter2" not in str(caught.value)


def test_who_authorizes(tmp_path: Path) -> None:
    """A token's file, otherwise the token, otherwise a password, as for kubectl (R40)."""
    (tmp_path / "token").write_text("from-file\n")
    both = a_user(tmp_path, tokenFile="token", token="own", username="u", password="p")
    assert identity.authorization(both) == "Bearer from-file"
    assert identity.authorization(a_user(token="own", username="u", password="p")) == "Bearer own"
    assert identity.authorization(a_user(username="u", password="p")) == basic("u", "p")
    assert identity.authorization(a_user()) is None


def test_an_empty_tokens_file_is_an_error(tmp_path: Path) -> None:
    """The request would be anonymous."""
    (tmp_path / "token").touch()
    with pytest.raises(ValueError, match="tokenFile of user 'a' is empty"):
        identity.authorization(a_user(tmp_path, tokenFile="token"))


def test_a_certificate_without_its_key() -> None:
    """It names what is missing."""
    with pytest.raises(ValueError, match="user 'a' has a client-certificate, but no client-key"):
        identity.certificate(Entry("user 'a'", {"client-certificate-data": "YQ=="}, Path("/")))


@pytest.mark.parametrize(
    ("name", "advice"), [("gcp", r" \(gke-gcloud-auth-plugin\)"), ("azure", r" \(kubelogin\)"), ("hunter2", "")]
)
def test_providers_that_kubectl_no_longer_has(name: str, advice: str) -> None:
    """The error names the plugin in their place (R40)."""
    with pytest.raises(ValueError, match=f"auth-provider of user 'a' is not oidc, .* an exec plugin{advice}$"):
        identity.oidc_settings(Entry("user 'a'", {"auth-provider": {"name": name}}, Path("/")))
