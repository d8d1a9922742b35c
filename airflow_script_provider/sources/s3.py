"""A script in S3, or in another store with S3's protocol."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from airflow_script_provider import _airflow
from airflow_script_provider.exceptions import ScriptSourceError
from airflow_script_provider.kube.request.sizes import MAX_CONFIG_MAP
from airflow_script_provider.script import Script
from airflow_script_provider.sources.base import CHUNK, collect, decode, permanent_error, too_large_error, with_retries
from airflow_script_provider.sources.encoding import unpacked
from airflow_script_provider.sources.network import network_failure
from airflow_script_provider.sources.web.url import redacted

SCHEME = "s3://"
DEFAULT_CONN_ID = "aws_default"

_SECONDS = 120.0
_KEY_AND_VERSION = re.compile(r"(?P<key>.+)\?versionId=(?P<version>[^?&#]+)", re.DOTALL)
_MISSING = ("NoSuchKey", "NoSuchVersion", "MethodNotAllowed", "404")
_DENIED = ("AccessDenied", "AllAccessDisabled", "AccessDeniedException", "403")
_BAD_CREDENTIALS = (
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
    "RequestTimeTooSkewed",
)
_WRONG_REGION = (
    "PermanentRedirect",
    "TemporaryRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "301",
    "307",
)
_BAD_REQUEST = (
    "ParamValidationError",
    "InvalidRegionError",
    "NoRegionError",
    "UnknownEndpointError",
    "EndpointResolutionError",
)
_TRANSIENT = ("SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "Throttling", "RequestLimitExceeded")


@dataclass
class S3Script:
    """A script in an S3 bucket.

    The connection belongs to providers-amazon: keys, ``role_arn``, ``endpoint_url``,
    ``region_name``, ``verify``, ``config_kwargs`` and all other fields of its S3Hook.

    :param uri: ``s3://bucket/key``, or ``s3://bucket/key?versionId=ID`` if no key has that name.
        (templated)
    :param conn_id: AWS connection. If the default connection does not exist, boto3 finds
        credentials by itself. (templated)
    :param region: region of the bucket; default: the connection's. (templated)
    :param version_id: version of the object; default: the newest. (templated)
    :param endpoint_url: URL of another store with S3's protocol; default: the connection's.
        (templated)
    """

    uri: str
    conn_id: str | None = DEFAULT_CONN_ID
    region: str | None = None
    version_id: str | None = None
    endpoint_url: str | None = field(default=None, repr=False)  # it may have a login
    template_fields: Sequence[str] = ("uri", "conn_id", "region", "version_id", "endpoint_url")

    def fetch(self, *, folder: str | None = None) -> Script:
        """Read the object through providers-amazon's S3Hook."""
        bucket, key = self._address()
        hook = self._hook()
        with closing(_Client(hook, self, bucket, key, self.version_id)) as client:
            try:
                return with_retries(client.read)
            except ScriptSourceError as error:
                other = _KEY_AND_VERSION.fullmatch(key)
                if error.retryable or self.version_id or other is None:
                    raise
        with closing(_Client(hook, self, bucket, other["key"], other["version"])) as client:
            return with_retries(client.read)

    def _address(self) -> tuple[str, str]:
        bucket, _, key = self.uri.strip()[len(SCHEME) :].partition("/")
        if not self.uri.strip().lower().startswith(SCHEME) or not bucket or not key:
            uri = redacted(self.uri.strip())  # it may be a signed URL
            raise permanent_error(f"S3Script: uri={uri!r} is not of the form s3://bucket/key", uri)
        return bucket, key

    def _hook(self) -> Any:
        try:
            connection = _airflow.find_connection(self.conn_id, DEFAULT_CONN_ID)
        except _airflow.AirflowNotFoundException:
            message = f"{self} cannot be read: connection {self.conn_id!r} is not defined"
            raise permanent_error(message, str(self)) from None
        conn_id = self.conn_id if connection is not None else None
        hook = _airflow.s3_hook_class()(aws_conn_id=conn_id, region_name=self.region)
        if self.endpoint_url:
            services = hook.conn_config.service_config
            of_s3 = {**services.get("s3", {}), "endpoint_url": self.endpoint_url}
            hook.conn_config.service_config = {**services, "s3": of_s3}
        return hook

    def __str__(self) -> str:
        return self.uri.strip()


