"""A script in Google Cloud Storage."""

from __future__ import annotations

import json
import re
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
from airflow_script_provider.sources.base import collect, decode, permanent_error, too_large_error, with_retries
from airflow_script_provider.sources.encoding import unpacked
from airflow_script_provider.sources.network import network_failure
from airflow_script_provider.sources.web.url import redacted

SCHEME = "gs://"
DEFAULT_CONN_ID = "google_cloud_default"

_SCOPE = "https://www.googleapis.com/auth/devstorage.read_only"
_PREFIX = "extra__google_cloud_platform__"
_TIMEOUT = (10, 30)
_SECONDS = 120.0
_NAME_AND_GENERATION = re.compile(r"(?P<name>.+)#(?P<generation>[0-9]+)", re.DOTALL)
_ONLY_WITH_PROVIDER = ("key_secret_name", "credential_config_file", "idp_issuer_url")


@dataclass
class GCSScript:
    """A script in a bucket of Google Cloud Storage.

    If providers-google is installed, its GCSHook makes the client. Without it, these fields of the
    connection's extra are read: ``keyfile_dict``, ``key_path``, ``is_anonymous``, ``project`` and
    ``impersonation_chain``. Without any of them, the application default credentials are used.

    :param uri: ``gs://bucket/object``, or ``gs://bucket/object#GENERATION`` if no object has that
        name. (templated)
    :param conn_id: Google connection. The default connection need not exist. (templated)
    :param generation: generation of the object; default: the newest. An answer with another
        generation is an error. (templated)
    """

    uri: str
    conn_id: str | None = DEFAULT_CONN_ID
    generation: int | str | None = None
    template_fields: Sequence[str] = ("uri", "conn_id", "generation")

    def fetch(self, *, folder: str | None = None) -> Script:
        """Read the object's generation and size, then the content of that generation."""
        bucket, name = self._address()
        generation = self._generation()
        with closing(self._client()) as client:
            # The client's cache for traces would read the bucket in a thread, which needs a
            # further right.
            client._bucket_metadata_cache = None
            try:
                return with_retries(_ObjectReader(client, str(self), bucket, name, generation).read)
            except ScriptSourceError as error:
                other = _NAME_AND_GENERATION.fullmatch(name)
                if error.retryable or generation is not None or other is None:
                    raise
            reader = _ObjectReader(client, str(self), bucket, other["name"], int(other["generation"]))
            return with_retries(reader.read)

    def _address(self) -> tuple[str, str]:
        bucket, _, name = self.uri.strip()[len(SCHEME) :].partition("/")
        if not self.uri.strip().lower().startswith(SCHEME) or not bucket or not name:
            uri = redacted(self.uri.strip())  # it may be a signed URL
            raise permanent_error(f"GCSScript: uri={uri!r} is not of the form gs://bucket/object", uri)
        return bucket, name

    def _generation(self) -> int | None:
        if self.generation is None or self.generation == "":
            return None
        try:
            return int(self.generation)
        except ValueError:
            raise permanent_error(f"{self}: generation={self.generation!r} is not a number", str(self)) from None

    def _client(self) -> Any:
        from_hook = _airflow.gcs_hook_class()
        try:
            connection = _airflow.find_connection(self.conn_id, DEFAULT_CONN_ID)
        except _airflow.AirflowNotFoundException:
            message = f"{self} cannot be read: connection {self.conn_id!r} is not defined"
            raise permanent_error(message, str(self)) from None
        try:
            if connection is not None and from_hook is not None:
                return from_hook(gcp_conn_id=self.conn_id).get_conn()
            return _client_of(connection.extra_dejson if connection is not None else {})
        except Exception as error:
            if not _is_credentials_error(error):
                raise
            why = _credentials_problem(error)
            message = f"{self} cannot be read: connection {self.conn_id!r} has no valid credentials: {why}"
            retryable = bool(getattr(error, "retryable", False))
            raise ScriptSourceError(message, origin=str(self), retryable=retryable) from None

    def __str__(self) -> str:
        return self.uri.strip()


