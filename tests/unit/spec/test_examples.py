"""Examples of the nested form (``script.source``) in the Script tool's documentation."""

from __future__ import annotations

import pytest

from airflow_script_provider.sources import GCSScript, HttpScript, S3Script
from tests.unit.spec.conftest import IN_THE_TOOLS_MANNER, made_of

pytestmark = pytest.mark.usefixtures("credentials")


def test_the_least_that_a_step_says() -> None:
    """A step with an object, its credential, arguments and an image."""
    assert made_of("""
        - step: count_words
          tool:
            kind: script
            script:
              uri: gs://texts/scripts/count.py
              source:
                type: gcs
                auth: texts_reader
            args:
              corpus: novels
            job:
              image: python:3.12-slim
        """) == IN_THE_TOOLS_MANNER | {
        "task_id": "count_words",
        "script": GCSScript("gs://texts/scripts/count.py", conn_id="texts_reader"),
        "args": {"corpus": "novels"},
        "image": "python:3.12-slim",
    }


def test_the_most_that_a_step_says() -> None:
    """A step with templates, limits, attempts, times and a namespace."""
    assert made_of("""
        keychain: [{name: partner_token, kind: bearer, scope: global, credential: partner}]
        workload: {source: in.csv, bucket: results}
        workflow:
          - step: process
            tool:
              kind: script
              script:
                uri: gs://etl/process.py
                source: {type: gcs, auth: etl_account}
              args:
                input: "{{ workload.source }}"
                output: "gs://{{ workload.bucket }}/out"
                mode: batch
                rows: 500
              job:
                image: python:3.13-slim
                namespace: batch
                ttlSecondsAfterFinished: 120
                backoffLimit: 2
                activeDeadlineSeconds: 1800
                resources:
                  requests: {memory: "256Mi", cpu: "500m"}
                  limits: {memory: "1Gi", cpu: "1000m"}
                env:
                  TOKEN: "{{ keychain.partner_token.token }}"
                  DB: "{{ secret.db_url }}"
                  LOG_LEVEL: "DEBUG"
        """) == IN_THE_TOOLS_MANNER | {
        "task_id": "process",
        "script": GCSScript("gs://etl/process.py", conn_id="etl_account"),
        "args": {"input": "in.csv", "output": "gs://results/out", "mode": "batch", "rows": 500},
        "image": "python:3.13-slim",
        "namespace": "batch",
        "ttl_seconds_after_finished": 120,
        "backoff_limit": 2,
        "timeout": 1800,
        "container_resources": {
            "requests": {"memory": "256Mi", "cpu": "500m"},
            "limits": {"memory": "1Gi", "cpu": "1000m"},
        },
        "env": {"TOKEN": "partner-token", "DB": "postgresql://db/etl", "LOG_LEVEL": "DEBUG"},
    }


def test_a_token_of_the_keychain_in_the_environment() -> None:
    """``credential`` is the connection of the source and of the token."""
    assert made_of("""
        keychain:
          - name: partner_token
            kind: bearer
            scope: global
            credential: partner
        workload: {bucket: inbox}
        workflow:
          - step: read
            tool:
              kind: script
              script:
                uri: gs://scripts/read.py
                source: {type: gcs, auth: partner_token}
              job:
                env:
                  TOKEN: "{{ keychain.partner_token.token }}"
                  BUCKET: "{{ workload.bucket }}"
        """) == IN_THE_TOOLS_MANNER | {
        "task_id": "read",
        "script": GCSScript("gs://scripts/read.py", conn_id="partner"),
        "args": {},
        "env": {"TOKEN": "partner-token", "BUCKET": "inbox"},
    }


def test_a_large_job_on_a_script_from_s3() -> None:
    """A step with a description, its own image, memory and processors."""
    assert made_of("""
        - step: monthly_sums
          desc: Sums of all months
          tool:
            kind: script
            script:
              uri: s3://jobs/sums/by_month.py
              source: {type: s3, region: us-east-2, auth: aws_jobs}
            args: {input: s3://raw/2026/, output: s3://sums/2026/, by: month}
            job:
              image: registry.example/spark:3.5
              resources:
                requests: {memory: "2Gi", cpu: "1000m"}
                limits: {memory: "4Gi", cpu: "2000m"}
        """) == IN_THE_TOOLS_MANNER | {
        "task_id": "monthly_sums",
        "doc_md": "Sums of all months",
        "script": S3Script("s3://jobs/sums/by_month.py", region="us-east-2", conn_id="aws_jobs"),
        "args": {"input": "s3://raw/2026/", "output": "s3://sums/2026/", "by": "month"},
        "image": "registry.example/spark:3.5",
        "container_resources": {
            "requests": {"memory": "2Gi", "cpu": "1000m"},
            "limits": {"memory": "4Gi", "cpu": "2000m"},
        },
    }


