"""What the operator promises by its signature."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from dataclasses import MISSING, Field, fields
from functools import partial
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator

from airflow_script_provider.hooks.exec import KubernetesExecScriptHook
from airflow_script_provider.hooks.node import KubernetesNodeScriptHook
from airflow_script_provider.hooks.script import KubernetesScriptHook
from airflow_script_provider.kube.exec.request import ExecOptions
from airflow_script_provider.kube.nodes.plan import NodeSettings
from airflow_script_provider.kube.nodes.selection import NodeChoice
from airflow_script_provider.kube.request.inputs import ScriptInputs
from airflow_script_provider.kube.request.options import JobOptions
from airflow_script_provider.operators.exec import KubernetesExecScriptOperator
from airflow_script_provider.operators.node import KubernetesNodeScriptOperator
from airflow_script_provider.operators.script import KubernetesScriptOperator
from tests.airflow_versions import DagSerialization

PROMISES: list[tuple[Any, Any, list[type]]] = [
    (KubernetesScriptOperator, KubernetesScriptHook, [JobOptions, ScriptInputs]),
    (KubernetesExecScriptOperator, KubernetesExecScriptHook, [ExecOptions, ScriptInputs]),
    (KubernetesNodeScriptOperator, KubernetesNodeScriptHook, [NodeChoice, NodeSettings]),
]
"""Each operator, the hook behind it, and what that is given."""


def arguments_of(operator: Any) -> dict[str, inspect.Parameter]:
    """What an operator takes."""
    parameters = inspect.signature(operator.__init__).parameters
    return {name: parameter for name, parameter in parameters.items() if name not in ("self", "kwargs")}


OPERATORS = [operator for operator, _, _ in PROMISES]
ARGUMENTS = [(operator, argument) for operator in OPERATORS for argument in arguments_of(operator)]
OF_THE_RUN = [
    (operator, field)
    for operator, _, parts in PROMISES
    for part in parts
    for field in fields(part)
    if field.default is not MISSING
]
OF_THE_HOOK = [
    (operator, name) for operator, hook, _ in PROMISES for name in inspect.signature(hook.__init__).parameters
]


def named(value: Any) -> str:
    """How a test of an operator's argument is called."""
    return str(getattr(value, "__name__", None) or getattr(value, "name", value))


@pytest.mark.parametrize(("operator", "argument"), ARGUMENTS, ids=named)
def test_no_argument_bears_the_name_of_a_field_of_airflows(operator: Any, argument: str) -> None:
    """``resources`` or ``run_as_user`` mean something else to Airflow."""
    assert argument not in inspect.signature(BaseOperator.__init__).parameters
    assert not hasattr(BaseOperator, argument)


@pytest.mark.parametrize(("operator", "field"), OF_THE_RUN, ids=named)
def test_defaults_are_those_of_the_run(operator: Any, field: Field[Any]) -> None:
    """Operator, hook and the code behind them agree on every default."""
    assert arguments_of(operator)[field.name].default == field.default


@pytest.mark.parametrize(("operator", "name"), OF_THE_HOOK, ids=named)
def test_the_hooks_arguments_are_the_operators(operator: Any, name: str) -> None:
    """How the cluster is reached is told to both in the same words."""
    assert name == "self" or name in arguments_of(operator)


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_argument_is_keyword_only(operator: Any) -> None:
    """The order of arguments is nobody's promise."""
    assert {parameter.kind for parameter in arguments_of(operator).values()} == {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_argument_is_documented(operator: Any) -> None:
    """The ``:param`` list is the signature."""
    documented = re.findall(r":param (\w+):", inspect.getdoc(operator) or "")
    assert sorted(documented) == sorted(arguments_of(operator))


@pytest.mark.parametrize(("operator", "argument"), ARGUMENTS, ids=named)
def test_templated_arguments_say_so(operator: Any, argument: str) -> None:
    """The documentation of an argument says whether it is a template."""
    lines = re.findall(rf":param {argument}:(.*?)(?=:param|$)", operator.__doc__ or "", re.DOTALL)
    assert ("(templated)" in lines[0]) == (argument in operator.template_fields)


@pytest.mark.parametrize("operator", OPERATORS)
def test_no_file_is_read_by_its_extension(operator: Any) -> None:
    """With a ``template_ext`` Jinja would load URIs as files."""
    assert list(operator.template_ext) == []


def test_a_serialized_dag_holds_no_value() -> None:
    """What Airflow stores of a DAG has the names of env and args, never their values (R26)."""
    with DAG("serialized", schedule=None) as dag:
        makers: list[Any] = [KubernetesScriptOperator, partial(KubernetesExecScriptOperator, pod="x")]
        for index, make in enumerate(makers):
            make(task_id=f"a{index}", script="echo hunter2", env={"KEY": "hunter2"}, args={"k": ["hunter2"]})
            make(task_id=f"b{index}", script="echo", arguments=["hunter2"])
    stored = str(DagSerialization.to_dict(dag))
    assert "KEY (values hidden)" in stored
    assert "hunter2" not in stored


def test_importing_the_operator_imports_no_client() -> None:
    """Parsing a DAG must not cost a Kubernetes client, a cloud's library or another provider's hook."""
    code = """
import sys
import airflow.sdk
before = set(sys.modules)
import airflow_script_provider.operators.script
import airflow_script_provider.operators.exec
heavy = {"kubernetes", "kubernetes_asyncio", "boto3", "botocore", "google", "aiohttp", "requests", "urllib3"}
new = set(sys.modules) - before
print(sorted({name.partition(".")[0] for name in new} & heavy | {name for name in new if ".providers." in name}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
