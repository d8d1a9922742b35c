"""Short-lived credentials of a cloud, minted from an Airflow connection.

A script gets these instead of the connection's own keys: they expire, usually after an hour.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_script_provider._airflow import from_extra, google_hook_class
from airflow_script_provider.sources import gcs

if TYPE_CHECKING:
    from airflow.sdk import Connection

TOKENS = ("token", "access_token", "session_token")
"""Fields that are minted."""

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


def google(connection: Connection) -> dict[str, str]:
    """An OAuth access token of a Google connection."""
    request = from_extra("gcs", "google.auth.transport.requests", "Request")
    hook = google_hook_class()
    if hook is not None:
        credentials = hook(gcp_conn_id=connection.conn_id).get_credentials()
    else:
        credentials = gcs.credentials(connection.extra_dejson, _SCOPE) or gcs.default_credentials()
    credentials.refresh(request())
    return {"token": credentials.token, "access_token": credentials.token}


def aws(connection: Connection) -> dict[str, str]:
    """Keys and session token of an AWS connection.

    They are its role's, otherwise those that STS issues for its keys.
    """
    hook = from_extra("s3", "airflow.providers.amazon.aws.hooks.base_aws", "AwsGenericHook")
    sts = hook(aws_conn_id=connection.conn_id, client_type="sts")
    found = sts.get_credentials()
    key, secret, token = found.access_key, found.secret_key, found.token
    if not token:
        minted = sts.get_conn().get_session_token()["Credentials"]
        key, secret, token = minted["AccessKeyId"], minted["SecretAccessKey"], minted["SessionToken"]
    keys = {"access_key": key, "access_key_id": key, "aws_access_key_id": key, "login": key}
    secrets = {"secret_key": secret, "secret_access_key": secret, "aws_secret_access_key": secret, "password": secret}
    return keys | secrets | dict.fromkeys(TOKENS, token)
