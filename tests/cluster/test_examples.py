"""Every example DAG runs on the cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.example_sources import example_sources

_ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((_ROOT / "example_dags").glob("example_*.py"))

# What each example's tasks end as, and what the last one returns.
EXPECTED = {
    "example_basic": "3 cities in run",
    "example_branch_on_result": "nothing to load",
    "example_from_noetl": "shop 30 CHF and web 12 CHF",
    "example_gcs_source": "3 orders in the west, 6 in all",
    "example_hook_in_task": "9",
    "example_http_source": "2 orders in the north, 42 in all",
    "example_s3_source": "1 orders in the south, 7 in all",
    "example_script_in_file": '{"cat": 2, "dog": 1}',
}


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


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(example: Path, airflow_home: Path, sources: dict[str, str], kubeconfig: str) -> None:
    """The example ends well and says what it should."""
    environment = {
        **os.environ,
        **sources,
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


def test_every_example_is_expected() -> None:
    """An example without an expectation would only be run, not checked."""
    assert {example.stem for example in EXAMPLES} == set(EXPECTED)
