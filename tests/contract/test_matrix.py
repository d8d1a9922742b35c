"""The behaviour matrix (R29): each argument of the operator has a test on the cluster that runs it in both modes."""

from __future__ import annotations

import ast
import inspect
from functools import cache
from pathlib import Path

import pytest

from airflow_script_provider.operators.script import KubernetesScriptOperator

CLUSTER = Path(__file__).parents[1] / "cluster"
MATRIX = {
    "script": "test_result.py::test_result_of_a_script",
    "script_conn_id": "test_arguments.py::test_a_script_and_files_of_a_connection",
    "sha256": "test_arguments.py::test_a_script_and_files_of_a_connection",
    "template_script": "test_arguments.py::test_a_rendered_script_with_arguments_of_its_own",
    "files": "test_arguments.py::test_a_script_and_files_of_a_connection",
    "args": "test_arguments.py::test_interpreter_and_node_image",
    "arguments": "test_arguments.py::test_a_rendered_script_with_arguments_of_its_own",
    "env": "test_arguments.py::test_env_from_and_env",
    "env_from": "test_arguments.py::test_env_from_and_env",
    "image": "test_arguments.py::test_interpreter_and_node_image",
    "interpreter": "test_arguments.py::test_interpreter_and_node_image",
    "run_as_uid": "test_arguments.py::test_another_user_and_requirements",
    "container_resources": "test_arguments.py::test_volumes_resources_and_models",
    "volumes": "test_arguments.py::test_volumes_resources_and_models",
    "volume_mounts": "test_arguments.py::test_volumes_resources_and_models",
    "affinity": "test_arguments.py::test_scheduling_arguments",
    "tolerations": "test_arguments.py::test_scheduling_arguments",
    "node_selector": "test_arguments.py::test_scheduling_arguments",
    "labels": "test_arguments.py::test_labels_and_annotations_go_on_job_and_pod",
    "annotations": "test_arguments.py::test_labels_and_annotations_go_on_job_and_pod",
    "image_pull_secrets": "test_arguments.py::test_name_pull_policy_and_pull_secrets",
    "image_pull_policy": "test_arguments.py::test_name_pull_policy_and_pull_secrets",
    "service_account_name": "test_arguments.py::test_service_account_mounts_its_token",
    "pod_overrides": "test_arguments.py::test_pod_overrides_are_merged_by_key",
    "name": "test_arguments.py::test_name_pull_policy_and_pull_secrets",
    "namespace": "test_arguments.py::test_a_context_of_a_kubeconfig",
    "timeout": "test_arguments.py::test_durations_as_timedelta",
    "schedule_timeout": "test_timeouts.py::test_a_wait_for_a_node_has_an_end",
    "startup_timeout": "test_arguments.py::test_a_script_that_cannot_start",
    "backoff_limit": "test_arguments.py::test_durations_as_timedelta",
    "ttl_seconds_after_finished": "test_arguments.py::test_durations_as_timedelta",
    "keep_failed": "test_arguments.py::test_a_failed_job_is_kept_for_a_time_of_its_own",
    "unread_ttl": "test_arguments.py::test_a_job_is_kept_until_its_outcome_is_read",
    "termination_grace_period": "test_arguments.py::test_durations_as_timedelta",
    "skip_on_exit_code": "test_arguments.py::test_exit_codes_that_skip_or_are_final",
    "fail_on_exit_code": "test_arguments.py::test_exit_codes_that_skip_or_are_final",
    "get_logs": "test_result.py::test_get_logs_false_keeps_the_log_quiet_and_the_result_whole",
    "max_output_bytes": "test_result.py::test_max_output_bytes_keeps_the_tail",
    "install_dependencies": "test_arguments.py::test_another_user_and_requirements",
    "install_packages": "test_dnf.py::test_dnf_installs_before_the_script",
    "kubernetes_conn_id": "test_arguments.py::test_a_connection_to_the_cluster",
    "config_file": "test_arguments.py::test_a_context_of_a_kubeconfig",
    "cluster_context": "test_arguments.py::test_a_context_of_a_kubeconfig",
    "in_cluster": "test_credentials.py::test_in_a_pod",
    "deferrable": "conftest.py::waiting",
    "defer_after": "conftest.py::waiting",
}
"""The test of each argument. Beside these, ``test_both_ways.py`` compares two runs of one case line by line."""

DEFERS_BY_ITSELF = {"conftest.py::waiting", "test_credentials.py::test_in_a_pod"}
"""The fixture of both modes, and a test whose one run is launched by a worker and followed by a triggerer."""


@cache
def functions_of(file: str) -> dict[str, ast.FunctionDef]:
    """The functions of a file of tests, by name."""
    nodes = ast.walk(ast.parse((CLUSTER / file).read_text()))
    return {node.name: node for node in nodes if isinstance(node, ast.FunctionDef)}


def function(test: str) -> ast.FunctionDef:
    """The function of a test; there is no matrix without it."""
    file, _, name = test.partition("::")
    return functions_of(file)[name]


def keywords_of(test: str) -> set[str]:
    """The names that a test passes by keyword, or as the keys of a dict."""
    nodes = list(ast.walk(function(test)))
    keys = [key for node in nodes if isinstance(node, ast.Dict) for key in node.keys]
    passed = {node.arg for node in nodes if isinstance(node, ast.keyword) and node.arg is not None}
    return passed | {str(key.value) for key in keys if isinstance(key, ast.Constant)}


def fixtures_of(test: str) -> set[str]:
    """What a test asks for, and what the fixtures of its file ask for in turn."""
    file, _, _ = test.partition("::")
    found: set[str] = set()
    wanted = {argument.arg for argument in function(test).args.args}
    while wanted - found:
        found |= wanted
        makers = [functions_of(file)[name] for name in wanted if name in functions_of(file)]
        wanted = {argument.arg for maker in makers for argument in maker.args.args}
    return found


def test_every_argument_has_its_test() -> None:
    """An argument that is new, or gone, changes the matrix."""
    arguments = inspect.signature(KubernetesScriptOperator.__init__).parameters
    assert sorted(MATRIX) == sorted(name for name in arguments if name not in ("self", "kwargs"))


@pytest.mark.parametrize("argument", MATRIX)
def test_the_test_gives_the_argument(argument: str) -> None:
    """A test that is renamed, or no longer about the argument, is none of the matrix."""
    assert argument in keywords_of(MATRIX[argument])


@pytest.mark.parametrize("test", sorted(set(MATRIX.values()) - DEFERS_BY_ITSELF))
def test_the_test_runs_both_ways(test: str) -> None:
    """In a worker and deferred, by the fixture of that name."""
    assert "waiting" in fixtures_of(test)


@pytest.mark.parametrize("test", sorted(DEFERS_BY_ITSELF))
def test_a_test_without_the_fixture_defers_by_itself(test: str) -> None:
    """It says so."""
    assert "deferrable" in keywords_of(test)
