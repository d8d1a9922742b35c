"""Whom a kubeconfig's user is for the API server: what every request carries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

from airflow_script_provider.clusters.addresses import basic
from airflow_script_provider.clusters.kubeconfig import Entry, PassingError

_LEGAL_IN_NAMES = "!#$&'*+-.^_`|~"
"""Characters of a header's name beside letters and digits; ``%`` is escaped."""
_REMOVED = {"gcp": "gke-gcloud-auth-plugin", "azure": "kubelogin"}
"""Providers that kubectl no longer has, and the exec plugins in their place."""


@dataclass(frozen=True)
class Certificate:
    """A client's certificate and its key, in PEM."""

    certificate: bytes
    key: bytes


def impersonation(user: Entry) -> list[tuple[str, str]]:
    """The headers that let requests act as another user, as ``as`` and its companions say.

    ``ValueError`` where kubectl refuses them, too: the request would be made with other rights.
    """
    headers = list(_impersonation(user))
    if headers and not user.text("as"):
        raise ValueError(f"{user.title} impersonates a uid, groups or extra fields without a user: set as")
    if any({"\r", "\n", "\0"} & set(value) for _, value in headers):
        raise ValueError(f"the impersonation of {user.title} has a line end")
    return headers


def _impersonation(user: Entry) -> Iterator[tuple[str, str]]:
    for field, header in (("as", "Impersonate-User"), ("as-uid", "Impersonate-Uid")):
        if text := user.text(field):
            yield header, text
    for group in user.texts("as-groups"):
        yield "Impersonate-Group", group
    extra = user.entry("as-user-extra")
    for key in extra.fields if extra is not None else ():
        for value in extra.texts(key) if extra is not None else ():
            yield f"Impersonate-Extra-{quote(str(key), safe=_LEGAL_IN_NAMES)}", value


def authorization(user: Entry) -> str | None:
    """The header's value of a user who has a token or a password, None for others.

    Reads the token's file, which wins over a token, as for kubectl.
    """
    file = user.path("tokenFile")
    if token := (file.read_text() if file else user.text("token")).strip():
        return f"Bearer {token}"
    if file is not None:
        raise PassingError(f"tokenFile of {user.title} is empty")
    if user.text("username") or user.text("password"):
        return basic(user.text("username"), user.text("password"))
    return None


def certificate(user: Entry) -> Certificate | None:
    """The client's certificate, None without one. Reads its files."""
    found, key = user.data("client-certificate"), user.data("client-key")
    if found is None:
        return None
    if key is None:
        raise ValueError(f"{user.title} has a client-certificate, but no client-key")
    return Certificate(found, key)


def oidc_settings(user: Entry) -> Entry | None:
    """The settings of the OIDC provider, None without one; ``ValueError`` for another provider."""
    provider = user.entry("auth-provider")
    if provider is None:
        return None
    if (name := provider.text("name")) == "oidc":
        if (settings := provider.entry("config")) is None:
            raise ValueError("oidc: missing configuration")
        return settings
    instead = f" ({_REMOVED[name]})" if name in _REMOVED else ""
    raise ValueError(f"auth-provider of {user.title} is not oidc, the only one left; use an exec plugin{instead}")
