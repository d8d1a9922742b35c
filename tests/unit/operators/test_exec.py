"""What the operator for running pods takes, shows, renders and hands over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.sdk import DAG, BaseOperator

from airflow_script_provider.clusters.access import ClusterRef
from airflow_script_provider.exceptions import RunKilledError
from airflow_script_provider.hooks.exec import ExecTaskRun, KubernetesExecScriptHook
from airflow_script_provider.operators.exec import KubernetesExecScriptOperator
from airflow_script_provider.sources import FileScript


def an_operator(script: Any = "print('hi')", **arguments: Any) -> KubernetesExecScriptOperator:
    """An operator that runs in the Deployment ``api``, whose cluster is never asked."""
    values: dict[str, Any] = {"task_id": "migrate", "kubernetes_conn_id": None, "config_file": "/none"}
    where = {} if {"pod", "label_selector", "statefulset"} & set(arguments) else {"deployment": "api"}
    return KubernetesExecScriptOperator(script=script, **(values | where | arguments))


def rendered(operator: KubernetesExecScriptOperator, **context: Any) -> KubernetesExecScriptOperator:
    """The operator after Airflow has rendered its fields with these names."""
    operator.render_template_fields(context)  # type: ignore[arg-type]  # a few names are a context here
    return operator


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("env_vars", "use 'env' instead"),
        ("cmds", "use 'interpreter' instead"),
        ("resources", "a running pod cannot be changed"),
        ("volumes_mount", "unknown argument 'volumes_mount'"),
        ("init_containers", "a running pod cannot be changed"),
        ("deferrable", "an exec ends with its connection, so it cannot be deferred"),
        ("deploymnt", "did you mean 'deployment'"),
    ],
)
def test_unknown_arguments_are_answered(name: str, said: str) -> None:
    """With ours, where another operator's was meant, or with why there is none (R29)."""
    with pytest.raises(TypeError, match=said):
        an_operator(**{name: "x"})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"pod": "x", "deployment": "y"}, "exclude each other"),
        ({"script": None}, "give exactly one of script and command"),
        ({"script": "scripts/x.py"}, "would run as text"),
        ({"timeout": -1}, "timeout=-1"),
        ({"template_script": "no"}, "template_script='no' must be True or False"),
        ({"args": {}, "arguments": []}, "args and arguments exclude each other"),
        ({"files": {"../x": "a\n"}}, "illegal path"),
    ],
)
def test_what_cannot_work_fails_at_parse(arguments: dict[str, Any], said: str) -> None:
    """Nobody waits for a run to hear of it (R29)."""
    with pytest.raises(ValueError, match=said):
        an_operator(**arguments)


def test_every_place_is_a_template() -> None:
    """Where it runs may differ from run to run."""
    operator = rendered(
        an_operator(deployment="{{ app }}", container="{{ app }}-1", namespace="{{ app }}-ns"), app="web"
    )
    assert (operator.deployment, operator.container, operator.namespace) == ("web", "web-1", "web-ns")


def test_commands_are_templates() -> None:
    """Each word of it."""
    assert rendered(an_operator(None, command=["ls", "{{ d }}"]), d="/x y").command == ["ls", "/x y"]


def test_a_scripts_text_is_no_template() -> None:
    """Its bytes arrive unchanged, unless the author wants it."""
    assert str(rendered(an_operator("echo {{ x }}\n"), x=1).script.text) == "echo {{ x }}\n"
    assert str(rendered(an_operator("echo {{ x }}", template_script=True), x=1).script.text) == "echo 1"


def test_rendering_twice_renders_the_templates() -> None:
    """A second try in the same process has the second try's values."""
    operator = an_operator(env={"A": "{{ x }}"})
    first = rendered(operator.prepare_for_execution(), x="1")
    second = rendered(operator.prepare_for_execution(), x="2")
    assert (str(first.env.value), str(second.env.value)) == ("{'A': '1'}", "{'A': '2'}")


def test_values_are_hidden() -> None:
    """The page Rendered Templates has names only (R26)."""
    operator = an_operator(env={"KEY": "hunter2"}, args={"k": "hunter2"})
    assert (str(operator.env), str(operator.args)) == ("KEY (values hidden)", "k (values hidden)")


def test_outputs_of_other_tasks_are_dependencies() -> None:
    """Also inside of wrapped values."""
    with DAG("d", schedule=None):
        first: Any = BaseOperator(task_id="first")
        operator = an_operator(env={"A": first.output["x"]})
    assert operator.upstream_task_ids == {"first"}


def test_a_dry_run_prints_what_would_run_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As YAML, without asking the cluster, values hidden."""
    (tmp_path / "m.sql").write_text("select 1;\n")
    operator = an_operator(FileScript(str(tmp_path / "m.sql")), namespace="shop", env={"KEY": "hunter2"}, args={"a": 1})
    capsys.readouterr()
    operator.dry_run()
    printed = capsys.readouterr().out
    told = yaml.safe_load(printed)
    assert (told["namespace"], told["deployment"], told["interpreter"][0]) == ("shop", "api", "psql")
    assert told["env"] == {"KEY": "(hidden)"}
    assert "hunter2" not in printed


def test_the_command_lines_namespace_is_not_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stray K8S_NAMESPACE of a worker must not send a migration elsewhere."""
    monkeypatch.setenv("K8S_NAMESPACE", "elsewhere")
    operator = an_operator()
    run = ExecTaskRun(ClusterRef(None, config_file="/none"), operator.log)
    request = run.prepare(operator.inputs(), operator.options())
    assert request.workload.namespace == "default"


def test_a_kill_before_the_run_keeps_it_from_beginning() -> None:
    """Nothing is started then, and the error says so."""
    operator = an_operator()
    operator.on_kill()
    with pytest.raises(RunKilledError, match="Nothing was started"):
        operator.execute({})


def test_the_hook_takes_the_operators_arguments() -> None:
    """And answers unknown ones as the operator does."""
    hook = KubernetesExecScriptHook(None, config_file="/none")
    with pytest.raises(TypeError, match="use 'env' instead"):
        hook.run("print(1)", deployment="api", env_vars={})
    with pytest.raises(ValueError, match="give exactly one of script and command"):
        hook.run(deployment="api")
