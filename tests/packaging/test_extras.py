"""Each extra alone in an empty environment: what belongs to it works, what does not says which extra is missing."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.packaging.conftest import Distributions, Installation, install
from tests.servers import gcs_server, s3_server, web_server

EXTRAS = ("http", "s3", "gcs")
SCRIPT = b"print(6 * 7)\n"
PREPARE = """
import sys
from airflow_script_provider.hooks.script import KubernetesScriptHook
prepared = KubernetesScriptHook().prepare(sys.argv[1], script_conn_id="scripts", namespace="etl")
print(prepared.script.data)
"""


@contextmanager
def stored(extra: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The URI of a script in a store of this extra, and the variables by which it is reached."""
    if extra == "s3":
        with s3_server() as s3:
            s3.put("scripts", "run.py", SCRIPT)
            yield "s3://scripts/run.py", {"AIRFLOW_CONN_SCRIPTS": s3.connection()}
    elif extra == "gcs":
        fields = {"conn_type": "google_cloud_platform", "extra": {"is_anonymous": True, "project": "etl"}}
        with gcs_server() as gcs:
            gcs.put("scripts", "run.py", SCRIPT)
            yield "gs://scripts/run.py", {"AIRFLOW_CONN_SCRIPTS": json.dumps(fields), "STORAGE_EMULATOR_HOST": gcs.url}
    else:
        with web_server() as server:
            connection = json.dumps({"conn_type": "http", "host": server.url})
            yield server.answers("/run.py", SCRIPT), {"AIRFLOW_CONN_SCRIPTS": connection}


def prepared(installation: Installation, extra: str) -> subprocess.CompletedProcess[str]:
    """A script from a store of this extra, made ready in an environment."""
    with stored(extra) as (uri, settings):
        return installation.run("python", "-c", PREPARE, uri, check=False, settings=settings)


@pytest.mark.parametrize("extra", EXTRAS)
def test_without_its_extra_a_source_says_what_to_install(installed: Installation, extra: str) -> None:
    """The last line of the error is the command."""
    done = prepared(installed, extra)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(f"pip install 'airflow-script-provider[{extra}]'")


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_brings_its_source(distributions: Distributions, tmp_path: Path, extra: str) -> None:
    """With this extra alone the script is read."""
    done = prepared(install(f"{distributions.wheel}[{extra}]", tmp_path), extra)
    assert done.stdout.splitlines()[-1:] == [repr(SCRIPT)], done.stderr
