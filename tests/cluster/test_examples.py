"""Every example DAG runs on the cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag

from airflow_script_provider.operators.script import KubernetesScriptOperator
from tests.cluster.example_sources import example_sources
from tests.cluster.kubectl import Kubectl

_ROOT = Path(__file__).parents[2]
_FOLDER = _ROOT / "example_dags"
EXAMPLES = [*sorted(_FOLDER.glob("example_*.py")), _FOLDER / "exec_app" / "exec_app.py"]

# What each example's tasks end as, and what the last one returns.
EXPECTED = {
    "example_basic": "3 cities in run",
    "example_branch_on_result": "nothing to load",
    "example_deferrable": "waited 8 seconds without a worker",
    "example_dependencies": "gruezi-zurich",
    "example_env_from_connection": "calling partner.example with a key of 14 characters",
    "example_from_noetl": "shop 30 CHF and web 12 CHF",
    "example_gcs_source": "3 orders in the west, 6 in all",
    "example_hook_in_task": "9",
    "example_http_source": "2 orders in the north, 42 in all",
    "example_mapped": "the squares sum up to 29",
    "example_node": '{"sum":12}',
    "example_node_script": "a table of 2 nodes",
    "example_s3_source": "1 orders in the south, 7 in all",
    "example_script_in_file": '{"cat": 2, "dog": 1}',
    "example_sql_migration": "Bern has 137000 people",
    "exec_app": "release 2026.1 has its database at version 2",
}
# No node of the tests has a GPU: its Job is shown to the API server, which checks it.
NOT_RUN = {"example_gpu"}


@pytest.fixture(scope="session")
def airflow_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An Airflow database for this process."""
    home = tmp_path_factory.mktemp("examples")
    environment = {**os.environ, "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    environment["AIRFLOW__CORE__UNIT_TEST_MODE"] = "False"
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], env=environment, check=True, capture_output=True)
    return home


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment with the connections of the examples that read their script from a server."""
    with example_sources(tmp_path_factory.mktemp("sources")) as environment:
        yield environment


@pytest.fixture(scope="session")
def connections(sources: dict[str, str], database: dict[str, str]) -> dict[str, str]:
    """The environment with every connection that the examples name."""
    warehouse = {"conn_type": "postgres", "host": database["PGHOST"], "login": "postgres", "schema": "postgres"}
    partner = {"conn_type": "http", "host": "partner.example", "password": "not-so-secret!"}
    return {
        **sources,
        "AIRFLOW_CONN_WAREHOUSE": json.dumps(warehouse | {"password": "trusted"}),
        "AIRFLOW_CONN_PARTNER_API": json.dumps(partner),
    }


@pytest.fixture(scope="session")
def deployed(kubectl: Kubectl) -> Iterator[None]:
    """The application of ``exec_app``, as its manifests have it."""
    manifests = [_FOLDER / "exec_app" / f"{name}.yaml" for name in ("namespace", "api", "web")]
    kubectl("apply", *(word for path in manifests for word in ("-f", str(path))))
    for name in ("api", "web"):
        kubectl("rollout", "status", f"deployment/{name}", "-n", "exec-app", "--timeout=90s")
    yield
    kubectl("delete", "namespace", "exec-app", "--wait=false")


@pytest.mark.parametrize("example", [path for path in EXAMPLES if path.stem not in NOT_RUN], ids=lambda path: path.stem)
def test_example_runs(
    example: Path,
    airflow_home: Path,
    connections: dict[str, str],
    kubeconfig: str,
    request: pytest.FixtureRequest,
) -> None:
    """The example ends well and says what it should."""
    if example.stem == "exec_app":
        request.getfixturevalue("deployed")
    environment = {
        **os.environ,
        **connections,
        "AIRFLOW_HOME": str(airflow_home),
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(example.parent),
        "KUBECONFIG": kubeconfig,
        "PYTHONWARNINGS": "default",
    }
    command = [sys.executable, "-m", "airflow", "dags", "test", example.stem]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=240)
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed[-4000:]
    assert "state=success" in printed or "state:success" in printed, printed[-4000:]
    assert EXPECTED[example.stem] in printed


def test_gpu_example_is_taken_by_the_api_server(kubectl: Kubectl, capsys: pytest.CaptureFixture[str]) -> None:
    """A Job that asks for a GPU is valid."""
    bag = DagBag(_ROOT / "example_dags" / "example_gpu.py")
    train = bag.dags["example_gpu"].get_task("train")
    assert isinstance(train, KubernetesScriptOperator)
    capsys.readouterr()
    train.dry_run()
    created = kubectl("apply", "--dry-run=server", "-f", "-", stdin=capsys.readouterr().out)
    assert created.count("created (server dry run)") == 2


def test_every_example_is_expected() -> None:
    """An example without an expectation would only be run, not checked."""
    assert {example.stem for example in EXAMPLES} == set(EXPECTED) | NOT_RUN
