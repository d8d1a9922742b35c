"""The pages are compared with the code that they describe."""

from __future__ import annotations

import inspect
import re

import pytest
import yaml
from airflow.configuration import conf

from airflow_script_provider import exceptions
from airflow_script_provider.clusters.access import ClusterAccess
from airflow_script_provider.kube.request.options import JobOptions
from airflow_script_provider.provider_info import get_provider_info
from airflow_script_provider.result import ScriptResult
from benchmarks.tables import table
from tests.docs.markdown import ROOT, commands, page

RIGHTS = table(page("docs/reference/rights.md"), "right")
PAGES = [file.read_text() for file in (ROOT / "docs").rglob("*.md")]
SETTINGS = sorted({found for text in PAGES for found in re.findall(r"`\[(\w+)\] (\w+)", text)})
COLUMNS = {"job.yaml": "[Job](#a-script-as-a-job)", "exec.yaml": "[exec](#in-a-running-pod)"}
OF_NODES = "[nodes](#on-nodes)"


@pytest.mark.parametrize(("manifest", "column"), COLUMNS.items())
def test_the_table_of_rights_is_what_the_role_grants(manifest: str, column: str) -> None:
    """The table and the Role have the same rights (R17)."""
    assert _in_table(column) == _granted(manifest)


def test_the_table_of_rights_for_nodes_is_what_both_roles_grant() -> None:
    """Nodes need the Role for Jobs and the ClusterRole (R17)."""
    assert _in_table(OF_NODES) == _granted("job.yaml") | _granted("nodes.yaml")


def test_every_field_of_the_connection_is_documented() -> None:
    """The table has every field of a connection that the code reads."""
    read = set(re.findall(r'field\("(\w+)"\)', inspect.getsource(ClusterAccess.from_extra)))
    rows = table(page("docs/reference/connection.md"), "field of the connection's extra")
    assert {row["field of the connection's extra"].strip("`") for row in rows} == read


def test_every_key_of_the_result_is_documented() -> None:
    """The table of the result has its keys and no others."""
    rows = table(page("docs/reference/result.md"), "key")
    assert {key for row in rows for key in re.findall(r"`(\w+)`", row["key"])} == set(ScriptResult.__dataclass_fields__)


def test_every_decorator_is_documented() -> None:
    """The table has the decorators' names and modules, as the provider registers them with Airflow."""
    rows = table(page("docs/reference/decorators.md"), "in a DAG")
    documented = {(row["in a DAG"].strip("`@"), row[next(reversed(row))].strip("`")) for row in rows}
    package = "airflow_script_provider.decorators."
    known = get_provider_info()["task-decorators"]
    assert documented == {(f"task.{entry['name']}", entry["class-name"].removeprefix(package)) for entry in known}


@pytest.mark.parametrize(("section", "option"), SETTINGS)
def test_a_named_setting_exists(section: str, option: str) -> None:
    """A setting that a page names is one of Airflow or of this provider."""
    known = conf.configuration_description | get_provider_info()["config"]
    assert option in known[section]["options"]


def test_the_tables_of_clocks_have_every_timeout() -> None:
    """With its default; and the Job's deadline is the sum of those that it guards (R5)."""
    text, options = page("docs/howto/retries-and-timeouts.md"), JobOptions()
    rows = {row["Argument"].strip("`"): row["Default"] for row in table(text, "Argument")}
    given = {name: f"{getattr(options, name)} s" for name in rows if hasattr(options, name)}
    assert rows == given | {"execution_timeout": "none"}
    assert [row["Clock"].strip("`") for row in table(text, "Clock")] == list(rows)
    assert f"by default {options.checked().longest_run} s" in text


def test_every_error_is_in_the_tree() -> None:
    """The tree in the docstring, which the page shows, has every class."""
    classes = {name for name, thing in vars(exceptions).items() if inspect.isclass(thing) and name.endswith("Error")}
    assert classes == set(re.findall(r"(?:── |^)(\w+Error)", exceptions.__doc__ or "", re.MULTILINE)) | {
        "ScriptProviderError"
    }


def test_the_quickstart_is_the_readme() -> None:
    """The quickstart has the README's commands, except the tests, which a user does not run."""
    section = page("README.md").partition("## Try it")[2].partition("\n## ")[0]
    of_readme = [command for command in commands(section) if command != "make test"]
    assert of_readme
    assert set(of_readme) <= set(commands(page("docs/quickstart.md")))


def test_the_targets_of_the_quickstart_exist() -> None:
    """The Makefile has every target that the quickstart names."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {line.split()[1] for line in commands(page("docs/quickstart.md")) if line.startswith("make ")}
    assert named
    assert named <= targets


def _in_table(column: str) -> set[tuple[str, str]]:
    rights = [row["right"] for row in RIGHTS if row[column]]
    return {
        (resource, verb)
        for right in rights
        for resource in re.findall(r"`([^`]+)`", right)
        for verb in re.sub(r"`[^`]+`,?|\(.*\)", "", right).replace(",", " ").split()
    }


def _granted(manifest: str) -> set[tuple[str, str]]:
    role = yaml.safe_load((ROOT / "docs/reference/rbac" / manifest).read_text())
    return {(resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
