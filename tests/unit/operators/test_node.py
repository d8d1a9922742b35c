"""``KubernetesNodeScriptOperator`` before it runs anything."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from airflow_script_provider.hooks.node import node_arguments
from airflow_script_provider.operators.node import KubernetesNodeScriptOperator
from airflow_script_provider.triggers.node import NodeScriptTrigger
from tests.builders import a_launched_job


def an_operator(**arguments: Any) -> KubernetesNodeScriptOperator:
    """An operator for all nodes, unless the arguments say others."""
    given: dict[str, Any] = {"task_id": "disks", "script": "df -h", "all_nodes": True}
    return KubernetesNodeScriptOperator(**(given | arguments))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"all_nodes": False}, "exactly one of node_selector, nodes and all_nodes=True, not none of them"),
        ({"nodes": ["a"]}, "not nodes and all_nodes"),
        ({"mode": "root"}, "mode='root' must be one of"),
        ({"runs": 0}, "runs=0"),
        ({"interval": -1}, "interval=-1"),
        ({"max_output_bytes": 64 * 1024}, "max_output_bytes=65536"),
        ({"mode": "host", "run_as_uid": 1000}, "mode='host' runs as root, so it excludes run_as_uid"),
        ({"env": {"NODE_NAME": "x"}}, "reserved name 'NODE_NAME'"),
        ({"timeout": -1}, "timeout=-1"),
        ({"script": None}, "script is missing"),
    ],
)
def test_what_cannot_work_fails_when_the_dag_is_parsed(arguments: dict[str, Any], words: str) -> None:
    """The error names the argument (R29)."""
    with pytest.raises(ValueError, match=words):
        an_operator(**arguments)


@pytest.mark.parametrize(
    ("argument", "words"),
    [("env_vars", "use 'env' instead"), ("host_network", "unknown argument"), ("run", "did you mean 'runs'")],
)
def test_unknown_arguments_are_answered(argument: str, words: str) -> None:
    """With ours, where another operator's was meant (R29)."""
    with pytest.raises(TypeError, match=words):
        an_operator(**{argument: 1})


def test_a_mapping_may_select() -> None:
    """Its values are templates like any text."""
    operator = an_operator(all_nodes=False, node_selector={"role": "{{ params.role }}"})
    operator.render_template_fields({"params": {"role": "db"}})
    choice = operator.node_arguments().choice
    choice.check()
    assert choice.label_selector == "role=db"


def test_node_selector_is_not_the_pods() -> None:
    """It chooses nodes; the pods find theirs by affinity."""
    call = an_operator(all_nodes=False, node_selector="role=db").node_arguments()
    assert (call.options.node_selector, call.choice.node_selector) == (None, "role=db")


def test_dry_run_shows_owner_and_run(capsys: pytest.CaptureFixture[str]) -> None:
    """With the values hidden; the cluster is not asked for its nodes."""
    an_operator(env={"KEY": "hunter2"}, mode="host", namespace="ops", kubernetes_conn_id=None).dry_run()
    printed = capsys.readouterr().out
    assert "hunter2" not in printed
    owner, config_map, secret, run = yaml.safe_load_all(printed)
    assert [thing["kind"] for thing in (owner, config_map, secret, run)] == ["Job", "ConfigMap", "Secret", "Job"]
    assert owner["spec"]["parallelism"] == 0
    assert run["metadata"]["ownerReferences"][0]["name"] == owner["metadata"]["name"]
    assert run["spec"]["template"]["spec"]["hostPID"] is True
    assert run["spec"]["template"]["spec"]["tolerations"][-1] == {"operator": "Exists"}


def test_the_hook_takes_the_operators_arguments() -> None:
    """Under the same names, with the same defaults."""
    by_hook = node_arguments(script="df -h", all_nodes=True, runs=3, mode="privileged")
    by_operator = an_operator(runs=3, mode="privileged").node_arguments()
    assert by_hook.choice == by_operator.choice
    assert by_hook.settings == by_operator.settings
    assert by_hook.options == by_operator.options
    assert by_hook.inputs.max_output_bytes == by_operator.inputs.max_output_bytes == 2048


def test_pods_have_no_second_attempt() -> None:
    """Runs are the plan's; the Job of one makes one pod."""
    assert an_operator().node_arguments().options_of_pods.backoff_limit == 0


def test_the_trigger_comes_back_from_the_database() -> None:
    """``type(t)(**t.serialize()[1])`` is the same trigger."""
    trigger = NodeScriptTrigger(job=a_launched_job().to_dict(), server="https://api", expires_at=5.0)
    path, arguments = trigger.serialize()
    assert path == f"{NodeScriptTrigger.__module__}.NodeScriptTrigger"
    assert NodeScriptTrigger(**json.loads(json.dumps(arguments))).serialize() == (path, arguments)
