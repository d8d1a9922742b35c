"""From what the author wrote for ``script`` to a source."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_script_provider.sources import FileScript, InlineScript, ScriptSource
from airflow_script_provider.sources.parse import is_one_expression, parse


@pytest.mark.parametrize(
    "text",
    [
        "echo hi",
        "print('hi')\n",
        "ls",
        "a.py\nb.py",
        "curl https://example.com/x.py",
        "echo file://x",
        "# see\nfile:///x.py",
        "python etl.py",
    ],
)
def test_text_is_a_script(text: str) -> None:
    """What is neither URI nor path is the script itself, unchanged."""
    assert parse(text) == InlineScript(text)


@pytest.mark.parametrize("uri", ["file:///x.py", "file://scripts/x.py", "  file:///x.py\n", "FILE:///x.py"])
def test_a_one_line_uri_is_a_source(uri: str) -> None:
    """A single line with a scheme is where the script lies."""
    assert parse(uri) == FileScript(uri.strip())


def test_a_source_stays_what_it_is() -> None:
    """A source object is taken as it is."""
    source = FileScript("x.py")
    assert parse(source) is source


@pytest.mark.parametrize("path", ["scripts/etl.py", "/opt/etl.sh", "etl.sql"])
def test_a_path_is_not_run_as_text(path: str) -> None:
    """A path where text is meant gets the two ways to write a file."""
    with pytest.raises(ValueError, match="would be run as script text; for a file write file://") as refusal:
        parse(path)
    assert f"FileScript({path!r})" in str(refusal.value)


def test_an_unknown_scheme_names_the_known_ones() -> None:
    """A URI that no source reads is refused."""
    with pytest.raises(ValueError, match="has the scheme ftp://, which no source reads; known are file://"):
        parse("ftp://example.com/x.py")


@pytest.mark.parametrize("text", ["", " \n"])
def test_blank_text_is_no_script(text: str) -> None:
    """An empty script is a mistake."""
    with pytest.raises(ValueError, match="script is empty"):
        parse(text)


@pytest.mark.parametrize("script", [None, 3, b"echo", ["echo"]])
def test_other_types_are_refused(script: Any) -> None:
    """The type is named."""
    with pytest.raises(TypeError, match=f"not {type(script).__name__}"):
        parse(script)


def test_text_is_rendered_only_where_that_is_asked_for() -> None:
    """``template`` reaches the text (R24)."""
    assert parse("echo {{ x }}", template=True) == InlineScript("echo {{ x }}", template=True)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [("{{ params.script }}", True), (" {{ x }}\n", True), ("echo {{ x }}", False), ("{{ a }}{{ b }}", False)],
)
def test_one_expression_is_decided_when_rendered(text: str, is_one: bool) -> None:
    """What is nothing but an expression may turn out to be a text or a URI."""
    assert is_one_expression(text) is is_one


@pytest.mark.parametrize("source", [FileScript("x"), InlineScript("x")])
def test_sources_fulfil_the_protocol(source: ScriptSource) -> None:
    """Each has template fields and can fetch."""
    assert isinstance(source, ScriptSource)
