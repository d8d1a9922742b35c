"""The wheel in an empty environment: what Airflow sees of it, the command line, a DAG on the cluster."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from airflow_script_provider import __version__
from airflow_script_provider.provider_info import get_provider_info
from tests.cluster.kubectl import kubeconfig_of_tests
from tests.packaging.conftest import ROOT, Installation

EXAMPLE = "example_basic"


def listed(installed: Installation, *words: str) -> list[dict[str, Any]]:
    """What a command of ``airflow providers`` lists."""
    printed = installed.run("airflow", "providers", *words, "--output", "json").stdout
    rows: list[dict[str, Any]] = json.loads(printed[printed.index("[") :])
    return rows


def test_the_source_tree_is_not_in_use(installed: Installation) -> None:
    """The package is the one that was installed."""
    found = installed.run("python", "-c", "import airflow_script_provider as package; print(package.__file__)").stdout
    assert Path(found).is_relative_to(installed.programs.parent)


def test_airflow_describes_the_provider(installed: Installation) -> None:
    """``airflow providers get --full`` has all that the package says of itself."""
    (described,) = listed(installed, "get", "airflow-script-provider", "--full")
    assert described["versions"] == str([__version__]) or described["versions"] == [__version__]
    assert "airflow_script_provider.operators.script" in str(described["operators"])


def test_the_hooks_of_others_are_as_before(installed: Installation) -> None:
    """``airflow providers hooks``: ``kubernetes`` is still the connection of the cncf.kubernetes provider."""
    hooks = {row["connection_type"]: row for row in listed(installed, "hooks")}
    assert hooks["kubernetes"]["package_name"] == "apache-airflow-providers-cncf-kubernetes"


def test_airflow_lists_the_link(installed: Installation) -> None:
    """``airflow providers links`` has what the operators show beside a task."""
    links = {row["extra_link_class_name"] for row in listed(installed, "links")}
    assert set(get_provider_info()["extra-links"]) <= links


def test_airflow_knows_the_decorators(installed: Installation) -> None:
    """``@task.NAME`` comes from the providers' list, which imports the module that it names."""
    code = """
from airflow.sdk import task
from airflow_script_provider.provider_info import get_provider_info
for decorator in get_provider_info()["task-decorators"]:
    print(getattr(task, decorator["name"]).__module__)
"""
    modules = installed.run("python", "-c", code).stdout.split()[-len(get_provider_info()["task-decorators"]) :]
    assert all(module.startswith("airflow_script_provider.") for module in modules)


def test_operators_are_imported_without_clients(installed: Installation) -> None:
    """A DAG that names the operators costs no library of Kubernetes, a cloud or Docker."""
    code = """
import sys
import airflow.sdk
before = set(sys.modules)
import airflow_script_provider.operators.exec
import airflow_script_provider.operators.node
import airflow_script_provider.operators.script
clients = {"kubernetes", "kubernetes_asyncio", "boto3", "botocore", "google", "docker", "aiohttp"}
print(sorted(clients & {name.partition(".")[0] for name in set(sys.modules) - before}))
"""
    assert installed.run("python", "-c", code).stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("environment", ["installed", "with_cli"])
def test_the_program_says_what_it_is(environment: str, request: pytest.FixtureRequest) -> None:
    """``airflow-script --version`` and ``--help``, with the extra ``cli`` and without."""
    installation: Installation = request.getfixturevalue(environment)
    assert installation.run("airflow-script", "--version").stdout == f"airflow-script {__version__}\n"
    assert "run a script" in installation.run("airflow-script", "--help").stdout


@pytest.mark.parametrize("environment", ["installed", "with_cli"])
def test_the_program_runs_a_script(environment: str, request: pytest.FixtureRequest) -> None:
    """On this machine, with the files that the wheel has."""
    installation: Installation = request.getfixturevalue(environment)
    done = installation.run("airflow-script", "run", "-x", "local", "print(6 * 7)")
    assert done.stdout == "42\n"


def test_without_the_extra_the_program_says_what_to_install(installed: Installation) -> None:
    """A container needs the Docker SDK: one line names the extra."""
    done = installed.run("airflow-script", "run", "-x", "container", "--image", "any", "echo hello", check=False)
    assert done.returncode == 125
    assert done.stderr.splitlines()[-1].endswith("pip install 'airflow-script-provider[cli]'")
    assert "Traceback" not in done.stderr


def test_with_the_extra_the_program_asks_the_engine(with_cli: Installation) -> None:
    """Then it is only the engine that can be missing."""
    words = ("run", "-x", "container", "--image", "any", "echo hello")
    done = with_cli.run("airflow-script", *words, check=False, settings={"DOCKER_HOST": "unix:///nowhere/docker.sock"})
    assert done.returncode == 125
    assert "Docker" in done.stderr
    assert "pip install" not in done.stderr


@pytest.mark.cluster
def test_a_dag_runs(installed: Installation) -> None:
    """The first example, by ``airflow dags test`` on the cluster."""
    dags = installed.home / "dags"
    dags.mkdir()
    shutil.copy(ROOT / "example_dags" / f"{EXAMPLE}.py", dags)
    settings = {"AIRFLOW__CORE__DAGS_FOLDER": str(dags), "KUBECONFIG": kubeconfig_of_tests()}
    installed.run("airflow", "db", "migrate", settings=settings)
    done = installed.run("airflow", "dags", "test", EXAMPLE, settings=settings)
    assert "3 cities in run" in done.stdout + done.stderr
