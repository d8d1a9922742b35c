"""What the operator promises by its signature."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from dataclasses import MISSING, Field, fields
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator
from airflow.serialization.serialized_objects import DagSerialization

from airflow_script_provider.hooks.script import KubernetesScriptHook
from airflow_script_provider.kube.call import ScriptCall
from airflow_script_provider.kube.request import JobOptions
from airflow_script_provider.operators.script import KubernetesScriptOperator

ARGUMENTS = {
    name: parameter
    for name, parameter in inspect.signature(KubernetesScriptOperator.__init__).parameters.items()
    if name not in ("self", "kwargs")
}
OF_THE_RUN = [*fields(JobOptions), *(field for field in fields(ScriptCall) if field.default is not MISSING)]


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_no_argument_bears_the_name_of_a_field_of_airflows(argument: str) -> None:
    """``resources`` or ``run_as_user`` mean something else to Airflow."""
    assert argument not in inspect.signature(BaseOperator.__init__).parameters
    assert not hasattr(BaseOperator, argument)


@pytest.mark.parametrize("field", OF_THE_RUN, ids=lambda field: str(field.name))
def test_defaults_are_those_of_the_run(field: Field[Any]) -> None:
    """Operator, hook and the code behind them agree on every default."""
    assert ARGUMENTS[field.name].default == field.default


@pytest.mark.parametrize("name", inspect.signature(KubernetesScriptHook.__init__).parameters)
def test_the_hooks_arguments_are_the_operators(name: str) -> None:
    """How the cluster is reached is told to both in the same words."""
    assert name == "self" or name in ARGUMENTS


def test_every_argument_is_keyword_only() -> None:
    """The order of arguments is nobody's promise."""
    assert {parameter.kind for parameter in ARGUMENTS.values()} == {inspect.Parameter.KEYWORD_ONLY}


def test_every_argument_is_documented_in_order() -> None:
    """The ``:param`` list is the signature."""
    documented = re.findall(r":param (\w+):", inspect.getdoc(KubernetesScriptOperator) or "")
    assert sorted(documented) == sorted(ARGUMENTS)


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_templated_arguments_say_so(argument: str) -> None:
    """The documentation of an argument says whether it is a template."""
    lines = re.findall(rf":param {argument}:(.*?)(?=:param|$)", KubernetesScriptOperator.__doc__ or "", re.DOTALL)
    assert ("(templated)" in lines[0]) == (argument in KubernetesScriptOperator.template_fields)


def test_no_file_is_read_by_its_extension() -> None:
    """With a ``template_ext`` Jinja would load URIs as files."""
    assert list(KubernetesScriptOperator.template_ext) == []


def test_a_serialized_dag_holds_no_value() -> None:
    """What Airflow stores of a DAG has the names of env and args, never their values (R26)."""
    with DAG("serialized", schedule=None) as dag:
        KubernetesScriptOperator(task_id="a", script="echo hunter2", env={"KEY": "hunter2"}, args={"k": ["hunter2"]})
        KubernetesScriptOperator(task_id="b", script="echo", arguments=["hunter2"])
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
heavy = {"kubernetes", "kubernetes_asyncio", "boto3", "botocore", "google", "aiohttp", "requests", "urllib3"}
new = set(sys.modules) - before
print(sorted({name.partition(".")[0] for name in new} & heavy | {name for name in new if ".providers." in name}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
