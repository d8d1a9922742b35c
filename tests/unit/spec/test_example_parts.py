"""Parts of a step in the Script tool's documentation: ``script``, ``job``, ``args``."""

from __future__ import annotations

import pytest

from airflow_script_provider.sources import FileScript, GCSScript, HttpScript, S3Script
from tests.unit.spec.conftest import IN_THE_TOOLS_MANNER, made_of

pytestmark = pytest.mark.usefixtures("credentials")


@pytest.mark.parametrize(
    ("script", "source"),
    [
        (
            """
            uri: gs://bucket/a/b.py
            source:
              type: gcs
              auth: google_scripts
            """,
            GCSScript("gs://bucket/a/b.py", conn_id="google_scripts"),
        ),
        (
            """
            uri: s3://bucket/a/b.sql
            source:
              type: s3
              region: eu-central-1
              auth: aws_scripts
            """,
            S3Script("s3://bucket/a/b.sql", region="eu-central-1", conn_id="aws_scripts"),
        ),
        (
            """
            uri: etl/convert.py
            source:
              type: http
              endpoint: https://scripts.example
              method: GET
              headers:
                Authorization: "Bearer {{ secret.api_token }}"
              timeout: 20
            """,
            HttpScript(
                "etl/convert.py",
                endpoint="https://scripts.example",
                headers={"Authorization": "Bearer api-token"},
                timeout=20,
            ),
        ),
        (
            """
            uri: https://scripts.example/etl/convert.py
            source:
              type: http
              endpoint: https://scripts.example
            """,
            HttpScript("https://scripts.example/etl/convert.py", endpoint="https://scripts.example"),
        ),
        (
            """
            uri: ./etl/convert.py
            source:
              type: file
            """,
            FileScript("./etl/convert.py"),
        ),
    ],
    ids=["gcs", "s3", "http on an endpoint", "http by a full URL", "file"],
)
def test_each_source(script: str, source: object) -> None:
    """The part ``script`` with a credential, a region, an endpoint and headers."""
    assert made_of(f"script:{script}", task_id="t") == IN_THE_TOOLS_MANNER | {
        "task_id": "t",
        "script": source,
        "args": {},
    }


FILE = {"script": {"type": "file", "uri": "a.py"}}
OF_FILE = IN_THE_TOOLS_MANNER | {"task_id": "t", "script": FileScript("a.py"), "name": "noetl-script", "args": {}}


@pytest.mark.parametrize(
    ("job", "arguments"),
    [
        (
            """
            env:
              PARTNER: "{{ keychain.partner.token }}"
              AWS_ACCESS_KEY_ID: "{{ keychain.aws_keys.access_key }}"
              AWS_SECRET_ACCESS_KEY: "{{ keychain.aws_keys.secret_key }}"
              PASSWORD: "{{ secret.db_password }}"
            """,
            {
                "env": {
                    "PARTNER": "partner-token",
                    "AWS_ACCESS_KEY_ID": "AKIA-KEY",
                    "AWS_SECRET_ACCESS_KEY": "aws-secret-key",
                    "PASSWORD": "db-pw",
                }
            },
        ),
        (
            """
            resources:
              requests: {memory: "128Mi", cpu: "250m"}
              limits: {memory: "512Mi", cpu: "1000m"}
            """,
            {
                "container_resources": {
                    "requests": {"memory": "128Mi", "cpu": "250m"},
                    "limits": {"memory": "512Mi", "cpu": "1000m"},
                }
            },
        ),
        (
            """
            backoffLimit: 5              # further attempts
            activeDeadlineSeconds: 7200  # all of them
            ttlSecondsAfterFinished: 60
            """,
            {"backoff_limit": 5, "timeout": 7200, "ttl_seconds_after_finished": 60},
        ),
        ("\n            image: python:3.10\n            imagePullPolicy: Always",
         {"image": "python:3.10", "image_pull_policy": "Always"}),
        ("\n            namespace: nightly\n            ttlSecondsAfterFinished: 3600",
         {"namespace": "nightly", "ttl_seconds_after_finished": 3600}),
    ],
    ids=["several credentials", "resources", "attempts and times", "image", "namespace"],
)  # fmt: skip
def test_each_part_of_a_job(job: str, arguments: dict[str, object]) -> None:
    """The part ``job`` for a script that is an argument."""
    assert made_of(f"job:{job}", task_id="t", script=FILE["script"]) == OF_FILE | arguments


def test_nested_arguments() -> None:
    """Nested mappings keep templates; dates stay text, quoted or not."""
    assert made_of(
        """
        script: {type: file, uri: a.py}
        workload: {inbox: /in}
        args:
          source: "{{ workload.inbox }}/orders.csv"
          mode: incremental
          rows: 250
          filters:
            state: open
            dates: {first: "2026-01-01", last: 2026-12-31}
        """,
        task_id="t",
    ) == OF_FILE | {
        "args": {
            "source": "/in/orders.csv",
            "mode": "incremental",
            "rows": 250,
            "filters": {"state": "open", "dates": {"first": "2026-01-01", "last": "2026-12-31"}},
        },
    }
