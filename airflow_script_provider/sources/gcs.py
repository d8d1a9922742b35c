"""An object in Google Cloud Storage."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from airflow_script_provider import _airflow
from airflow_script_provider.exceptions import ScriptSourceError
from airflow_script_provider.kube.request.sizes import MAX_CONFIG_MAP
from airflow_script_provider.script import Script
from airflow_script_provider.sources.base import decoded, refused, too_large, with_retries
from airflow_script_provider.sources.network import trouble

SCHEME = "gs://"
DEFAULT_CONN_ID = "google_cloud_default"

_SCOPE = "https://www.googleapis.com/auth/devstorage.read_only"
_PREFIX = "extra__google_cloud_platform__"
_TIMEOUT = (10, 30)
_SECONDS = 120.0
_ONLY_WITH_PROVIDER = ("key_secret_name", "credential_config_file", "idp_issuer_url")


@dataclass
class GCSScript:
    """A script in a bucket of Google Cloud Storage.

    Where providers-google is installed, its GCSHook makes the client. Without it these fields of the connection's
    extra count: ``keyfile_dict``, ``key_path``, ``is_anonymous``, ``project``, ``impersonation_chain``; with none of
    them the application default credentials do.

    :param uri: ``gs://bucket/object``. (templated)
    :param conn_id: Google connection; the default one need not exist. (templated)
    :param generation: generation of the object, default the newest; another one in the answer is an error. (templated)
    """

    uri: str
    conn_id: str | None = DEFAULT_CONN_ID
    generation: int | str | None = None
    template_fields: Sequence[str] = ("uri", "conn_id", "generation")

    def fetch(self, *, folder: str | None = None) -> Script:
        """Ask for the object's generation and size, then for its content of that generation."""
        bucket, name = self._address()
        generation = self._generation()
        with closing(self._client()) as client:
            # Its cache for traces would ask for the bucket in a thread, which takes a right that reading does not need.
            client._bucket_metadata_cache = None
            reading = _Reading(client, str(self), bucket, name, generation)
            return with_retries(reading.read)

    def _address(self) -> tuple[str, str]:
        bucket, _, name = self.uri.strip()[len(SCHEME) :].partition("/")
        if not self.uri.strip().lower().startswith(SCHEME) or not bucket or not name:
            raise refused(f"GCSScript: uri={self.uri!r} is not of the form gs://bucket/object", self.uri)
        return bucket, name

    def _generation(self) -> int | None:
        if self.generation is None or self.generation == "":
            return None
        try:
            return int(self.generation)
        except ValueError:
            raise refused(f"{self}: generation={self.generation!r} is no number", str(self)) from None

    def _client(self) -> Any:
        from_hook = _airflow.gcs_hook_class()
        try:
            connection = _airflow.find_connection(self.conn_id, DEFAULT_CONN_ID)
        except _airflow.AirflowNotFoundException:
            raise refused(f"{self} cannot be read: connection {self.conn_id!r} is not defined", str(self)) from None
        try:
            if connection is not None and from_hook is not None:
                return from_hook(gcp_conn_id=self.conn_id).get_conn()
            return _client_of(connection.extra_dejson if connection is not None else {})
        except Exception as error:
            if not _is_of_credentials(error):
                raise
            words = f"{self} cannot be read: connection {self.conn_id!r} gives no credentials: {_why(error)}"
            passes = bool(getattr(error, "retryable", False))
            raise ScriptSourceError(words, origin=str(self), retryable=passes) from None

    def __str__(self) -> str:
        return self.uri.strip()


def _client_of(extra: Mapping[str, Any]) -> Any:
    """A client with the credentials that a connection's extra describes."""
    client_class = _airflow.from_extra("gcs", "google.cloud.storage", "Client")
    project = _field(extra, "project")
    if _truth(_field(extra, "is_anonymous")):
        from google.auth.credentials import AnonymousCredentials

        return client_class(project=project, credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
    return client_class(project=project, credentials=credentials(extra))


def credentials(extra: Mapping[str, Any], scope: str = _SCOPE) -> Any:
    """Credentials of a key file or key, perhaps to act as somebody else; None leaves it to the environment."""
    from google.auth import impersonated_credentials
    from google.oauth2 import service_account

    for name in _ONLY_WITH_PROVIDER:
        if _field(extra, name):
            raise ValueError(f"{name} needs apache-airflow-providers-google")
    key, path, chain = _field(extra, "keyfile_dict"), _field(extra, "key_path"), _chain(extra)
    base: Any = None
    if key:
        info = json.loads(key) if isinstance(key, str) else key
        base = service_account.Credentials.from_service_account_info(info, scopes=[scope])  # type: ignore[no-untyped-call]
    elif path:
        base = service_account.Credentials.from_service_account_file(path, scopes=[scope])  # type: ignore[no-untyped-call]
    if not chain:
        return base
    return impersonated_credentials.Credentials(  # type: ignore[no-untyped-call]
        source_credentials=base or default_credentials(),
        target_principal=chain[-1],
        delegates=chain[:-1],
        target_scopes=[scope],
    )


def default_credentials() -> Any:
    """What the environment has."""
    import google.auth

    return google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])[0]


def _field(extra: Mapping[str, Any], name: str) -> Any:
    return extra.get(name) or extra.get(_PREFIX + name) or None


def _chain(extra: Mapping[str, Any]) -> list[str]:
    chain = _field(extra, "impersonation_chain") or []
    words = chain.split(",") if isinstance(chain, str) else chain
    return [word.strip() for word in words]


def _truth(value: Any) -> bool:
    return value.strip().lower() in ("1", "true", "yes", "on") if isinstance(value, str) else bool(value)


