"""Execs with few rights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_script_provider import exceptions
from tests.cluster.accounts import author, written
from tests.cluster.apps import a_deployment, a_stateful_set, rolled_out
from tests.cluster.execs import SLEEPS, run_exec
from tests.cluster.kubectl import Kubectl
from tests.patience import wait_for


@pytest.fixture
def web(kubectl: Kubectl, kubeconfig: str, namespace: str) -> dict[str, Any]:
    """Operator arguments for the test's own Deployment."""
    rolled_out(kubectl, a_deployment("web", namespace))
    return {"config_file": kubeconfig, "namespace": namespace, "deployment": "web"}


def test_role_of_the_docs_is_enough(web: dict[str, Any], kubectl: Kubectl, kubeconfig: str, tmp_path: Path) -> None:
    """The Role in the docs is enough for everything, without a warning (R17)."""
    config = author(kubectl, web["namespace"], kubeconfig, role_file="exec.yaml")
    limited = web | {"config_file": written(config, tmp_path)}
    assert run_exec(script="print(1)", **limited).succeeded().warnings == []
    assert "The namespace has: web" in str(run_exec(script="print(1)", **(limited | {"deployment": "none"})).error)
    assert isinstance(run_exec(script=SLEEPS, timeout=3, **limited).error, exceptions.JobTimeoutError)


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        (("pods/exec", "get"), "kubectl auth can-i create pods --subresource=exec"),
        (("pods", "list"), "kubectl auth can-i list pods"),
        (("deployments", "get"), "kubectl auth can-i get deployments"),
        (("replicasets", "list"), "kubectl auth can-i list replicasets"),
    ],
    ids=str,
)
def test_missing_right_is_named(
    missing: tuple[str, str], said: str, web: dict[str, Any], kubectl: Kubectl, kubeconfig: str, tmp_path: Path
) -> None:
    """403 names verb, resource and namespace, with the kubectl line to check (R17)."""
    config = author(kubectl, web["namespace"], kubeconfig, role_file="exec.yaml", drop_verb=missing)
    run = run_exec(script="print(1)", **(web | {"config_file": written(config, tmp_path)}))
    assert isinstance(run.error, exceptions.ApiForbiddenError)
    assert f"{said} -n {web['namespace']}" in str(run.error)


def test_an_exec_also_needs_create(web: dict[str, Any], kubectl: Kubectl, kubeconfig: str, tmp_path: Path) -> None:
    """From Kubernetes 1.35 on, although it is a GET that opens the websocket (R17)."""
    config = author(kubectl, web["namespace"], kubeconfig, role_file="exec.yaml", drop_verb=("pods/exec", "create"))
    run = run_exec(script="print(1)", **(web | {"config_file": written(config, tmp_path)}))
    if kubectl.minor < 35:  # the version
        run.succeeded()
        return
    assert isinstance(run.error, exceptions.ApiForbiddenError)
    assert f"kubectl auth can-i create pods --subresource=exec -n {web['namespace']}" in str(run.error)


def test_without_the_right_to_list_there_are_no_names(
    namespace: str, kubectl: Kubectl, kubeconfig: str, tmp_path: Path
) -> None:
    """A missing name is also reported without the right to list (R17)."""
    config = author(kubectl, namespace, kubeconfig, role_file="exec.yaml", drop_verb=("deployments", "list"))
    run = run_exec(script="print(1)", namespace=namespace, config_file=written(config, tmp_path))
    assert str(run.error) == f"Deployment {namespace}/api does not exist. Check deployment and namespace."


def test_a_stateful_set_that_is_updated_by_hand(namespace: str, kubectl: Kubectl, kubeconfig: str) -> None:
    """No pod has the newest revision until its author deletes one."""
    by_hand = a_stateful_set("db", namespace)
    by_hand["spec"] |= {"updateStrategy": {"type": "OnDelete"}}
    kubectl.apply(by_hand)
    wait_for(lambda: kubectl.items("statefulsets", namespace)[0]["status"].get("readyReplicas") == 1, "the pod")
    by_hand["spec"]["template"]["metadata"]["annotations"] = {"changed": "yes"}
    kubectl.apply(by_hand)
    run = run_exec(statefulset="db", script="print(1)", namespace=namespace, config_file=kubeconfig)
    assert run.succeeded().result["pod_name"] == "db-0"
    assert any("of the revisions before db-" in line for line in run.lines)


def test_stateful_set_needs_no_more(namespace: str, kubectl: Kubectl, kubeconfig: str, tmp_path: Path) -> None:
    """The same Role is enough for a StatefulSet (R17)."""
    kubectl.apply(a_stateful_set("db", namespace))
    kubectl("rollout", "status", "statefulset/db", "-n", namespace)
    config = author(kubectl, namespace, kubeconfig, role_file="exec.yaml")
    run = run_exec(statefulset="db", script="print(1)", namespace=namespace, config_file=written(config, tmp_path))
    assert run.succeeded().result["pod_name"] == "db-0"
    assert run.warnings == []
