"""The operators' reference: every argument once, with a type, a field and an example that are right."""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import yaml
from airflow.sdk import DAG, BaseOperator
from kubernetes import client

from docs._ext.arguments import FACTS, FACTS_ELSEWHERE, OPERATORS, REQUIRED, Argument, arguments_of, without_arguments
from tests.docs.markdown import page

PAGE = page("docs/reference/operators.md")
ARGUMENTS = [argument for operator in OPERATORS for argument in arguments_of(operator).values()]
WITH_FIELDS = [argument for argument in ARGUMENTS if argument.fact.fields]
WITH_MODELS = [argument for argument in ARGUMENTS if "V1" in argument.shape]
TYPES = {
    "bool": "bool",
    "int": "int(, in bytes)?",
    "str": "str",
    "Duration": "seconds or ``timedelta``",
    "ExitCodes": "int or list of int",
    "Sequence[str]": "list of str",
    "Sequence[Any]": r"list of (str, )?dict or ``V1\w+``",
    "Mapping[str, str]": "dict of str",
    "Mapping[str, Any]": "dict of str, source or dict",
    "Mapping[str, Any] | Sequence[Any]": "dict or list",
    "Mapping[str, Any] | V1Affinity": "dict or ``V1Affinity``",
    "Mapping[str, Any] | V1PodTemplateSpec | str": "dict or ``V1PodTemplateSpec``",
    "ContainerResources | V1ResourceRequirements | str": "dict or ``V1ResourceRequirements``",
    "str | Mapping[str, str]": "str or dict of str",
    "_fields.ScriptLike": "str, source or dict",
}
"""Annotations without None, and how a docstring spells them. A str beside a model is a template."""
LEAST: dict[str, dict[str, Any]] = {
    "script": {"script": "echo"},
    "exec": {"pod": "x", "script": "echo"},
    "node": {"all_nodes": True, "script": "echo"},
}
"""What each operator needs."""
ASK_OTHERS = ("script_conn_id", "kubernetes_conn_id")
"""Arguments whose example names a connection: a dry run would look it up."""
NEEDED = {"script_conn_id": {"script": "https://repo.example.com/load.py"}, "sha256": {"script": "test"}}
"""What the example of an argument needs beside it."""
CHOICES = (
    {"deployment", "statefulset", "pod", "label_selector"},
    {"script", "command"},
    {"node_selector", "nodes", "all_nodes"},
)
"""Arguments of which exactly one is given."""


@dataclass(frozen=True)
class Made:
    """The objects of a dry run."""

    documents: list[dict[str, Any]]

    def at(self, field: str) -> Any:
        """The value of a field, None if it is missing. On nodes, the first Job is the owner, the last a run's."""
        kind, _, path = field.rpartition(" ")
        name, position = ("Job", 0) if kind == "owner" else (kind or "Job", -1)
        found: Any = [one for one in self.documents if one["kind"] == name][position]
        for key in re.findall(r"[^.\[\]]+|\[[^\]]+\]", path):
            if isinstance(found, list):
                found = next((one for one in found if one["name"] == key[1:-1]), None)
            elif found is not None:
                found = found.get(key)
        return found


def named(value: Any) -> str | None:
    """How a test of an argument is called."""
    return f"{value.operator}-{value.name}" if isinstance(value, Argument) else None


def example_of(argument: Argument) -> Any:
    """The value that the page shows."""
    return eval(argument.fact.example, {"timedelta": timedelta})


def an_operator(operator: str, **arguments: Any) -> Any:
    """An operator with what it needs, and these arguments."""
    needed = LEAST[operator]
    for choice in CHOICES:
        if choice & arguments.keys():
            needed = {name: value for name, value in needed.items() if name not in choice}
    kind: Any = OPERATORS[operator]
    return kind(**{"task_id": "load", "kubernetes_conn_id": None, **needed, **arguments})


def with_example(argument: Argument, **others: Any) -> Any:
    """An operator with the page's example of an argument."""
    needed = NEEDED.get(argument.name, {})
    return an_operator(argument.operator, **needed, **{argument.name: example_of(argument), **others})


def made(operator: BaseOperator, capsys: pytest.CaptureFixture[str]) -> Made:
    """The objects that a dry run prints, without the ids, which are random."""
    capsys.readouterr()
    operator.dry_run()
    text = re.sub(r"\b[0-9a-f]{10}\b", "ID", capsys.readouterr().out)
    return Made(list(yaml.safe_load_all(text)))


