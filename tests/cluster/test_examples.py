"""Every example DAG runs on the cluster."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from airflow_script_provider.operators.script import KubernetesScriptOperator
from tests.airflow_versions import DagBag
from tests.cluster import example_surroundings as surroundings
from tests.cluster.airflow_start import Processes, migrate, nursery
from tests.cluster.example_sources import example_sources
from tests.cluster.kubectl import Kubectl
from tests.docs.howto import is_in, quoted_of

_ROOT = Path(__file__).parents[2]
_FOLDER = _ROOT / "example_dags"
EXAMPLES = [*sorted(_FOLDER.glob("example_*.py")), _FOLDER / "exec_app" / "exec_app.py"]

# What each example's tasks end as, and what the last one returns.
EXPECTED = {
    "example_assets": "orders came from export",
    "example_basic": "3 cities in run",
    "example_branch_on_result": "nothing to load",
    "example_deferrable": "waited 8 seconds without a worker",
    "example_dependencies": "gruezi-zurich",
    "example_env_from_connection": "calling partner.example with a key of 14 characters",
    "example_env_from_secret": "calling partner.example in eu-central with a token of 9 characters",
    "example_exit_codes": "the script ended with exit code 2; empty: exit code 99",
    "example_from_noetl": "shop 30 CHF and web 12 CHF",
    "example_full_cluster": "completed; Unschedulable",
    "example_gcs_source": "3 orders in the west, 6 in all",
    "example_hook_in_task": "9",
    "example_http_source": "2 orders in the north, 42 in all",
    "example_job_operator_after": "hello, Bern",
    "example_job_operator_before": "hello, Bern",
    "example_mapped": "the squares sum up to 29",
    "example_node": '{"sum":12}',
    "example_node_history": "kept 2 rows of this run",
    "example_node_script": "a table of 2 nodes",
    "example_placement": "it ran on ",
    "example_pod_operator_after": "the sum is 42",
    "example_pod_operator_before": "the sum is 42",
    "example_pod_overrides": "would call 10.20.0.7 from /tmp",
    "example_private_index": "the answer is 42",
    "example_resources": "Raise container_resources limits memory",
    "example_restricted": "user 1000 at ",
    "example_retries": "the partner's server is up",
    "example_s3_source": "1 orders in the south, 7 in all",
    "example_script_in_file": '{"cat": 2, "dog": 1}',
    "example_secret_file": "read a token of 9 characters",
    "example_setup_teardown": "dropped schema staging_7",
    "example_sql_migration": "Bern has 137000 people",
    "example_system_packages": "jq adds up 42 orders",
    "example_taskflow": "2 cities end in o",
    "example_taskflow_exec": "the application's database is /data/shop.db",
    "example_taskflow_nodes": "1 kernel version",
    "example_timeouts": "ran longer than its timeout of 30 s",
    "example_volumes": "42 orders in the file",
    "example_writing_a_script": "42 CHF, 1 refused",
    "exec_app": "release 2026.1 has its database at version 2",
}
# No node of the tests has a GPU: its Job is shown to the API server, which checks it.
NOT_RUN = {"example_gpu"}


@pytest.fixture(scope="module")
def connections(
    kubeconfig: str,
    kubectl: Kubectl,
    shared_namespace: str,
    database: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, str]]:
    """Every connection and variable that the examples name, as environment, while all that they lead to is there."""
    warehouse = {"conn_type": "postgres", "host": database["PGHOST"], "login": "postgres", "schema": "postgres"}
    partner = {"conn_type": "http", "host": "partner.example", "password": "not-so-secret!"}
    # The pod operator's XCom needs a second image, which this cluster has not.
    of_cluster = {"kube_config_path": kubeconfig, "xcom_sidecar_container_image": "python:3.11-slim"}
    with ExitStack() as stack:
        stack.enter_context(surroundings.volume(kubectl, {"config_file": kubeconfig, "namespace": shared_namespace}))
        stack.enter_context(surroundings.applied(kubectl, _FOLDER / "manifests"))
        stack.enter_context(surroundings.application(kubectl, _FOLDER / "exec_app"))
        yield {
            **stack.enter_context(example_sources(tmp_path_factory.mktemp("sources"))),
            "AIRFLOW_CONN_PACKAGE_INDEX": stack.enter_context(surroundings.index_connection(kubectl, shared_namespace)),
            "AIRFLOW_CONN_WAREHOUSE": json.dumps(warehouse | {"password": "trusted"}),
            "AIRFLOW_CONN_PARTNER_API": json.dumps(partner),
            "AIRFLOW_CONN_CLUSTER": json.dumps({"conn_type": "kubernetes", "extra": of_cluster}),
            "AIRFLOW_VAR_PARTNER_REGION": "eu-central",
        }


@pytest.fixture(scope="module")
def airflow_commands(
    connections: dict[str, str], kubeconfig: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Processes]:
    """A program that has imported Airflow and runs its commands in forks: imports take longer than most examples."""
    home = tmp_path_factory.mktemp("examples")
    environment = {
        **os.environ,
        **connections,
        "PYTHONPATH": str(_ROOT),
        "PYTHONWARNINGS": "default",
        "KUBECONFIG": kubeconfig,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(_FOLDER),
    }
    with nursery(home, environment) as processes:
        migrate(processes)
        yield processes


@pytest.mark.parametrize("example", [path for path in EXAMPLES if path.stem not in NOT_RUN], ids=lambda path: path.stem)
def test_example_runs(example: Path, airflow_commands: Processes) -> None:
    """The example ends well, says what it should, and what the how-to pages quote of its log."""
    command = ("dags", "test", example.stem, "--dagfile-path", str(example))
    answer = airflow_commands.tell("run", example.stem, *command)
    printed = (airflow_commands.home / f"{example.stem}.log").read_text()
    assert answer == "ended with 0", printed[-4000:]
    assert "state=success" in printed or "state:success" in printed, printed[-4000:]
    assert EXPECTED[example.stem] in printed
    assert [line for line in quoted_of(example) if not is_in(line, printed)] == []


def test_gpu_example_is_taken_by_the_api_server(kubectl: Kubectl, capsys: pytest.CaptureFixture[str]) -> None:
    """A Job that asks for a GPU is valid."""
    bag = DagBag(_ROOT / "example_dags" / "example_gpu.py")
    train = bag.dags["example_gpu"].get_task("train")
    assert isinstance(train, KubernetesScriptOperator)
    capsys.readouterr()
    train.dry_run()
    created = kubectl("apply", "--dry-run=server", "-f", "-", stdin=capsys.readouterr().out)
    assert created.count("created (server dry run)") == 2


def test_a_dry_run_of_names_that_look_like_numbers_is_taken_by_the_api_server(
    kubectl: Kubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    """A launch id of digits only, and labels such as a short commit: kubectl reads them as text (R22)."""
    labels = {"commit": "1234567e89", "build": "0450682645", "yes": "y"}
    overrides = {"metadata": {"labels": labels}}
    operator = KubernetesScriptOperator(task_id="load", script="pass", namespace="default", pod_overrides=overrides)
    operator.dry_run()
    printed = kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=capsys.readouterr().out)
    created = json.JSONDecoder().raw_decode(printed)[0]["spec"]["template"]["metadata"]["labels"]
    assert {name: created[name] for name in labels} == labels


def test_every_example_is_expected() -> None:
    """An example without an expectation would only be run, not checked."""
    assert {example.stem for example in EXAMPLES} == set(EXPECTED) | NOT_RUN
