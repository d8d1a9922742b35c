"""Servers that stand in for the places that scripts come from: real protocols, on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import random
import selectors
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import trustme

from tests.patience import wait_for

AWS_KEYS = {"aws_access_key_id": "test", "aws_secret_access_key": "testtest123"}


@dataclass(frozen=True)
class Answer:
    """What a web server does with a request: answer with a body, perhaps late; or reset the connection."""

    body: bytes | Iterable[bytes] = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    reset: bool = False
    reason: str | None = None


@dataclass(frozen=True)
class Request:
    """What a web server was asked. Headers of one name stand in one text, separated by commas."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""


class WebServer(ThreadingHTTPServer):
    """A web server whose answers a test writes down; it keeps what it was asked."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[Request] = []
        self.unknown = Answer(b"no such page", 404)
        self._answers: dict[str, list[Answer]] = {}
        self._scheme = "http" if tls is None else "https"
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)

    @property
    def url(self) -> str:
        """Scheme, host and port."""
        return f"{self._scheme}://127.0.0.1:{self.server_port}"

    def answers(self, path: str, *answers: Answer | bytes) -> str:
        """Answer requests for a path in this order, the last one for ever; the path's URL."""
        self._answers[path] = [answer if isinstance(answer, Answer) else Answer(answer) for answer in answers]
        return f"{self.url}{path}"

    def answer_to(self, request: Request) -> Answer:
        """What this request gets; ``unknown`` where nothing was written down for its path."""
        waiting = self._answers.get(request.path.partition("?")[0], [self.unknown])
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: clients that go away in the middle are what some tests are about."""


T = TypeVar("T", bound=WebServer)


class _Handler(BaseHTTPRequestHandler):
    server: WebServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Do what is written down for this path."""
        answer = self.server.answer_to(self._request(self.rfile.read(int(self.headers.get("Content-Length") or 0))))
        time.sleep(answer.delay)
        if answer.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        self._send(answer)

    do_POST = do_HEAD = do_PATCH = do_DELETE = do_GET

    def do_CONNECT(self) -> None:
        """Open a tunnel, as a proxy does."""
        self._request()
        self.close_connection = True
        host, _, port = self.path.rpartition(":")
        try:
            there = socket.create_connection((host, int(port)))
        except OSError:
            self.send_error(502)
            return
        with there:
            self.send_response_only(200)
            self.end_headers()
            _join(self.connection, there)

    def _request(self, body: bytes = b"") -> Request:
        headers = {name.lower(): ", ".join(self.headers.get_all(name, [])) for name in self.headers}
        self.server.requests.append(Request(self.command, self.path, headers, body))
        return self.server.requests[-1]

    def _send(self, answer: Answer) -> None:
        self.send_response_only(answer.status, answer.reason)
        for name, value in ({"Date": self.date_time_string()} | answer.headers).items():
            self.send_header(name, value)
        if isinstance(answer.body, bytes):
            if "Content-Length" not in answer.headers:
                self.send_header("Content-Length", str(len(answer.body)))
            else:
                self.close_connection = True  # a promise that is not kept
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # a client may have enough
            for chunk in [answer.body] if isinstance(answer.body, bytes) else answer.body:
                self.wfile.write(chunk)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the test's output is not this server's."""


def _join(one: socket.socket, other: socket.socket) -> None:
    """Pass on what comes from either end until one of them closes."""
    with selectors.DefaultSelector() as selector:
        selector.register(one, selectors.EVENT_READ, other)
        selector.register(other, selectors.EVENT_READ, one)
        while True:
            for key, _ in selector.select():
                data = key.fileobj.recv(65536)  # type: ignore[union-attr]  # both are sockets
                if not data:
                    return
                key.data.sendall(data)


@contextmanager
def serving(server: T) -> Iterator[T]:
    """The server at work in a thread while the block lasts."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def web_server(ca: trustme.CA | None = None, *, name: str = "127.0.0.1", clients: bool = False) -> Iterator[WebServer]:
    """A web server while the block lasts; with TLS if a CA is given.

    Its certificate is for ``name``. With ``clients`` it wants a certificate of that CA from them.
    """
    tls = None
    if ca is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        ca.issue_cert(name).configure_cert(tls)
        if clients:
            ca.configure_trust(tls)
            tls.verify_mode = ssl.CERT_REQUIRED
    with serving(WebServer(tls)) as server:
        yield server