def _is_of_credentials(error: Exception) -> bool:
    """Whether an error is about credentials: Google's libraries raise their own, its hook a plain AirflowException."""
    kind = type(error)
    is_googles = kind.__module__.startswith(("google.auth", "google.api_core"))
    return is_googles or isinstance(error, ValueError | OSError | KeyError) or kind.__name__ == "AirflowException"


def _why(error: Exception) -> str:
    """Why credentials are none; a key that is no JSON is not repeated."""
    if isinstance(error, KeyError):  # of a key without it, from the hook
        return f"the key has no {error}"
    return "keyfile_dict is no JSON" if isinstance(error, json.JSONDecodeError) else str(error)


class _Sink:
    """A file to download into, which refuses more than fits."""

    def __init__(self, origin: str) -> None:
        self.data = bytearray()
        self._origin = origin
        self._until = time.monotonic() + _SECONDS

    def write(self, chunk: bytes) -> int:
        """Take a chunk."""
        self.data += chunk
        if len(self.data) > MAX_CONFIG_MAP:
            raise too_large(self._origin)
        if time.monotonic() > self._until:
            raise ScriptSourceError(f"{self._origin} did not arrive within {_SECONDS:g} s", origin=self._origin)
        return len(chunk)


class _Reading:
    """Reads one object, and puts Google's errors into words."""

    def __init__(self, client: Any, origin: str, bucket: str, name: str, generation: int | None) -> None:
        self._client = client
        self._origin = origin
        self._bucket = bucket
        self._name = name
        self._generation = generation

    def read(self) -> Script:
        """The object; ``ScriptSourceError`` says why not."""
        error: ScriptSourceError | None = None
        try:
            blob = self._client.bucket(self._bucket).blob(self._name, generation=self._generation)
            blob.reload(timeout=_TIMEOUT, retry=None)
            self._check(blob)
            generation, sink = blob.generation, _Sink(self._origin)
            blob.download_to_file(sink, timeout=_TIMEOUT, retry=None)
        except ScriptSourceError:
            raise
        except Exception as failure:
            error = self._explained(failure)
            if error is None:
                raise
        if error is not None:
            raise error
        name = PurePosixPath(self._name).name
        return decoded(bytes(sink.data), origin=self._origin, name=name, details=f"generation {generation}")

    def _check(self, blob: Any) -> None:
        if self._generation is not None and blob.generation != self._generation:
            raise refused(
                f"{self._origin} answered with generation {blob.generation}, not {self._generation}: that one is gone "
                "or was never there",
                self._origin,
            )
        if blob.size is not None and blob.size > MAX_CONFIG_MAP:
            raise too_large(self._origin, blob.size)

    def _explained(self, error: Exception) -> ScriptSourceError | None:
        """The error in words, None for one that is not Google's or the network's."""
        module, name = type(error).__module__, type(error).__name__
        if module.startswith("google.api_core"):
            return self._refusal(error)
        if name == "DataCorruption":
            return ScriptSourceError(f"{self._origin} arrived with another checksum than GCS has", origin=self._origin)
        if name == "RefreshError":
            words = f"{self._origin}: the credentials of {self._who()} are not accepted: {error}"
            passes = bool(getattr(error, "retryable", False))
            return ScriptSourceError(words, origin=self._origin, retryable=passes)
        if name == "InvalidOperation":  # after a 401 google-auth tries to renew credentials that are none
            return refused(self._denied(""), self._origin)
        if isinstance(error, OSError) or module.startswith(("google.auth", "urllib3")):
            found = trouble(error)
            words = f"{self._origin} cannot be read: Google {found.text}"
            return ScriptSourceError(words, origin=self._origin, retryable=found.passes)
        return None

    def _refusal(self, error: Any) -> ScriptSourceError:
        status, said = int(error.code or 0), _said(error)
        if status in (408, 429) or status >= 500:
            return ScriptSourceError(f"{self._origin} cannot be read now: {status} {said}", origin=self._origin)
        if status in (401, 403):
            return refused(self._denied(said), self._origin)
        words = self._missing(said) if status == 404 else f"GCS answered {status}: {said}"
        return refused(f"{self._origin}: {words}", self._origin)

    def _denied(self, said: str) -> str:
        words = f"{self._origin}: access denied to {self._who()}, which needs storage.objects.get"
        return f"{words}\nGCS said: {said}" if said else words

    def _missing(self, said: str) -> str:
        is_object = "no such object" in said.lower()
        if not is_object and ("bucket" in said.lower() or not self._bucket_exists()):
            return f"there is no bucket {self._bucket!r}"
        of_generation = f" of generation {self._generation}" if self._generation is not None else ""
        return f"the bucket {self._bucket!r} has no object {self._name!r}{of_generation}"

    def _bucket_exists(self) -> bool:
        """False only where GCS says so: whoever may read objects need not have the right to look at the bucket."""
        from google.api_core.exceptions import GoogleAPICallError

        try:
            return bool(self._client.bucket(self._bucket).exists(timeout=_TIMEOUT, retry=None))
        except (GoogleAPICallError, OSError):
            return True

    def _who(self) -> str:
        credentials = self._client._credentials
        if type(credentials).__name__ == "AnonymousCredentials":
            return "anonymous callers"
        return getattr(credentials, "service_account_email", None) or "the application default credentials"


def _said(error: Any) -> str:
    """Google's own words, without the request's URL."""
    for entry in error.errors:
        if isinstance(entry, Mapping) and entry.get("message"):
            return str(entry["message"])
    return "" if "http" in error.message else str(error.message)
