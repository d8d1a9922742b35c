"""Scripts from http(s), S3 and GCS, fetched in the worker and run in a pod."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from airflow_script_provider.sources import GCSScript, HttpScript, S3Script
from airflow_script_provider.sources.parse import parse
from tests.cluster.kubectl import Kubectl
from tests.cluster.tasks import TaskRun, run_task
from tests.servers import Answer, gcs_server, s3_server, web_server

AWKWARD = b'\xef\xbb\xbf#!/bin/sh\n# ${#arr[@]} {{ x }} {% raw %} `id` $(id) "\' \xc3\xbcn\xc3\xaf\r\nsha256sum "$0"\n'
SOURCES = ["https", "s3", "gs"]


@dataclass(frozen=True)
class Store:
    """A server for scripts, with the operator's arguments for it and its secret."""

    put: Callable[[str, bytes], dict[str, Any]]
    secret: str


@pytest.fixture
def https(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A web server with TLS, basic auth and presigned URLs."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with web_server(ca) as server:
        fields = {
            "host": server.url,
            "login": "bob",
            "password": "web-secret-1",
            "extra": {"verify": f"{tmp_path}/ca.pem"},
        }
        monkeypatch.setenv("AIRFLOW_CONN_SCRIPTS", json.dumps({"conn_type": "http"} | fields))

        def put(name: str, data: bytes) -> dict[str, Any]:
            uri = server.answers(f"/{name}", Answer(data, headers={"ETag": '"e1"'}))
            return {"script": f"{uri}?X-Amz-Signature=web-secret-2", "script_conn_id": "scripts"}

        yield Store(put, "web-secret")


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An S3 server whose keys are in a connection."""
    with s3_server() as server:
        monkeypatch.setenv("AIRFLOW_CONN_SCRIPTS", server.connection("test-key-id", "s3-secret-1"))

        def put(name: str, data: bytes) -> dict[str, Any]:
            server.put("scripts", name, data)
            return {"script": f"s3://scripts/{name}", "script_conn_id": "scripts"}

        yield Store(put, "s3-secret")


@pytest.fixture
def gs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A Google Cloud Storage server."""
    extra = {"is_anonymous": True, "project": "gcs-secret-project"}
    monkeypatch.setenv("AIRFLOW_CONN_SCRIPTS", json.dumps({"conn_type": "google_cloud_platform", "extra": extra}))
    with gcs_server() as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)

        def put(name: str, data: bytes) -> dict[str, Any]:
            server.put("scripts", name, data)
            return {"script": f"gs://scripts/{name}", "script_conn_id": "scripts"}

        yield Store(put, "gcs-secret")


@pytest.fixture(params=SOURCES)
def store(request: pytest.FixtureRequest) -> Store:
    """Each store in turn."""
    found: Store = request.getfixturevalue({"https": "https", "s3": "s3", "gs": "gs"}[request.param])
    return found


def shown(run: TaskRun, kubectl: Kubectl, namespace: str) -> str:
    """Everything of a run that people see: log, XComs, error and objects."""
    objects = kubectl("get", "jobs,pods,configmaps,secrets", "-n", namespace, "-o", "yaml")
    return "\n".join([*run.lines, str(run.xcoms), str(run.error), objects])


def test_a_script_arrives_as_it_is(own: dict[str, Any], kubectl: Kubectl, store: Store) -> None:
    """The bytes arrive, without a byte order mark; the log has origin and digest (R24, R26)."""
    pin = hashlib.sha256(AWKWARD).hexdigest()
    run = run_task(**store.put("etl/job.sh", AWKWARD), sha256=pin, **own).succeeded()
    digest = hashlib.sha256(AWKWARD[3:]).hexdigest()
    assert run.result["output"].startswith(digest)
    assert (run.result["script_sha256"], run.result["script_bytes"]) == (digest, len(AWKWARD) - 3)
    said = [line for line in run.lines if line.startswith("Script: ")]
    assert run.result["script_origin"] in said[0]
    assert f"{len(AWKWARD) - 3} bytes, sha256 {digest}, " in said[0]
    assert store.secret not in shown(run, kubectl, own["namespace"])


