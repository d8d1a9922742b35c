"""Scripts and files as they are read: other bytes than text, a shebang that is not first, paths of the run's own."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from airflow_script_provider.sources import FileScript, HttpScript
from tests.cluster.apps import a_deployment, rolled_out
from tests.cluster.execs import run_exec
from tests.cluster.kubectl import Kubectl
from tests.cluster.tasks import run_task
from tests.servers import Answer, web_server

BASH = "set -euo pipefail\n[[ 1 == 1 ]] && echo ok\n"
EVERY_BYTE = bytes(range(256)) + b"\n\n"
LATIN_1 = b"# -*- coding: latin-1 -*-\nprint(ascii('\xe9'))\n"


def an_archive() -> bytes:
    """A program that Python's zipapp makes."""
    archive = io.BytesIO(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(archive, "a") as packed:
        packed.writestr("__main__.py", "import inner")
        packed.writestr("inner.py", "print('packed')")
    return archive.getvalue()


@pytest.fixture(scope="module")
def app(kubectl: Kubectl, kubeconfig: str, shared_namespace: str) -> dict[str, Any]:
    """Operator arguments for an application that runs."""
    rolled_out(kubectl, a_deployment("api", shared_namespace))
    return {"config_file": kubeconfig, "namespace": shared_namespace}


@pytest.mark.parametrize(
    "text",
    [
        f"\n#!/bin/bash\n{BASH}",
        "\n    #!/bin/bash\n    set -euo pipefail\n    [[ 1 == 1 ]] && cat <<X\n    ok\n    X\n",
        f"\ufeff#!/bin/bash\n{BASH}",
        "\ufeff\n  #!/usr/bin/env python3\n  if 1:\n      print('ok')\n",
    ],
)
def test_a_shebang_that_is_not_first(shared: dict[str, Any], app: dict[str, Any], text: str, tmp_path: Path) -> None:
    """Its program runs the script in a Job, in a pod, and from a file with another extension (R23)."""
    (tmp_path / "x.sh").write_text(text)
    for run in (
        run_task(script=text, **shared),
        run_task(script="file://x.sh", folder=str(tmp_path), **shared),
        run_exec(script=text, **app),
    ):
        assert run.succeeded().result["output"] == "ok\n"


@pytest.mark.parametrize(
    ("name", "data", "output"),
    [("x.py", LATIN_1, "'\\xe9'\n"), ("app.pyz", an_archive(), "packed\n")],
    ids=["an encoding", "an archive"],
)
def test_a_script_that_is_not_utf_8(
    shared: dict[str, Any], app: dict[str, Any], tmp_path: Path, name: str, data: bytes, output: str
) -> None:
    """Python reads its bytes as they are, in a Job and in a pod (R24)."""
    (tmp_path / name).write_bytes(data)
    script = FileScript(str(tmp_path / name))
    for run in (run_task(script=script, **shared), run_exec(script=script, **app)):
        assert run.succeeded().result["output"] == output


def test_files_are_any_bytes(shared: dict[str, Any], app: dict[str, Any], tmp_path: Path) -> None:
    """A key or an archive beside the script has the bytes that it was read with (R24)."""
    (tmp_path / "key.p12").write_bytes(EVERY_BYTE)
    files = {"key.p12": FileScript(str(tmp_path / "key.p12")), "a.txt": "text"}
    script = "import os\nfolder = os.environ.get('AIRFLOW_SCRIPT_FILES', '/scripts')\n"
    script += "print(open(f'{folder}/key.p12', 'rb').read().hex(), open(f'{folder}/a.txt').read())"
    for run in (run_task(script=script, files=files, **shared), run_exec(script=script, files=files, **app)):
        assert run.succeeded().result["output"] == f"{EVERY_BYTE.hex()} text\n"


@pytest.mark.parametrize("place", ["script", "files"])
def test_a_file_that_the_run_names(own: dict[str, Any], kubectl: Kubectl, tmp_path: Path, place: str) -> None:
    """The DAG's own files run; another file of the worker is read into no object (R26)."""
    for path in ("dags/in.sh", "secret.sh"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(f"echo {path}")

    def run(uri: str) -> Any:
        rendered = f"{{{{ {uri!r} }}}}"
        given = {"script": rendered} if place == "script" else {"script": "echo", "files": {"x.sh": rendered}}
        return run_task(folder=str(tmp_path / "dags"), interpreter=["sh"], **given, **own)

    for uri in (f"file://{tmp_path}/secret.sh", "file://../secret.sh"):
        refused = run(uri)
        assert "secret.sh' may not be read: it is not in" in refused.headline
        assert type(refused.error).__name__ == "AirflowFailException"
    assert kubectl.names("jobs,configmaps", own["namespace"], "-l", "app.kubernetes.io/managed-by") == []
    assert run("file://in.sh").error is None


def test_the_name_that_a_server_sends(shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """It chooses the interpreter, of a script that no ``#!`` line names one for (R23)."""
    with web_server() as server:
        sent = Answer(
            b"for i in 1 2; do echo hi $i; done", headers={"Content-Disposition": 'inline; filename="run.sh"'}
        )
        server.answers("/files/run.sh/raw", sent)
        fields = {"conn_type": "http", "host": server.url, "login": "bob", "password": "hunter22"}
        monkeypatch.setenv("AIRFLOW_CONN_SCRIPTS", json.dumps(fields))
        run = run_task(script=HttpScript("/files/run.sh/raw?ref=main", conn_id="scripts"), **shared)
    assert run.succeeded().result["output"] == "hi 1\nhi 2\n"