class _Client:
    """Reads one object, and translates botocore's errors."""

    def __init__(self, hook: Any, source: S3Script, bucket: str, key: str, version_id: str | None) -> None:
        self._hook = hook
        self._version_id = version_id
        self._bucket = bucket
        self._key = key
        self._origin = str(source)
        self._client: Any = None

    def read(self) -> Script:
        """The object; ``ScriptSourceError`` says why not."""
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        try:
            self._client = self._client or self._connected()
            answer = self._client.get_object(Bucket=self._bucket, Key=self._key, **self._version)
            data = self._body(answer)
        except ClientError as error:
            raise self._service_error(error) from None
        except ResponseParserError:
            message = f"{self._origin} cannot be read: the server's answer is not S3's protocol; check endpoint_url"
            raise ScriptSourceError(message, origin=self._origin) from None
        except BotoCoreError as error:
            raise self._client_error(error) from None
        return decode(data, origin=self._origin, name=PurePosixPath(self._key).name, details=_details(answer))

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()

    @property
    def _version(self) -> dict[str, str]:
        return {"VersionId": self._version_id} if self._version_id else {}

    def _connected(self) -> Any:
        """A client without retries of its own.

        The connection's ``config_kwargs`` replace our settings.
        """
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        ours = Config(connect_timeout=10, read_timeout=30, retries={"total_max_attempts": 1})
        try:
            return self._hook.get_client_type(region_name=self._hook.region_name, config=ours.merge(self._hook.config))
        except ValueError as error:
            if isinstance(error, BotoCoreError):
                raise
            raise self._endpoint_error() from None

    def _body(self, answer: Mapping[str, Any]) -> bytes:
        with closing(answer["Body"]) as body:
            if answer["ContentLength"] > MAX_CONFIG_MAP:
                raise too_large_error(self._origin, answer["ContentLength"])
            chunks = unpacked(body.iter_chunks(CHUNK), answer.get("ContentEncoding"), self._origin)
            return collect(chunks, origin=self._origin, until=time.monotonic() + _SECONDS)

    def _service_error(self, error: Any) -> ScriptSourceError:
        """Translate an error answer of S3 or STS."""
        code, message = str(error.response["Error"].get("Code", "")), error.response["Error"].get("Message", "")
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if status in (408, 429) or status >= 500 or code in _TRANSIENT:
            return ScriptSourceError(f"{self._origin} cannot be read now: {code}: {message}", origin=self._origin)
        if error.operation_name.startswith("AssumeRole"):
            why = f"the role {self._hook.conn_config.role_arn} cannot be assumed: {code}: {message}"
        else:
            why = self._explain(error, code, message)
        return permanent_error(f"{self._origin}: {why}", self._origin)

    def _explain(self, error: Any, code: str, message: str) -> str:
        if code == "NoSuchBucket":
            return f"bucket {self._bucket!r} does not exist ({code})"
        if code in _MISSING or (self._version and "version" in message.lower()):
            return f"bucket {self._bucket!r} has no object {self._key!r}{self._of_version()} ({code})"
        if code in _DENIED:
            right = "s3:GetObjectVersion" if self._version else "s3:GetObject"
            return f"access denied ({code}) to {self._identity()}, which needs {right}\nS3's message: {message}"
        if code in _BAD_CREDENTIALS:
            return f"S3 does not accept the credentials of {self._owner()}: {code}: {message}"
        if code in _WRONG_REGION:
            return self._explain_region(error)
        return f"S3 answered {code}: {message}"

    def _client_error(self, error: Exception) -> ScriptSourceError:
        """Translate an error that botocore raised without an error answer of S3."""
        name = type(error).__name__
        if name in ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"):
            return permanent_error(
                f"{self._origin} cannot be read: {self._owner()} has no AWS credentials ({name}); "
                "set login and password of the connection, or a role for the worker",
                self._origin,
            )
        if name == "FlexibleChecksumError":
            return ScriptSourceError(
                f"{self._origin} has another checksum than the store reports ({name}: {error}). If the store reports "
                'wrong ones, set {"response_checksum_validation": "when_required"} as config_kwargs in the extra of '
                f"{self._owner()}",
                origin=self._origin,
            )
        # A metadata service or a plugin may answer later.
        if name == "CredentialRetrievalError":
            message = f"{self._origin} cannot be read: the credentials of {self._owner()} cannot be retrieved: {error}"
            return ScriptSourceError(message, origin=self._origin, retryable=True)
        if name == "EndpointResolutionError" and "Custom endpoint" in str(error):
            return self._endpoint_error()
        if name in _BAD_REQUEST:
            return permanent_error(f"{self._origin} cannot be requested: {error}", self._origin)
        failure = network_failure(error)
        host = redacted(self._client.meta.endpoint_url) if self._client is not None else "S3"
        return ScriptSourceError(
            f"{self._origin} cannot be read: {host} {failure.text}", origin=self._origin, retryable=failure.retryable
        )

    def _endpoint_error(self) -> ScriptSourceError:
        """The error for an endpoint that boto3 refuses; its own text has the endpoint's login."""
        why = f"boto3 makes no client; check endpoint_url, here and of {self._owner()}"
        return permanent_error(f"{self._origin} cannot be requested: {why}", self._origin)

    def _of_version(self) -> str:
        return f" of version {self._version_id!r}" if self._version else ""

    def _owner(self) -> str:
        known = self._hook.aws_conn_id
        return f"connection {known!r}" if known else "the worker's environment"

    def _explain_region(self, error: Any) -> str:
        headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        actual = headers.get("x-amz-bucket-region") or error.response["Error"].get("Region") or "another region"
        return f"bucket {self._bucket!r} is in {actual}, not in {self._client.meta.region_name}; set region"

    def _identity(self) -> str:
        """The identity that S3 saw: the ARN, which STS tells every caller, or the access key."""
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        session = self._hook.get_session(region_name=self._hook.region_name)
        try:
            quick = Config(connect_timeout=3, read_timeout=3, retries={"total_max_attempts": 1})
            endpoint = self._hook.conn_config.get_service_endpoint_url("sts")
            sts = session.client("sts", endpoint_url=endpoint, config=quick, verify=self._hook.verify)
            return str(sts.get_caller_identity()["Arn"])
        except (BotoCoreError, ClientError, ResponseParserError, ValueError):  # the last one for an invalid endpoint
            credentials = session.get_credentials()
            if credentials is None:
                return f"an anonymous user (no credentials of {self._owner()})"
            return f"access key {credentials.access_key} of {self._owner()}"


def _details(answer: Mapping[str, Any]) -> str:
    version = answer.get("VersionId")
    return f"ETag {answer.get('ETag')}" + (f", version {version}" if version and version != "null" else "")
