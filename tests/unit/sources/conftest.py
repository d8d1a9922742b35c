"""Servers for the tests of sources, and Airflow connections to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from airflow_script_provider.sources import base
from tests.servers import GCSServer, S3Server, WebServer, gcs_server, s3_server, web_server

Connect = Callable[..., str]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeat failed attempts at once."""
    monkeypatch.setattr(base, "RETRY_DELAYS", (0.01, 0.01, 0.01, 0.01))


@pytest.fixture(scope="session")
def ca() -> trustme.CA:
    """A certificate authority that no client trusts by default."""
    return trustme.CA()


@pytest.fixture
def ca_file(ca: trustme.CA, tmp_path: Path) -> str:
    """The file that makes a client trust the authority."""
    path = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture
def web() -> Iterator[WebServer]:
    """A web server without TLS."""
    with web_server() as server:
        yield server


@pytest.fixture
def other_web() -> Iterator[WebServer]:
    """A second web server, which is another host for credentials."""
    with web_server() as server:
        yield server


@pytest.fixture
def tls_web(ca: trustme.CA) -> Iterator[WebServer]:
    """A web server with TLS."""
    with web_server(ca) as server:
        yield server


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """An S3 server."""
    with s3_server() as server:
        yield server


@pytest.fixture(scope="session")
def gcs_process() -> Iterator[GCSServer]:
    """A Google Cloud Storage server that no client is configured for."""
    with gcs_server() as server:
        yield server


@pytest.fixture
def gcs(gcs_process: GCSServer, monkeypatch: pytest.MonkeyPatch) -> GCSServer:
    """A Google Cloud Storage server that clients find."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_process.url)
    return gcs_process


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Define an Airflow connection in the environment; return its id."""

    def define(conn_id: str, connection: str | None = None, **fields: Any) -> str:
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", connection or json.dumps(fields))
        return conn_id

    return define
