"""How often a script is parsed on its way from the author to the Job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_script_provider.decorators import _returned
from airflow_script_provider.decorators.script import DecoratedKubernetesScriptOperator
from airflow_script_provider.hooks.script import KubernetesScriptHook
from airflow_script_provider.operators import _fields
from airflow_script_provider.operators.script import KubernetesScriptOperator
from airflow_script_provider.sources import FileScript, InlineScript, fetching
from airflow_script_provider.sources import parse as parsing

TEXT = "print('hi')\n"
CLUSTER: dict[str, Any] = {"kubernetes_conn_id": None, "namespace": "etl"}


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Everything that was parsed, in this order."""
    found: list[Any] = []
    parse = parsing.parse

    def counted(script: Any, **how: Any) -> Any:
        found.append(script)
        return parse(script, **how)

    for module in (parsing, fetching, _fields, _returned):
        monkeypatch.setattr(module, "parse", counted)
    return found


@pytest.mark.parametrize(
    "script",
    [
        TEXT,
        "file:///{folder}/x.py",
        "{{{{ params.script }}}}",
        {"uri": "file:///{folder}/x.py", "source": {"type": "file"}},
    ],
    ids=["text", "URI", "template", "mapping"],
)
def test_an_operator_parses_its_script_once(script: Any, parsed: list[Any], tmp_path: Path) -> None:
    """In its constructor, or after rendering if that decides what the script is."""
    (tmp_path / "x.py").write_text(TEXT)
    script = script.format(folder=tmp_path) if isinstance(script, str) else script | {"uri": f"file://{tmp_path}/x.py"}
    operator = KubernetesScriptOperator(task_id="load", script=script, **CLUSTER)
    operator.render_template_fields({"params": {"script": TEXT}})
    operator.dry_run()
    assert len(parsed) == 1


def test_an_operator_parses_each_file_once(parsed: list[Any]) -> None:
    """As its script."""
    operator = KubernetesScriptOperator(
        task_id="load", script=TEXT, files={"a.sh": "echo a", "b.sh": "echo b"}, **CLUSTER
    )
    operator.render_template_fields({})
    operator.dry_run()
    assert sorted(parsed) == ["echo a", "echo b", TEXT]


def test_a_function_returns_a_script_that_is_parsed_once(parsed: list[Any]) -> None:
    """When it was called, and not again before the script is read."""
    operator = DecoratedKubernetesScriptOperator(task_id="load", python_callable=lambda: TEXT, **CLUSTER)
    operator.render_template_fields({})
    operator.dry_run()
    assert parsed == [TEXT]


def test_a_hook_parses_what_is_no_source_yet(parsed: list[Any]) -> None:
    """A caller of the hook may give text; a source is taken as it is."""
    hook = KubernetesScriptHook(None, config_file="/none")
    hook.prepare(TEXT, files={"a.sh": "echo a"})
    hook.prepare(InlineScript(TEXT), files={"b.sh": InlineScript("echo b")})
    assert parsed == [TEXT, "echo a"]


def test_a_source_and_a_connection_beside_it_are_refused() -> None:
    """A source names its own connection."""
    with pytest.raises(ValueError, match=r"script_conn_id='aws' has no effect: FileScript\(…\) has its own conn_id"):
        KubernetesScriptHook(None, config_file="/none").prepare(FileScript("/x.py"), script_conn_id="aws")