def test_a_migration_of_a_database() -> None:
    """SQL runs in an image with ``psql``; its login is in the environment."""
    assert made_of("""
        workload: {database: orders}
        workflow:
          - step: migrate
            desc: Adds a column
            tool:
              kind: script
              script:
                uri: gs://migrations/v2/add_column.sql
                source: {type: gcs, auth: migrator}
              job:
                image: postgres:15-alpine
                resources:
                  requests: {memory: "64Mi", cpu: "100m"}
                env:
                  PGHOST: "{{ secret.db_host }}"
                  PGUSER: "{{ secret.db_user }}"
                  PGPASSWORD: "{{ secret.db_password }}"
                  PGDATABASE: "{{ workload.database }}"
        """) == IN_THE_TOOLS_MANNER | {
        "task_id": "migrate",
        "doc_md": "Adds a column",
        "script": GCSScript("gs://migrations/v2/add_column.sql", conn_id="migrator"),
        "args": {},
        "image": "postgres:15-alpine",
        "container_resources": {"requests": {"memory": "64Mi", "cpu": "100m"}},
        "env": {"PGHOST": "db.example", "PGUSER": "etl", "PGPASSWORD": "db-pw", "PGDATABASE": "orders"},
    }


def test_a_gpu() -> None:
    """A GPU is a resource; numbers in nested arguments stay numbers."""
    assert made_of("""
        - step: train
          tool:
            kind: script
            script:
              uri: gs://models/train.py
              source: {type: gcs, auth: trainer}
            args:
              data: gs://data/features.parquet
              parameters: {rate: 0.01, batch: 64, epochs: 20}
            job:
              image: tensorflow/tensorflow:2.16.1-gpu
              resources:
                requests: {memory: "4Gi", cpu: "2000m", nvidia.com/gpu: 1}
                limits: {memory: "8Gi", cpu: "4000m", nvidia.com/gpu: 1}
              env:
                TRACKER_KEY: "{{ keychain.tracker.api_key }}"
        """) == IN_THE_TOOLS_MANNER | {
        "task_id": "train",
        "script": GCSScript("gs://models/train.py", conn_id="trainer"),
        "args": {"data": "gs://data/features.parquet", "parameters": {"rate": 0.01, "batch": 64, "epochs": 20}},
        "image": "tensorflow/tensorflow:2.16.1-gpu",
        "container_resources": {
            "requests": {"memory": "4Gi", "cpu": "2000m", "nvidia.com/gpu": 1},
            "limits": {"memory": "8Gi", "cpu": "4000m", "nvidia.com/gpu": 1},
        },
        "env": {"TRACKER_KEY": "tracker-key"},
    }


def test_a_daily_load() -> None:
    """A script at a full URL gets a list of mappings and has a long timeout."""
    assert made_of("""
        workload: {day: "2026-01-31"}
        workflow:
          - step: load
            tool:
              kind: script
              script:
                uri: https://code.example/raw/main/load.py
                source: {type: http, timeout: 45}
              args:
                day: "{{ workload.day }}"
                sources:
                  - name: crm
                    connection: "{{ secret.crm }}"
                  - name: web
                    connection: "{{ secret.db_url }}"
              job:
                activeDeadlineSeconds: 5400  # an hour and a half
                resources:
                  requests: {memory: "1Gi", cpu: "1000m"}
        """) == IN_THE_TOOLS_MANNER | {
        "task_id": "load",
        "script": HttpScript("https://code.example/raw/main/load.py", timeout=45),
        "args": {
            "day": "2026-01-31",
            "sources": [
                {"name": "crm", "connection": "postgres://etl:crm-pw@crm.example/crm"},
                {"name": "web", "connection": "postgresql://db/etl"},
            ],
        },
        "timeout": 5400,
        "container_resources": {"requests": {"memory": "1Gi", "cpu": "1000m"}},
    }


def test_a_playbook_whose_names_stand_alone() -> None:
    """A playbook has a head, steps of other tools, and plain names of ``workload``."""
    assert made_of("""
        apiVersion: noetl.io/v10
        kind: Playbook
        metadata: {name: summaries, path: examples/summaries}
        workload: {script_uri: gs://code/summarize.py, google: google_key, table: orders.csv}
        keychain:
          - {name: account, kind: credential, scope: local, credential: google_key}
        workflow:
          - step: start
            tool: {kind: python, args: {}, code: "result = {}"}
            next: {spec: {mode: exclusive}, arcs: [{step: summarize}]}
          - step: summarize
            desc: Summarizes a table
            tool:
              kind: script
              script:
                uri: "{{ script_uri }}"
                source: {type: gcs, auth: "{{ google }}"}
              args: {table: "{{ table }}", mode: batch}
              job:
                install_dependencies: [google-auth, requests]
                env:
                  ACCOUNT: "{{ keychain.account.service_account_json | tojson }}"
            next: {spec: {mode: exclusive}, arcs: [{step: verify}]}
          - step: verify
            tool: {kind: python, args: {result: "{{ summarize }}"}, code: "assert result['status'] == 'completed'"}
        """) == IN_THE_TOOLS_MANNER | {
        "task_id": "summarize",
        "doc_md": "Summarizes a table",
        "script": GCSScript("gs://code/summarize.py", conn_id="google_key"),
        "args": {"table": "orders.csv", "mode": "batch"},
        "install_dependencies": ["google-auth", "requests"],
        "env": {"ACCOUNT": '{"project_id": "p", "type": "service_account"}'},
    }


def test_a_step_that_verifies_is_no_script() -> None:
    """A step that reads another step's result is a task of Airflow."""
    verify = """
        - step: verify
          tool: python
          code: |
            def main(result):
                return result["status"] == "completed"
          args:
            result: "{{ load }}"
        """
    with pytest.raises(ValueError, match="step 'verify' has the tool 'python', not 'script'; write it as a @task"):
        made_of(verify, step="verify")
