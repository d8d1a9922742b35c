"""A connection to a cluster that cannot work ends the tries of every operator's task."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_script_provider._airflow import AirflowFailException
from airflow_script_provider.operators.exec import KubernetesExecScriptOperator
from airflow_script_provider.operators.node import KubernetesNodeScriptOperator
from airflow_script_provider.operators.script import KubernetesScriptOperator
from tests.cluster.tasks import run_operator

OPERATORS: dict[str, Any] = {
    "job": KubernetesScriptOperator,
    "deferred job": lambda **arguments: KubernetesScriptOperator(deferrable=True, **arguments),
    "nodes": lambda **arguments: KubernetesNodeScriptOperator(node_selector={"a": "b"}, **arguments),
    "exec": lambda **arguments: KubernetesExecScriptOperator(pod="x", **arguments),
}


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("token: hunter2: x", "connection 'mine': kube_config is not valid YAML: line 1, column 15"),
        ("current-context: b", "kube_config has no context named 'b'"),
    ],
    ids=["not YAML", "no such context"],
)
def test_a_broken_kube_config_is_not_tried_again(
    operator: str, config: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next try would read the same connection; its text is not quoted (R26, R40)."""
    definition = {"conn_type": "kubernetes", "extra": {"kube_config": config}}
    monkeypatch.setenv("AIRFLOW_CONN_MINE", json.dumps(definition))
    task = OPERATORS[operator](task_id="t", script="print(1)", kubernetes_conn_id="mine")
    error = run_operator(task).error
    assert isinstance(error, AirflowFailException)
    assert words in str(error)
    assert "hunter2" not in str(error)
