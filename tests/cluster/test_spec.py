"""Steps in the Script tool's format, run on the cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_script_provider.operators.script import KubernetesScriptOperator
from airflow_script_provider.result import ScriptResult
from tests.cluster.example_sources import example_sources
from tests.cluster.kubectl import Kubectl
from tests.cluster.tasks import run_operator

PLAYBOOK = """
keychain:
  - {name: partner, kind: bearer, scope: global, credential: partner_api}

workload: {region: north}

workflow:
  - step: prepare
    tool: {kind: python, code: "result = 1"}
  - step: load_orders
    desc: Loads orders
    tool:
      kind: script
      script:
        uri: load_orders.py
        source: {type: file}
      args:
        region: "{{ workload.region }}"
        filters: {status: [open, paid]}
      job:
        image: python:3.11-slim
        backoffLimit: 0
        ttlSecondsAfterFinished: 120
        activeDeadlineSeconds: 90
        resources:
          limits: {memory: 128Mi}
        env:
          TOKEN: "{{ keychain.partner.token }}"
          PASSWORD: "{{ secret.db_password }}"
          DEBUG: true
"""
SCRIPT = """
import json, os, sys
names = ("TOKEN", "PASSWORD", "DEBUG")
print(json.dumps({"args": json.loads(sys.argv[1]), "env": [os.environ[name][::-1] for name in names]}))
"""
WAITS = 3600 + 300
"""Seconds of ``schedule_timeout`` and ``startup_timeout``, which a Job's deadline includes."""
FLAT = {"script": {"type": "inline", "content": "import sys\nprint(sys.argv[1])"}, "job": {"backoff_limit": 0}}


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connections and variables of keychain and secret."""
    monkeypatch.setenv("AIRFLOW_CONN_PARTNER_API", '{"conn_type": "http", "password": "partner-token"}')
    monkeypatch.setenv("AIRFLOW_VAR_DB_PASSWORD", "db-password")


def test_a_playbook_runs_unchanged(own: dict[str, Any], kubectl: Kubectl, tmp_path: Any) -> None:
    """Arguments, environment, limits, names and labels are the playbook's."""
    (tmp_path / "load_orders.py").write_text(SCRIPT)
    run = run_operator(KubernetesScriptOperator.from_spec(spec=PLAYBOOK, **own), folder=str(tmp_path)).succeeded()
    assert run.result["value"] == {
        "args": {"region": "north", "filters": {"status": ["open", "paid"]}},
        "env": ["nekot-rentrap", "drowssap-bd", "eurt"],
    }
    job = kubectl.items("jobs", own["namespace"])[0]
    spec, container = job["spec"], job["spec"]["template"]["spec"]["containers"][0]
    assert job["metadata"]["name"].startswith("script-load-orders-")
    assert job["metadata"]["labels"]["app"] == "noetl-script"
    assert spec["activeDeadlineSeconds"] == 90 + WAITS
    assert (spec["backoffLimit"], spec["ttlSecondsAfterFinished"]) == (0, 120)
    assert container["resources"]["limits"] == {"memory": "128Mi"}


def test_the_flat_form(own: dict[str, Any]) -> None:
    """Jobs have the tool's names, and a script without arguments gets ``{}``."""
    run = run_operator(KubernetesScriptOperator.from_spec(task_id="flat", spec=FLAT, **own)).succeeded()
    assert run.result["job_name"].startswith("noetl-script-")
    assert run.result["output"] == "{}\n"


def test_the_envelope_of_a_failure(own: dict[str, Any]) -> None:
    """Our result can be read in the tool's form."""
    script = {"type": "inline", "content": "print('no rows')\nraise SystemExit(4)"}
    spec = FLAT | {"script": script}
    run = run_operator(KubernetesScriptOperator.from_spec(task_id="fails", spec=spec, **own))
    envelope = ScriptResult.from_dict(run.xcoms["return_value"]).to_envelope()
    assert (envelope["status"], envelope["data"]["status"]) == ("error", "failed")
    assert envelope["error"].startswith("Job failed with 1 failures")
    assert (envelope["data"]["exit_code"], envelope["data"]["output"]) == (4, "no rows\n")


OF_A_PLACE = """
keychain: [{name: store, credential: CONNECTION}]
workload: {region: north, minutes: 2, pull: IfNotPresent}
workflow:
  - step: report
    tool: {kind: script}
    script: SCRIPT
    args: {orders: [1, 2, 3], region: "{{ workload.region }}"}
    job:
      activeDeadlineSeconds: "{{ workload.minutes * 60 }}"
      backoffLimit: "1"
      ttl_seconds_after_finished: "{{ ttl | default(90) }}"
      imagePullPolicy: "{{ pull }}"
"""
HTTP = (
    "{type: http, auth: store, endpoint: SERVER, method: \"{{ how | default('get') }}\", "
    'headers: {X-Api-Key: "{{ secret.db_password }}"}, timeout: "{{ minutes * 10 }}"}'
)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A web server with TLS and a login, an S3 and a GCS server, in Airflow's settings."""
    with example_sources(tmp_path_factory.mktemp("places")) as settings:
        yield settings


@pytest.mark.parametrize(
    ("connection", "script", "origin"),
    [
        ("script_server", f"{{uri: scripts/report.py, source: {HTTP}}}", "SERVER/scripts/report.py"),
        ("script_server", f"{{uri: SERVER/scripts/report.py, source: {HTTP}}}", "SERVER/scripts/report.py"),
        (
            "script_bucket",
            "{uri: s3://example-scripts/report.py, source: {type: s3, auth: store, region: us-east-1}}",
            "s3://example-scripts/report.py",
        ),
        (
            "google_scripts",
            "{uri: gs://example-scripts/report.py, source: {type: gcs, auth: store}}",
            "gs://example-scripts/report.py",
        ),
    ],
    ids=["http on an endpoint", "http by a full URL", "s3", "gcs"],
)
def test_a_script_of_each_place(
    own: dict[str, Any], kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch, places: dict[str, str],
    connection: str, script: str, origin: str,
) -> None:  # fmt: skip
    """Credential, arguments, templates and quoted numbers reach the Job."""
    for name, value in places.items():
        monkeypatch.setenv(name, value)
    server = json.loads(places["AIRFLOW_CONN_SCRIPT_SERVER"])["host"]
    spec = OF_A_PLACE.replace("SCRIPT", script).replace("CONNECTION", connection).replace("SERVER", server)
    run = run_operator(KubernetesScriptOperator.from_spec(spec=spec, **own)).succeeded()
    assert run.result["output"] == "3 orders in the north, 6 in all\n"
    assert run.result["script_origin"] == origin.replace("SERVER", server)
    job = kubectl.items("jobs", own["namespace"])[0]["spec"]
    assert (job["activeDeadlineSeconds"], job["backoffLimit"], job["ttlSecondsAfterFinished"]) == (120 + WAITS, 1, 90)
    assert "db-password" not in "\n".join(run.lines)
