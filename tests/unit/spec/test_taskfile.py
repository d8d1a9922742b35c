"""Task files and the tasks in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from airflow_script_provider.spec.taskfile import Component, TaskSettings, is_task_file, read_task
from airflow_script_provider.spec.text import read_yaml

MIGRATE = read_yaml("""
tasks:
  migrate:
    script: npx prisma migrate deploy
    executors: [container, local, kubernetes]
    component: api
    env: {DATABASE_URL: "${env:DATABASE_URL:-postgresql://localhost/dev}", PORT: 5432, DEBUG: true}
    working_dir: /app
    interactive: true
kubernetes: {namespace: dev, context: minikube}
components:
  api:
    kubernetes: {deployment: api-server, container: web}
flavors:
  staging:
    patch:
      - {op: add, path: /kubernetes/namespace, value: staging}
      - {op: replace, path: /components/api/kubernetes/deployment, value: api-blue}
""")


def a_file(task: Mapping[str, Any] | None = None, **rest: Any) -> dict[str, Any]:
    """A file with the one task ``migrate``."""
    return {"tasks": {"migrate": {"script": "true"} | dict(task or {})}} | rest


def refusal(document: Any, name: str | None = None, flavor: str | None = None) -> str:
    """Why a file is refused."""
    with pytest.raises(ValueError, match=r".") as refused:
        read_task(document, name, {}, flavor=flavor)
    return str(refused.value)


def test_everything_that_a_task_says() -> None:
    """A task may have every setting of the format."""
    assert read_task(MIGRATE, "migrate", {}) == TaskSettings(
        name="migrate",
        script="npx prisma migrate deploy",
        executors=("container", "local", "kubernetes"),
        component=Component("api-server", "web", "api", None),
        env={"DATABASE_URL": "postgresql://localhost/dev", "PORT": "5432", "DEBUG": "true"},
        working_dir="/app",
        interactive=True,
        namespace="dev",
        context="minikube",
    )


def test_a_flavor_patches_the_file() -> None:
    """A flavor is a JSON Patch of the whole file."""
    task = read_task(MIGRATE, "migrate", {}, flavor="staging")
    assert (task.namespace, task.component) == ("staging", Component("api-blue", "web", "api", None))


def test_a_flavor_may_add_to_what_the_file_has_not() -> None:
    """A flavor may add to a section that the file lacks."""
    patch = [{"op": "add", "path": "/kubernetes/namespace", "value": "x"}]
    assert read_task(a_file(flavors={"x": {"patch": patch}}), None, {}, flavor="x").namespace == "x"


def test_a_flavor_leaves_the_file_as_it_is() -> None:
    """Reading with a flavor does not change the document for the next reading."""
    read_task(MIGRATE, "migrate", {}, flavor="staging")
    assert read_task(MIGRATE, "migrate", {}).namespace == "dev"


def test_a_component_is_called_the_same_everywhere() -> None:
    """Deployment and Compose service have the component's name by default."""
    assert read_task(a_file({"component": "api"}), None, {}).component == Component("api", None, "api", None)


def test_variables_are_substituted_in_any_string() -> None:
    """``${env:NAME}`` is replaced at every level; a default replaces an empty value."""
    task = a_file({"script": "echo ${env:A} ${env:B:-b} $${env:C}", "args": {"list": ["${env:EMPTY:-e}", 1]}})
    found = read_task(task, None, {"A": "a", "EMPTY": ""})
    assert (found.script, found.args) == ("echo a b ${env:C}", {"list": ["e", 1]})


def test_only_what_is_used_must_be_set() -> None:
    """Variables of another task, another component and another flavor need not be set."""
    file = a_file(components={"web": {"kubernetes": {"deployment": "${env:MISSING}"}}})
    file["tasks"]["other"] = {"script": "${env:MISSING}"}
    assert read_task(file, "migrate", {}).script == "true"