def test_args_arrive_with_it(shared: dict[str, Any], store: Store) -> None:
    """Awkward arguments reach a script of every source (R24)."""
    args = {"values": ["it's", 'a "b"', "$(id)", "a\nb", "", "-n", "ünï"]}
    echo = b"import json, sys\nprint(json.dumps(json.loads(sys.argv[1])))"
    assert run_task(**store.put("echo.py", echo), args=args, **shared).succeeded().result["value"] == args


def test_the_largest_script_runs(shared: dict[str, Any], store: Store) -> None:
    """A script with one byte less than a ConfigMap holds runs (R25)."""
    head = b"import os\nprint(os.stat(__file__).st_size)\n#"
    size = 1024 * 1024 - 1
    run = run_task(**store.put("large.py", head + b"x" * (size - len(head))), **shared).succeeded()
    assert run.result["output"] == f"{size}\n"


def test_a_larger_one_is_refused_before_anything_exists(own: dict[str, Any], kubectl: Kubectl, store: Store) -> None:
    """The error has size, limit and advice, and is permanent (R25)."""
    run = run_task(**store.put("huge.py", b"#" * (1024 * 1024 + 1)), **own)
    assert "1,048,577 bytes, more than the 1,048,576 that a ConfigMap holds" in run.headline
    assert type(run.error).__name__ == "AirflowFailException"
    assert kubectl.names("jobs,configmaps", own["namespace"], "-l", "app.kubernetes.io/managed-by") == []


def test_another_digest_is_refused_before_anything_exists(own: dict[str, Any], kubectl: Kubectl, store: Store) -> None:
    """A script that was changed at its source does not run (R24)."""
    run = run_task(**store.put("job.sh", AWKWARD), sha256="0" * 64, **own)
    assert "not the expected 0000" in run.headline
    assert store.secret not in str(run.error)
    assert kubectl.names("jobs", own["namespace"]) == []


def test_files_come_from_anywhere(shared: dict[str, Any], https: Store, s3: Store, gs: Store, tmp_path: Path) -> None:
    """Each file has its own source, whose fields are templates."""
    https.put("helpers.py", b"def twice(x): return 2 * x")
    uri = https.put("helpers.py", b"def twice(x): return 2 * x")["script"].replace("helpers", "{{ 'helpers' }}")
    files = {"lib/helpers.py": HttpScript(uri, verify=str(tmp_path / "ca.pem"))}
    run = run_task(script="from lib.helpers import twice\nprint(twice(21))", files=files, **shared).succeeded()
    assert run.result["output"] == "42\n"


def test_files_are_told_of_as_the_script_is(own: dict[str, Any], kubectl: Kubectl, store: Store) -> None:
    """Log, annotation and result have each file's origin, digest and size (R24, R26)."""
    put = store.put("lib/helpers.py", b"\xef\xbb\xbfdef twice(x): return 2 * x\n")
    file = parse(put["script"], conn_id=put["script_conn_id"])
    run = run_task(script="import helpers\nprint(helpers.twice(21))", files={"helpers.py": file}, **own).succeeded()
    digest = hashlib.sha256(b"def twice(x): return 2 * x\n").hexdigest()
    told = run.result["files"]["helpers.py"]
    assert told == {"sha256": digest, "origin": str(file), "bytes": 27}
    path = "jsonpath={.metadata.annotations.airflow-script-provider/files}"
    annotation = kubectl("get", "job", run.result["job_name"], "-n", own["namespace"], "-o", path)
    assert json.loads(annotation) == {"helpers.py": told}
    assert any(line.startswith(f"helpers.py: {file}, 27 bytes, sha256 {digest}, ") for line in run.lines)
    assert store.secret not in shown(run, kubectl, own["namespace"])


@pytest.mark.parametrize(
    "script",
    [S3Script("s3://scripts/none.py", conn_id="scripts"), GCSScript("gs://scripts/none.py", conn_id="scripts")],
)
def test_a_missing_object_fails_for_good(own: dict[str, Any], request: pytest.FixtureRequest, script: Any) -> None:
    """The first line names bucket and object, and Airflow does not retry (R22)."""
    request.getfixturevalue("s3" if isinstance(script, S3Script) else "gs").put("there.py", b"print(1)")
    run = run_task(script=script, **own)
    assert "bucket 'scripts' has no object 'none.py'" in run.headline
    assert type(run.error).__name__ == "AirflowFailException"