def _client_of(extra: Mapping[str, Any]) -> Any:
    """A client with the credentials in a connection's extra."""
    client_class = _airflow.from_extra("gcs", "google.cloud.storage", "Client")
    project = _field(extra, "project")
    if _truth(_field(extra, "is_anonymous")):
        from google.auth.credentials import AnonymousCredentials

        return client_class(project=project, credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
    return client_class(project=project, credentials=credentials(extra))


def credentials(extra: Mapping[str, Any], scope: str = _SCOPE) -> Any:
    """Credentials of a key or a key file, with impersonation if it is set.

    None means the credentials of the environment.
    """
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
    """The credentials of the environment."""
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


def _is_credentials_error(error: Exception) -> bool:
    """Whether an error is about credentials.

    Google's libraries raise their own errors. The GCSHook raises a plain AirflowException.
    """
    kind = type(error)
    is_googles = kind.__module__.startswith(("google.auth", "google.api_core"))
    return is_googles or isinstance(error, ValueError | OSError | KeyError) or kind.__name__ == "AirflowException"


def _credentials_problem(error: Exception) -> str:
    """Why the credentials are not valid. The text of an invalid key is not repeated."""
    if isinstance(error, KeyError):  # the hook raises it for a missing field
        return f"the key has no {error}"
    return "keyfile_dict is not valid JSON" if isinstance(error, json.JSONDecodeError) else str(error)


class _LimitedBuffer:
    """A file to download into. It refuses data that does not fit into a ConfigMap."""

    def __init__(self, origin: str) -> None:
        self.data = bytearray()
        self._origin = origin
        self._until = time.monotonic() + _SECONDS

    def write(self, chunk: bytes) -> int:
        """Take a chunk."""
        self.data += chunk
        if len(self.data) > MAX_CONFIG_MAP:
            raise too_large_error(self._origin)
        if time.monotonic() > self._until:
            raise ScriptSourceError(f"{self._origin} did not arrive within {_SECONDS:g} s", origin=self._origin)
        return len(chunk)


class _ObjectReader:
    """Reads one object, and translates Google's errors."""

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
            generation, buffer = blob.generation, _LimitedBuffer(self._origin)
            # Google's library would take the part of a compressed object for the whole.
            blob.download_to_file(buffer, raw_download=True, timeout=_TIMEOUT, retry=None)
            chunks = unpacked([bytes(buffer.data)], blob.content_encoding, self._origin)
            data = collect(chunks, origin=self._origin, until=time.monotonic() + _SECONDS)
        except ScriptSourceError:
            raise
        except Exception as failure:
            error = self._source_error(failure)
            if error is None:
                raise
        if error is not None:
            raise error
        name = PurePosixPath(self._name).name
        return decode(data, origin=self._origin, name=name, details=f"generation {generation}")

    def _check(self, blob: Any) -> None:
        if self._generation is not None and blob.generation != self._generation:
            raise permanent_error(
                f"{self._origin} has generation {blob.generation}; generation {self._generation} was deleted or "
                "never existed",
                self._origin,
            )
        if blob.size is not None and blob.size > MAX_CONFIG_MAP:
            raise too_large_error(self._origin, blob.size)

    def _source_error(self, error: Exception) -> ScriptSourceError | None:
        """Translate an error, None for one that is neither Google's nor the network's."""
        module, name = type(error).__module__, type(error).__name__
        if module.startswith("google.api_core"):
            return self._service_error(error)
        if name == "DataCorruption":
            message = f"{self._origin} was corrupted on the way: it has another checksum than GCS reports"
            return ScriptSourceError(message, origin=self._origin)
        if name == "RefreshError":
            message = f"{self._origin}: Google does not accept the credentials of {self._identity()}: {error}"
            retryable = bool(getattr(error, "retryable", False))
            return ScriptSourceError(message, origin=self._origin, retryable=retryable)
        if name == "InvalidOperation":  # after a 401 without credentials to renew
            return permanent_error(self._denied(""), self._origin)
        if isinstance(error, OSError) or module.startswith(("google.auth", "urllib3")):
            failure = network_failure(error)
            message = f"{self._origin} cannot be read: Google {failure.text}"
            return ScriptSourceError(message, origin=self._origin, retryable=failure.retryable)
        return None

    def _service_error(self, error: Any) -> ScriptSourceError:
        """Translate an error answer of GCS."""
        status, message = int(error.code or 0), _message_of(error)
        if status in (408, 429) or status >= 500:
            return ScriptSourceError(f"{self._origin} cannot be read now: {status} {message}", origin=self._origin)
        if status in (401, 403):
            return permanent_error(self._denied(message), self._origin)
        why = self._missing(message) if status == 404 else f"GCS answered {status}: {message}"
        return permanent_error(f"{self._origin}: {why}", self._origin)

    def _denied(self, message: str) -> str:
        first = f"{self._origin}: access denied to {self._identity()}, which needs storage.objects.get"
        return f"{first}\nGCS's message: {message}" if message else first

    def _missing(self, message: str) -> str:
        is_object = "no such object" in message.lower()
        if not is_object and ("bucket" in message.lower() or not self._bucket_exists()):
            return f"bucket {self._bucket!r} does not exist"
        of_generation = f" of generation {self._generation}" if self._generation is not None else ""
        return f"bucket {self._bucket!r} has no object {self._name!r}{of_generation}"

    def _bucket_exists(self) -> bool:
        """Whether the bucket exists, True if that is unknown.

        The right to read objects does not contain the right to read the bucket.
        """
        from google.api_core.exceptions import GoogleAPICallError

        try:
            return bool(self._client.bucket(self._bucket).exists(timeout=_TIMEOUT, retry=None))
        except (GoogleAPICallError, OSError):
            return True

    def _identity(self) -> str:
        credentials = self._client._credentials
        if type(credentials).__name__ == "AnonymousCredentials":
            return "an anonymous user"
        return getattr(credentials, "service_account_email", None) or "the application default credentials"


def _message_of(error: Any) -> str:
    """Google's own message, without the request's URL."""
    for entry in error.errors:
        if isinstance(entry, Mapping) and entry.get("message"):
            return str(entry["message"])
    return "" if "http" in error.message else str(error.message)
