"""An object in S3, or in a store that speaks its protocol."""

from __future__ import annotations

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
from airflow_script_provider.sources.base import CHUNK, collected, decoded, refused, too_large, with_retries
from airflow_script_provider.sources.network import trouble

SCHEME = "s3://"
DEFAULT_CONN_ID = "aws_default"

_SECONDS = 120.0
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
_TRANSIENT = ("SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "Throttling", "RequestLimitExceeded")


@dataclass
class S3Script:
    """A script in an S3 bucket.

    The connection is one of providers-amazon: keys, ``role_arn``, ``endpoint_url``, ``region_name``, ``verify``,
    ``config_kwargs`` and what else its S3Hook knows.

    :param uri: ``s3://bucket/key``. (templated)
    :param conn_id: AWS connection; the default one need not exist, then boto3 finds credentials by itself. (templated)
    :param region: region of the bucket, default the connection's. (templated)
    :param version_id: version of the object, default the newest. (templated)
    :param endpoint_url: URL of another store that speaks S3, default the connection's. (templated)
    """

    uri: str
    conn_id: str | None = DEFAULT_CONN_ID
    region: str | None = None
    version_id: str | None = None
    endpoint_url: str | None = None
    template_fields: Sequence[str] = ("uri", "conn_id", "region", "version_id", "endpoint_url")

    def fetch(self, *, folder: str | None = None) -> Script:
        """Get the object through providers-amazon's S3Hook."""
        bucket, key = self._address()
        hook = self._hook()
        with closing(_Client(hook, self, bucket, key)) as client:
            return with_retries(client.read)

    def _address(self) -> tuple[str, str]:
        bucket, _, key = self.uri.strip()[len(SCHEME) :].partition("/")
        if not self.uri.strip().lower().startswith(SCHEME) or not bucket or not key:
            raise refused(f"S3Script: uri={self.uri!r} is not of the form s3://bucket/key", self.uri)
        return bucket, key

    def _hook(self) -> Any:
        try:
            connection = _airflow.find_connection(self.conn_id, DEFAULT_CONN_ID)
        except _airflow.AirflowNotFoundException:
            raise refused(f"{self} cannot be read: connection {self.conn_id!r} is not defined", str(self)) from None
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
    """Reads one object, and puts botocore's errors into words."""

    def __init__(self, hook: Any, source: S3Script, bucket: str, key: str) -> None:
        self._hook = hook
        self._source = source
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
            raise self._refusal(error) from None
        except ResponseParserError:
            words = f"{self._origin} cannot be read: what answers is no AWS service; check endpoint_url"
            raise ScriptSourceError(words, origin=self._origin) from None
        except BotoCoreError as error:
            raise self._failure(error) from None
        return decoded(data, origin=self._origin, name=PurePosixPath(self._key).name, details=_details(answer))

    def close(self) -> None:
        """Let the connections go."""
        if self._client is not None:
            self._client.close()

    @property
    def _version(self) -> dict[str, str]:
        return {"VersionId": self._source.version_id} if self._source.version_id else {}

    def _connected(self) -> Any:
        """A client that leaves repeating to us; what the connection says in ``config_kwargs`` stays."""
        from botocore.config import Config

        ours = Config(connect_timeout=10, read_timeout=30, retries={"total_max_attempts": 1})
        return self._hook.get_client_type(region_name=self._hook.region_name, config=ours.merge(self._hook.config))

    def _body(self, answer: Mapping[str, Any]) -> bytes:
        with closing(answer["Body"]) as body:
            if answer["ContentLength"] > MAX_CONFIG_MAP:
                raise too_large(self._origin, answer["ContentLength"])
            return collected(body.iter_chunks(CHUNK), origin=self._origin, until=time.monotonic() + _SECONDS)

    def _refusal(self, error: Any) -> ScriptSourceError:
        """What S3 or STS answered."""
        code, said = str(error.response["Error"].get("Code", "")), error.response["Error"].get("Message", "")
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if status in (408, 429) or status >= 500 or code in _TRANSIENT:
            return ScriptSourceError(f"{self._origin} cannot be read now: {code}: {said}", origin=self._origin)
        return refused(self._words(error, code, said), self._origin)

    def _words(self, error: Any, code: str, said: str) -> str:
        if error.operation_name.startswith("AssumeRole"):
            words = f"the role {self._hook.conn_config.role_arn} cannot be assumed: {code}: {said}"
        elif code == "NoSuchBucket":
            words = f"there is no bucket {self._bucket!r}"
        elif code in _MISSING or (self._version and "version" in said.lower()):
            words = f"the bucket {self._bucket!r} has no object {self._key!r}{self._of_version()}"
        elif code in _DENIED:
            right = "s3:GetObjectVersion" if self._version else "s3:GetObject"
            words = f"access denied to {self._who()}, which needs {right}\nS3 said: {said}"
        elif code in _BAD_CREDENTIALS:
            words = f"the credentials of {self._owner()} are not accepted: {code}: {said}"
        elif code in _WRONG_REGION:
            words = self._region(error)
        else:
            words = f"S3 answered {code}: {said}"
        return f"{self._origin}: {words}"

    def _failure(self, error: Exception) -> ScriptSourceError:
        """What botocore found before or after S3's answer."""
        name = type(error).__name__
        if name in ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"):
            return refused(
                f"{self._origin} cannot be read: there are no AWS credentials in {self._owner()} ({name}); "
                "set login and password of the connection, or a role for the worker",
                self._origin,
            )
        if name == "CredentialRetrievalError":  # a metadata service or a plugin, which may answer the next time
            words = f"{self._origin} cannot be read: credentials of {self._owner()} cannot be had: {error}"
            return ScriptSourceError(words, origin=self._origin, retryable=True)
        if name in ("ParamValidationError", "InvalidRegionError", "NoRegionError", "UnknownEndpointError"):
            return refused(f"{self._origin} cannot be asked for: {error}", self._origin)
        found = trouble(error)
        host = self._client.meta.endpoint_url if self._client is not None else "S3"
        return ScriptSourceError(
            f"{self._origin} cannot be read: {host} {found.text}", origin=self._origin, retryable=found.passes
        )

    def _of_version(self) -> str:
        return f" of version {self._source.version_id!r}" if self._version else ""

    def _owner(self) -> str:
        known = self._hook.aws_conn_id
        return f"connection {known!r}" if known else "the worker's environment"

    def _region(self, error: Any) -> str:
        headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        its = headers.get("x-amz-bucket-region") or error.response["Error"].get("Region") or "another region"
        return f"the bucket {self._bucket!r} is in {its}, not in {self._client.meta.region_name}; set region"

    def _who(self) -> str:
        """The identity that S3 saw: its ARN, which everybody may ask STS for, else the access key."""
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        session = self._hook.get_session(region_name=self._hook.region_name)
        try:
            quick = Config(connect_timeout=3, read_timeout=3, retries={"total_max_attempts": 1})
            endpoint = self._hook.conn_config.get_service_endpoint_url("sts")
            sts = session.client("sts", endpoint_url=endpoint, config=quick, verify=self._hook.verify)
            return str(sts.get_caller_identity()["Arn"])
        except (BotoCoreError, ClientError, ResponseParserError):
            credentials = session.get_credentials()
            key = f"access key {credentials.access_key}" if credentials is not None else "nobody (no credentials)"
            return f"{key} of {self._owner()}"


def _details(answer: Mapping[str, Any]) -> str:
    version = answer.get("VersionId")
    return f"ETag {answer.get('ETag')}" + (f", version {version}" if version and version != "null" else "")