def free_port() -> int:
    """A free port for a server that starts later, below those that the kernel gives to whoever asks."""
    given_out = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(given_out // 2, given_out)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclass(frozen=True)
class S3Server:
    """An S3 on loopback."""

    url: str

    def client(self, service: str = "s3", **arguments: Any) -> Any:
        """A client of boto3's, with every right."""
        import boto3  # type: ignore[import-untyped]  # it has no stubs of its own

        values = {"endpoint_url": self.url, "region_name": "us-east-1"} | AWS_KEYS | arguments
        return boto3.client(service, **values)

    def put(self, bucket: str, key: str, body: bytes) -> str:
        """Put an object into a new or old bucket with versions; its version."""
        client = self.client()
        with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou):
            client.create_bucket(Bucket=bucket)
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        return str(client.put_object(Bucket=bucket, Key=key, Body=body)["VersionId"])

    def connection(self, login: str = "test", password: str = "testtest123", **extra: Any) -> str:
        """An Airflow connection to it, as JSON."""
        fields = {"endpoint_url": self.url, "region_name": "us-east-1"} | extra
        return json.dumps({"conn_type": "aws", "login": login, "password": password, "extra": fields})


@contextmanager
def a_program(*words: str, **settings: str) -> Iterator[str]:
    """A server that is a program of its own, while the block lasts; ``PORT`` in its words becomes its port.

    The block gets its address, as soon as it answers there.
    """
    port = free_port()
    command = [word.replace("PORT", str(port)) for word in words]
    process = subprocess.Popen(command, env=os.environ | settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: _takes_connections(port), f"{words[0]} on port {port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _takes_connections(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """An S3 while the block lasts: moto, or MinIO if ``MINIO`` names its program."""
    if program := os.environ.get("MINIO"):
        keys = {"MINIO_ROOT_USER": "test", "MINIO_ROOT_PASSWORD": "testtest123"}
        with (
            tempfile.TemporaryDirectory() as folder,
            a_program(program, "server", "--address", "127.0.0.1:PORT", folder, **keys) as url,
        ):
            yield S3Server(url)
        return
    with moto_server() as server:
        yield server


@contextmanager
def moto_server() -> Iterator[S3Server]:
    """A moto while the block lasts, with S3, IAM and STS."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield S3Server(f"http://{host}:{port}")
    finally:
        server.stop()


@dataclass(frozen=True)
class GCSServer:
    """A Google Cloud Storage on loopback. Without ``keeps_to_generations``, it answers with the newest object."""

    url: str
    keeps_to_generations: bool = False

    def put(self, bucket: str, name: str, data: bytes) -> int:
        """Put an object into a new or old bucket; its generation."""
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import storage

        options = {"api_endpoint": self.url}
        client = storage.Client("test", AnonymousCredentials(), client_options=options)  # type: ignore[no-untyped-call]
        try:
            place = client.bucket(bucket) if client.bucket(bucket).exists() else client.create_bucket(bucket)
            blob = place.blob(name)
            blob.upload_from_string(data)
            return int(blob.generation)
        finally:
            client.close()


@contextmanager
def gcs_server() -> Iterator[GCSServer]:
    """A Google Cloud Storage while the block lasts. Clients find it by STORAGE_EMULATOR_HOST.

    It is gcp-storage-emulator, or fake-gcs-server if ``FAKE_GCS_SERVER`` names its program.
    """
    if program := os.environ.get("FAKE_GCS_SERVER"):
        words = ("-scheme", "http", "-host", "127.0.0.1", "-port", "PORT", "-backend", "memory")
        with a_program(program, *words, "-public-host", "127.0.0.1:PORT") as url:
            yield GCSServer(url, keeps_to_generations=True)
        return
    from gcp_storage_emulator.server import create_server  # type: ignore[import-untyped]  # not annotated

    port = free_port()
    server = create_server("127.0.0.1", port, in_memory=True)
    server.start()
    try:
        yield GCSServer(f"http://127.0.0.1:{port}")
    finally:
        server.stop()
