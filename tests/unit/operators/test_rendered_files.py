"""Files of the worker that a run names, and not the DAG: only those of the DAG's folder are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_script_provider.decorators.script import kubernetes_script_task
from airflow_script_provider.exceptions import ScriptSourceError
from airflow_script_provider.kube.request.inputs import ScriptInputs
from airflow_script_provider.operators.exec import KubernetesExecScriptOperator
from airflow_script_provider.operators.node import KubernetesNodeScriptOperator
from airflow_script_provider.operators.script import KubernetesScriptOperator
from airflow_script_provider.sources import FileScript
from airflow_script_provider.sources.fetching import fetch

CLUSTER: dict[str, Any] = {"task_id": "load", "kubernetes_conn_id": None, "config_file": "/none"}
OPERATORS: dict[str, Callable[..., Any]] = {
    "job": KubernetesScriptOperator,
    "exec": lambda **arguments: KubernetesExecScriptOperator(deployment="web", **arguments),
    "node": lambda **arguments: KubernetesNodeScriptOperator(all_nodes=True, **arguments),
}


@pytest.fixture
def dags(tmp_path: Path) -> Path:
    """The folder of a DAG, which has scripts; beside it lie files of the worker's own."""
    for path in ("dags/in.sh", "dags/scripts/a.sh", "opt/scripts/a.sh", "opt/secret.sh", "outside.sh"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(f"echo {path}")
    (tmp_path / "dags" / "link.sh").symlink_to("../outside.sh")
    (tmp_path / "dags" / "inner.sh").symlink_to("scripts/a.sh")
    (tmp_path / "linked").symlink_to("dags")
    return tmp_path / "dags"


def read(operator: Any, folder: Path, **names: Any) -> str:
    """What the worker reads once Airflow has rendered the operator: the files' texts, or the script's."""
    operator.render_template_fields(names)
    script, files = fetch(ScriptInputs(script=operator.script, files=operator.files), str(folder))
    return "".join(file.text for file in files.values()) or (script.text if script else "")


def refusal(operator: Any, folder: Path, **names: Any) -> ScriptSourceError:
    """The error of a file that the worker may not read."""
    with pytest.raises(ScriptSourceError) as error:
        read(operator, folder, **names)
    return error.value


@pytest.mark.parametrize("kind", OPERATORS)
@pytest.mark.parametrize("place", ["script", "file", "files"])
@pytest.mark.parametrize(
    "uri", ["file://{0}/outside.sh", "file://../outside.sh", "file://{0}/dags/%2e%2e/outside.sh", "FILE://link.sh"]
)
def test_a_uri_that_a_run_gives_does_not_leave_the_dags_folder(dags: Path, kind: str, place: str, uri: str) -> None:
    """Neither by an absolute path, ``..`` nor a symbolic link; the error names the way out, and is permanent (R26)."""
    given: Any = uri.format(dags.parent)
    scripts: dict[str, Any] = {
        "script": {"script": "{{ x }}"},
        "file": {"script": "echo", "files": {"a.sh": "{{ x }}"}},
        "files": {"script": "echo", "files": AnOutput({"a.sh": given})},
    }
    error = refusal(OPERATORS[kind](**scripts[place], **CLUSTER), dags, x=given)
    assert f"may not be read: it is not in {dags}" in str(error).split("\n")[0]
    assert "Write the folder into the DAG" in str(error)
    assert not error.retryable


class AnOutput:
    """Another task's output, as Airflow resolves it."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def iter_references(self) -> Any:
        """No task has to run before."""
        return iter(())

    def resolve(self, _: Any) -> Any:
        """The output."""
        return self.value

    def __call__(self, **_: Any) -> Any:
        """What Airflow's rendering calls."""
        return self.value


@pytest.mark.parametrize("given", ["file://in.sh", "file://scripts/../in.sh", "file://{0}/in.sh", "file://./in.sh"])
def test_a_uri_that_a_run_gives_reads_the_dags_own_files(dags: Path, given: str) -> None:
    """Also where the folder itself is a symbolic link, as git-sync makes it."""
    operator = KubernetesScriptOperator(script="{{ x }}", **CLUSTER)
    assert read(operator, dags, x=given.format(dags)) == "echo dags/in.sh"
    operator = KubernetesScriptOperator(script="{{ x }}", **CLUSTER)
    assert read(operator, dags.parent / "linked", x=given.format(dags)) == "echo dags/in.sh"


def test_a_link_within_the_folder_is_followed(dags: Path) -> None:
    """It leads to a file that the run may read."""
    assert read(KubernetesScriptOperator(script="{{ x }}", **CLUSTER), dags, x="file://inner.sh") == (
        "echo dags/scripts/a.sh"
    )


def test_the_working_directory_is_not_looked_into(dags: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a path that is written in the DAG is also looked for there."""
    monkeypatch.chdir(dags.parent)
    operator = KubernetesScriptOperator(script="{{ x }}", **CLUSTER)
    assert "outside.sh' does not exist; tried" in str(refusal(operator, dags, x="file://outside.sh"))


@pytest.mark.parametrize(
    ("written", "x", "expected"),
    [
        ("file://{0}/opt/scripts/{{{{ x }}}}", "a.sh", "echo opt/scripts/a.sh"),
        ("file://{0}/opt/{{{{ x }}}}/a.sh", "scripts", "echo opt/scripts/a.sh"),
        ("file://{0}/opt/s{{{{ x }}}}", "ecret.sh", "echo opt/secret.sh"),
        ("file://../opt/scripts/{{{{ x }}}}", "a.sh", "echo opt/scripts/a.sh"),
        ("file://scripts/{{{{ x }}}}.sh", "a", "echo dags/scripts/a.sh"),
        ("file:///{{{{ x }}}}", "{0}/dags/in.sh", "echo dags/in.sh"),
        ("file://{{% if 1 %}}in{{% endif %}}.sh", "", "echo dags/in.sh"),
        ("file://{0}/opt/scripts/{{{{ x }}}}", "../secret.sh", None),
        ("file://{0}/opt/scripts/{{{{ x }}}}", "/../../outside.sh", None),
        ("file://scripts/{{{{ x }}}}", "../in.sh", None),
        ("file:///{{{{ x }}}}", "{0}/outside.sh", None),
        ("file://{{{{ x }}}}", "{0}/opt/secret.sh", None),
        ("file://{{# {0}/ #}}{{{{ x }}}}", "{0}/opt/secret.sh", None),
    ],
)
def test_a_template_stays_in_the_folder_before_it(dags: Path, written: str, x: str, expected: str | None) -> None:
    """The author's folder holds for what a template adds; without one it is the DAG's (R26)."""
    for script in (written.format(dags.parent), FileScript(written.format(dags.parent))):
        operator = KubernetesScriptOperator(script=script, **CLUSTER)
        value = x.format(dags.parent)
        if expected is None:
            assert "may not be read: it is not in" in str(refusal(operator, dags, x=value))
        else:
            assert read(operator, dags, x=value) == expected


def test_a_mapping_of_the_script_tool_is_confined(dags: Path) -> None:
    """Whether its ``uri`` or all of it comes from the run."""
    written = {"type": "file", "uri": "{{ x }}"}
    outside = f"file://{dags.parent}/outside.sh"
    assert "not in" in str(refusal(KubernetesScriptOperator(script=written, **CLUSTER), dags, x=outside))
    output: Any = AnOutput({"type": "file", "uri": outside})
    assert "not in" in str(refusal(KubernetesScriptOperator(script=output, **CLUSTER), dags))


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("file://{0}/outside.sh", "echo outside.sh"),
        ("file://{0}/opt/scripts/{{{{ name }}}}", "echo opt/scripts/a.sh"),
        ("file://{0}/opt/scripts/{{{{ up }}}}", None),
        ("{{{{ outside }}}}", None),
    ],
)
def test_a_mapping_whose_type_is_a_template_is_confined(dags: Path, uri: str, expected: str | None) -> None:
    """As one whose type is written (R26)."""
    script = {"type": "{{ kind }}", "uri": uri.format(dags.parent)}
    names = {"kind": "file", "name": "a.sh", "up": "../secret.sh", "outside": f"file://{dags.parent}/outside.sh"}
    operator = KubernetesScriptOperator(script=script, **CLUSTER)
    if expected is None:
        assert "not in" in str(refusal(operator, dags, **names))
    else:
        assert read(operator, dags, **names) == expected


def test_a_path_that_another_task_gives_is_confined(dags: Path) -> None:
    """Also where the author wrote the source around it."""
    output: Any = AnOutput(f"{dags.parent}/outside.sh")
    files = {"a.sh": FileScript(output)}
    assert "not in" in str(refusal(KubernetesScriptOperator(script=FileScript(output), **CLUSTER), dags))
    assert "not in" in str(refusal(KubernetesScriptOperator(script="echo", files=files, **CLUSTER), dags))


def test_what_the_dag_names_is_read(dags: Path) -> None:
    """A path without a template is the author's own, wherever it is."""
    files = {"a": f"file://{dags.parent}/outside.sh", "b": FileScript("../opt/secret.sh"), "c": "file://link.sh"}
    operator = KubernetesScriptOperator(script="echo", files=files, **CLUSTER)
    assert read(operator, dags) == "echo outside.shecho opt/secret.shecho outside.sh"


def test_a_function_returns_a_text_or_a_source(dags: Path) -> None:
    """A text may be what the run was triggered with; a ``FileScript`` is written in the function."""

    def of(build: Callable[[], Any]) -> Any:
        with DAG("etl"):
            decorated: Any = kubernetes_script_task(**CLUSTER)(build)
            operator = decorated().operator
        operator.take_script({})
        return operator.script

    outside = f"{dags.parent}/outside.sh"
    assert of(lambda: "file://in.sh").fetch(folder=str(dags)).text == "echo dags/in.sh"
    assert of(lambda: FileScript(outside)).fetch(folder=str(dags)).text == "echo outside.sh"
    with pytest.raises(ScriptSourceError, match="may not be read: it is not in"):
        of(lambda: f"file://{outside}").fetch(folder=str(dags))


@pytest.mark.parametrize("is_mapping", [True, False])
@pytest.mark.parametrize("is_written", [True, False])
def test_a_mapped_task_reads_what_the_dag_names(dags: Path, is_written: bool, is_mapping: bool) -> None:
    """``expand`` may be given paths of the DAG's author, or another task's output."""
    outside: Any = f"file://{dags.parent}/outside.sh"
    if is_mapping:
        outside = {"type": "{{ 'file' }}", "uri": outside}
    with DAG("etl", schedule=None):
        given: Any = [outside]
        if not is_written:
            given = task(task_id="choose")(lambda: [outside])()
        mapped = KubernetesScriptOperator.partial(**CLUSTER).expand(script=given)
    operator: Any = mapped.unmap({"script": outside})
    operator._do_render_template_fields(operator, operator.template_fields, {}, operator.get_template_env(), set())
    if is_written:
        assert operator.script.fetch(folder=str(dags)).text == "echo outside.sh"
    else:
        with pytest.raises(ScriptSourceError, match="may not be read"):
            operator.script.fetch(folder=str(dags))


def test_without_a_dags_folder_nothing_is_read(dags: Path) -> None:
    """Then no folder holds files that a run may choose."""
    with pytest.raises(ScriptSourceError, match="it is not in the folder of a DAG"):
        FileScript("in.sh").confined().fetch()