def as_model(value: Any, model: str) -> Any:
    """A dict as a model of ``kubernetes.client``, a list as a list of them; names of Secrets stay."""
    if isinstance(value, list):
        return [as_model(entry, model) for entry in value]
    if not isinstance(value, Mapping):
        return value
    unchecked = client.Configuration()
    unchecked.client_side_validation = False  # a partial pod has no containers
    answer = type("Answer", (), {"data": json.dumps(value)})
    return client.ApiClient(unchecked).deserialize(answer, model)


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_argument_is_on_the_page_once(operator: str) -> None:
    """An argument of the constructor is in one group, and a group names no other."""
    blocks = re.findall(rf"^```{{operator-arguments}} {operator}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert sorted(" ".join(blocks).split()) == sorted(arguments_of(operator))


def test_every_fact_is_of_an_argument() -> None:
    """No example outlives its argument."""
    assert sorted(FACTS) == sorted(arguments_of("script"))
    assert [kind for kind, facts in FACTS_ELSEWHERE.items() if facts.keys() - arguments_of(kind)] == []


@pytest.mark.parametrize("argument", ARGUMENTS, ids=named)
def test_the_type_is_that_of_the_signature(argument: Argument) -> None:
    """The docstring spells the annotation in a user's words."""
    annotation = OPERATORS[argument.operator].__init__.__annotations__[argument.name]  # type: ignore[misc]  # of a class
    assert re.fullmatch(TYPES[annotation.removesuffix(" | None")], argument.shape)


@pytest.mark.parametrize("argument", ARGUMENTS, ids=named)
def test_the_meaning_says_what_none_means(argument: Argument) -> None:
    """An argument that takes None says what follows of it; one of several that exclude each other does not."""
    annotation = OPERATORS[argument.operator].__init__.__annotations__[argument.name]  # type: ignore[misc]  # of a class
    if annotation.endswith("| None") and not any(argument.name in choice for choice in CHOICES):
        assert "None " in argument.meaning


@pytest.mark.parametrize("argument", ARGUMENTS, ids=named)
def test_the_example_is_short_and_differs_from_the_default(argument: Argument) -> None:
    """It shows what changes."""
    assert len(argument.fact.example) <= 160
    assert example_of(argument) != argument.default
    ast.parse(argument.fact.example, mode="eval")


@pytest.mark.parametrize("argument", ARGUMENTS, ids=named)
def test_the_constructor_accepts_the_example(argument: Argument) -> None:
    """The example of the page is what an author may write."""
    with_example(argument)


@pytest.mark.parametrize("argument", [one for one in ARGUMENTS if one.name not in ASK_OTHERS], ids=named)
def test_a_run_accepts_the_example(argument: Argument, capsys: pytest.CaptureFixture[str]) -> None:
    """It passes the checks that follow rendering as well."""
    assert made(with_example(argument), capsys).documents


@pytest.mark.parametrize("argument", WITH_FIELDS, ids=named)
def test_the_argument_sets_its_fields(argument: Argument, capsys: pytest.CaptureFixture[str]) -> None:
    """Each field that the page names is in the objects, and differs from what the default makes."""
    without = made(an_operator(argument.operator), capsys)
    having = made(with_example(argument), capsys)
    assert [field for field in argument.fact.fields if having.at(field) in (None, without.at(field))] == []


@pytest.mark.parametrize("argument", WITH_MODELS, ids=named)
def test_models_are_accepted_like_dicts(argument: Argument, capsys: pytest.CaptureFixture[str]) -> None:
    """The model that the page names makes the same objects."""
    model = re.findall(r"V1\w+", argument.shape)[0]
    of_model = as_model(example_of(argument), model)
    assert made(with_example(argument), capsys) == made(with_example(argument, **{argument.name: of_model}), capsys)


@pytest.mark.parametrize("argument", [one for one in ARGUMENTS if one.is_templated], ids=named)
def test_a_templated_argument_accepts_another_tasks_output(argument: Argument) -> None:
    """It is checked when the task runs, and the task waits for the other one."""
    with DAG("outputs", schedule=None):
        other = an_operator("script", task_id="extract")
        needed = NEEDED.get(argument.name, {})
        task = an_operator(argument.operator, **needed, **{argument.name: other.output["value"]})
    assert task.upstream_task_ids == {"extract"}


@pytest.mark.parametrize(("operator", "name"), REQUIRED)
def test_a_required_argument_is_asked_for(operator: str, name: str) -> None:
    """The signature has None, so that the error is ours."""
    with pytest.raises(ValueError, match=f"{name} is missing"):
        an_operator(operator, **{name: None})


@pytest.mark.parametrize("kind", OPERATORS.values())
def test_the_description_has_no_list(kind: type) -> None:
    """Of the docstring, the page keeps what stands in front of the arguments."""
    kept = without_arguments(inspect.getdoc(kind).splitlines())  # type: ignore[union-attr]  # it has one
    assert kept[0].startswith("Run a script")
    assert "return_value" in " ".join(kept)
    assert not re.search(r":param|Each argument", "\n".join(kept))