def test_executor_is_a_list_of_one() -> None:
    """``executor`` is the short form of ``executors``."""
    assert read_task(a_file({"executor": "local"}), None, {}).executors == ("local",)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ({"script": None}, "tasks.migrate has no script"),
        ({"scrpt": "x"}, "tasks.migrate has an unknown key 'scrpt'; did you mean 'script'?"),
        ({"executors": ["kubernets"]}, "tasks.migrate.executors has 'kubernets'; did you mean 'kubernetes'?"),
        ({"executors": []}, "tasks.migrate.executors is empty"),
        ({"executors": ["local"], "executor": "local"}, "has executor and executors; keep one"),
        ({"script": "${env:NOT_SET}"}, "tasks.migrate.script needs the environment variable NOT_SET"),
        ({"interactive": "yes"}, "tasks.migrate.interactive must be true or false"),
        ({"env": {"A": None}}, "tasks.migrate.env.A must be text, not NoneType"),
        ({"env": ["A=b"]}, "tasks.migrate.env must be a mapping, not list"),
        ({"files": ["x"]}, "tasks.migrate.files must be a mapping, not list"),
        ({"arguments": "x"}, "tasks.migrate.arguments must be a list, not str"),
        ({"interpreter": ["sh", 5]}, "tasks.migrate.interpreter must be a list of strings, not of int: quote 5"),
        ({"working_dir": 5}, "tasks.migrate.working_dir must be text, not int"),
        ({"image": ["x"]}, "tasks.migrate.image must be text, not list"),
        ({"component": "apy"}, "tasks.migrate.component is 'apy'; did you mean 'api'?; components: api"),
    ],
)
def test_refused_tasks(task: dict[str, Any], words: str) -> None:
    """The error names the place of a mistake in a task."""
    assert words in refusal(a_file(task, components={"api": {}}))


@pytest.mark.parametrize(
    ("document", "name", "flavor", "words"),
    [
        (MIGRATE, "migrat", None, "the task file has no task 'migrat'; did you mean 'migrate'?; tasks: migrate"),
        ({"tasks": {"a": {}, "b": {}}}, None, None, "no task is named; the task file has a, b"),
        (
            MIGRATE,
            "migrate",
            "stagng",
            "the task file has no flavor 'stagng'; did you mean 'staging'?",
        ),
        (a_file(task=None, tsks={}), None, None, "task file has an unknown key 'tsks'"),
        (a_file(kubernetes={"ns": "x"}), None, None, "kubernetes has an unknown key 'ns'"),
        (a_file(kubernetes={"namespace": 5}), None, None, "kubernetes.namespace must be text, not int"),
        (a_file(flavors={"x": {"patch": [{"op": "remove", "path": "/tasks/none"}]}}), None, "x", "flavors.x.patch"),
        (a_file(flavors={"x": {"patch": [{"path": "/tasks"}]}}), None, "x", "flavors.x.patch cannot be applied"),
        (a_file(flavors={"x": {"patch": ["no"]}}), None, "x", "flavors.x.patch cannot be applied"),
    ],
)
def test_refused_files(document: Any, name: str | None, flavor: str | None, words: str) -> None:
    """The error names the place of a mistake in a file."""
    assert words in refusal(document, name, flavor)


def test_a_patch_that_misses_does_not_show_the_file() -> None:
    """The error names the missing key; the file's values may be secrets (R26)."""
    patch = {"patch": [{"op": "replace", "path": "/nowhere/x", "value": 1}]}
    said = refusal(a_file({"env": {"TOKEN": "secret"}}, flavors={"x": patch}), flavor="x")
    assert said == "flavors.x.patch cannot be applied: member 'nowhere' not found"


def test_names_may_look_like_numbers() -> None:
    """YAML reads 2024 as a number; names of tasks and components are text."""
    file = {"tasks": {2024: {"script": "true", "component": 5}}, "components": {5: {"container": {"service": "s"}}}}
    found = read_task(file, "2024", {})
    assert (found.name, found.component) == ("2024", Component("5", None, "s", None))


def test_a_step_is_no_task_file() -> None:
    """A document with ``tasks`` is a task file; a step of the Script tool has none."""
    assert is_task_file(MIGRATE)
    assert not is_task_file({"step": "x", "tool": {"kind": "script"}})
