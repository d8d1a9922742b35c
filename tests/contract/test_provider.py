"""What Airflow sees of the package."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import airflow
import jsonschema  # type: ignore[import-untyped]  # it has no stubs of its own
import pytest

from airflow_script_provider import __version__
from airflow_script_provider.provider_info import get_provider_info
from tests.airflow_versions import DagBag

EXAMPLES = Path(__file__).parents[2] / "example_dags"
MODULES = [
    module
    for kind in ("operators", "hooks", "triggers")
    for entry in get_provider_info().get(kind, [])
    for module in entry["python-modules"]
]


def test_the_provider_info_is_valid() -> None:
    """Airflow's own schema describes what it reads."""
    schema = json.loads((Path(airflow.__path__[0]) / "provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_versions_agree() -> None:
    """The installed distribution, the package and the provider info say the same."""
    assert importlib.metadata.version("airflow-script-provider") == __version__
    assert get_provider_info()["versions"] == [__version__]


@pytest.mark.parametrize("module", MODULES)
def test_modules_that_are_named_exist(module: str) -> None:
    """Everything that the provider info names can be imported."""
    importlib.import_module(module)


def test_airflow_lists_the_provider() -> None:
    """``airflow providers get`` finds the package through its entry point."""
    command = [sys.executable, "-m", "airflow", "providers", "get", "airflow-script-provider", "--output", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert '"airflow-script-provider"' in done.stdout
    assert __version__ in done.stdout


@pytest.mark.parametrize(
    "example", [*sorted(EXAMPLES.glob("*.py")), EXAMPLES / "exec_app" / "exec_app.py"], ids=lambda path: str(path.stem)
)
def test_examples_parse(example: Path) -> None:
    """Every example is a DAG without import errors, named after its file."""
    bag = DagBag(str(example))
    assert bag.import_errors == {}
    assert list(bag.dags) == [example.stem]
