"""Reaching the cluster: rights, credentials, namespaces, and what is said when one is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_script_provider import exceptions
from airflow_script_provider.api import client
from tests.cluster.accounts import as_user, author, written
from tests.cluster.kubectl import Kubectl
from tests.cluster.tasks import TaskRun, run_task
from tests.patience import with_time_to_begin


def test_missing_namespace_names_those_that_exist(kubeconfig: str) -> None:
    """A namespace that does not exist is answered with those that do (R22)."""
    run = run_task(script="print(1)", config_file=kubeconfig, namespace="no-such-place")
    assert isinstance(run.error, exceptions.LaunchError)
    assert "namespace 'no-such-place' does not exist" in str(run.error)
    assert "kube-system" in str(run.error)


def test_unreachable_server_is_named(kubeconfig: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An API server that does not answer is named with its address (R22)."""
    monkeypatch.setattr(client, "CALL_PATIENCE", 1.0)
    config = yaml.safe_load(Path(kubeconfig).read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    run = run_task(script="print(1)", config_file=written(config, tmp_path), namespace="default")
    assert isinstance(run.error, exceptions.ApiUnreachableError)
    assert "no answer from the API server https://127.0.0.1:1" in str(run.error)


def test_missing_kubeconfig_is_named(tmp_path: Path) -> None:
    """A kubeconfig that does not exist says where credentials come from (R16)."""
    run = run_task(script="print(1)", config_file=str(tmp_path / "none"), namespace="default")
    assert isinstance(run.error, exceptions.ApiUnreachableError)
    assert f"no credentials for a Kubernetes cluster: {tmp_path}/none does not exist" in str(run.error)
    assert run.warnings == []


def test_wrong_token_is_said(kubeconfig: str, tmp_path: Path) -> None:
    """401 says that the credentials were refused, and where to renew them (R16, R22)."""
    config = as_user(kubeconfig, "wrong-token")
    run = run_task(script="print(1)", config_file=written(config, tmp_path), namespace="default")
    assert isinstance(run.error, exceptions.ApiUnauthorizedError)
    assert "refused the credentials (401)" in str(run.error)


def test_missing_right_names_verb_resource_and_check(
    namespace: str, kubectl: Kubectl, kubeconfig: str, tmp_path: Path
) -> None:
    """403 names verb, resource and namespace with the kubectl line that checks it (R17, R22)."""
    config = as_user(kubeconfig, kubectl("create", "token", "default", "-n", namespace).strip())
    run = run_task(script="print(1)", config_file=written(config, tmp_path), namespace=namespace)
    assert isinstance(run.error, exceptions.ApiForbiddenError)
    assert f"kubectl auth can-i create jobs -n {namespace}" in str(run.error)


def test_role_of_the_docs_is_enough(namespace: str, kubectl: Kubectl, kubeconfig: str, tmp_path: Path) -> None:
    """With the Role in the docs and nothing more everything works, and no warning is given (R17)."""
    config = author(kubectl, namespace, kubeconfig)
    run = run_task(script="print(1)", env={"A": "1"}, config_file=written(config, tmp_path), namespace=namespace)
    assert run.succeeded().warnings == []
    assert kubectl.names("secrets", namespace) == []


def test_without_events_one_warning_and_a_result(
    namespace: str, kubectl: Kubectl, kubeconfig: str, tmp_path: Path
) -> None:
    """Without events: one warning, still a result (R17)."""
    config = author(kubectl, namespace, kubeconfig, drop="events")
    stuck: Any = {"container_resources": {"requests": {"cpu": "500"}}}
    arguments = {"script": "print(1)", "config_file": written(config, tmp_path), "namespace": namespace, **stuck}

    def run(seconds: float) -> TaskRun:
        return run_task(**arguments, schedule_timeout=seconds)

    _, done = with_time_to_begin(run, lambda done: "Events cannot be read" in str(done.warnings))
    assert len([line for line in done.warnings if "Events cannot be read" in line]) == 1
    assert done.result["status"] == "failed"


@pytest.mark.parametrize("seconds", [0, 5])
def test_without_logs_one_warning_and_a_result(
    seconds: int, namespace: str, kubectl: Kubectl, kubeconfig: str, tmp_path: Path
) -> None:
    """Without pods/log: one warning, however long the script runs, still a result (R17)."""
    config = author(kubectl, namespace, kubeconfig, drop="pods/log")
    script = f"import time; time.sleep({seconds})"
    done = run_task(script=script, config_file=written(config, tmp_path), namespace=namespace).succeeded()
    assert len([line for line in done.warnings if "The log of pod" in line]) == 1
    assert "refused to get pods/log in namespace" in str(done.warnings)


def test_connection_with_inline_json(kubeconfig: str, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that carries the kubeconfig as JSON, with a namespace, needs no argument."""
    inline = json.dumps(yaml.safe_load(Path(kubeconfig).read_text()))
    extra = {"kube_config": inline, "namespace": namespace}
    monkeypatch.setenv("AIRFLOW_CONN_MY_CLUSTER", json.dumps({"conn_type": "kubernetes", "extra": extra}))
    run = run_task(script="print(1)", kubernetes_conn_id="my_cluster").succeeded()
    assert run.result["namespace"] == namespace


def test_no_connection_and_a_kubeconfig(kubeconfig: str, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any connection the kubeconfig of KUBECONFIG serves, and nothing is logged about it (R32)."""
    monkeypatch.setenv("KUBECONFIG", kubeconfig)
    run = run_task(script="print(1)", namespace=namespace).succeeded()
    assert run.warnings == []


def test_other_context(kubeconfig: str, namespace: str, tmp_path: Path) -> None:
    """cluster_context chooses among the contexts of a kubeconfig (R16, R40)."""
    config = yaml.safe_load(Path(kubeconfig).read_text())
    context = dict(config["contexts"][0]["context"])
    config["contexts"].append({"name": "other", "context": context})
    config["contexts"][0]["context"] = {"cluster": "nowhere", "user": "nobody"}
    path = written(config, tmp_path)
    run_task(script="print(1)", config_file=path, cluster_context="other", namespace=namespace).succeeded()
