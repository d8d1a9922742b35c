"""Sources of the argument ``script``."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_script_provider.sources import FileScript, GCSScript, HttpScript, InlineScript, S3Script, ScriptSource
from airflow_script_provider.sources.parse import is_one_expression, parse, parse_file


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
    """Text that is neither URI nor path is the script, unchanged."""
    assert parse(text) == InlineScript(text)


@pytest.mark.parametrize("uri", ["file:///x.py", "file://scripts/x.py", "  file:///x.py\n", "FILE:///x.py"])
def test_a_one_line_uri_is_a_source(uri: str) -> None:
    """One line with a scheme is a source."""
    assert parse(uri) == FileScript(uri.strip())


@pytest.mark.parametrize(
    ("uri", "source"),
    [
        ("https://h/x.py", HttpScript("https://h/x.py")),
        ("HTTP://h/x.py", HttpScript("HTTP://h/x.py")),
        ("s3://b/x.py", S3Script("s3://b/x.py")),
        ("gs://b/{{ ds }}.py", GCSScript("gs://b/{{ ds }}.py")),
    ],
)
def test_a_uri_has_the_source_of_its_scheme(uri: str, source: ScriptSource) -> None:
    """Each scheme has its source, with that source's default connection."""
    assert parse(uri) == source


@pytest.mark.parametrize("uri", ["https://h/x.py", "s3://b/x.py", "gs://b/x.py"])
def test_a_uri_is_read_with_the_connection(uri: str) -> None:
    """``script_conn_id`` becomes the source's connection."""
    source = parse(uri, conn_id="mine")
    assert isinstance(source, HttpScript | S3Script | GCSScript)
    assert source.conn_id == "mine"


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo hi", "the script is text"),
        ("file:///x.py", "a file:// script needs no connection"),
        (S3Script("s3://b/x.py"), "S3Script(…) has its own conn_id"),
    ],
)
def test_a_connection_without_use_is_refused(script: Any, why: str) -> None:
    """An argument that cannot work is refused (R29)."""
    with pytest.raises(ValueError, match="script_conn_id='mine' has no effect: ") as refusal:
        parse(script, conn_id="mine")
    assert why in str(refusal.value)


def test_a_source_stays_what_it_is() -> None:
    """A source object is used unchanged."""
    source = FileScript("x.py")
    assert parse(source) is source


@pytest.mark.parametrize("path", ["scripts/etl.py", "/opt/etl.sh", "etl.sql"])
def test_a_path_is_not_run_as_text(path: str) -> None:
    """The error for a path has the two ways to write a file."""
    with pytest.raises(ValueError, match="would run as text, not as a file; for a file write file://") as refusal:
        parse(path)
    assert f"FileScript({path!r})" in str(refusal.value)


def test_an_unknown_scheme_names_the_known_ones() -> None:
    """The error lists the known schemes."""
    with pytest.raises(
        ValueError, match="has the unknown scheme ftp://; known schemes: file://, http://, https://, s3://"
    ):
        parse("ftp://example.com/x.py")


def test_a_uri_that_is_refused_is_shown_without_its_login() -> None:
    """An error is shown in the log (R26)."""
    with pytest.raises(ValueError, match=r"script='ftp://example\.com/x\.py' has the unknown scheme"):
        parse("ftp://bob:hunter2@example.com/x.py")


@pytest.mark.parametrize("text", ["", " \n"])
def test_blank_text_is_no_script(text: str) -> None:
    """A blank script is a mistake."""
    with pytest.raises(ValueError, match="script is empty"):
        parse(text)


@pytest.mark.parametrize("script", [None, 3, b"echo", ["echo"]])
def test_other_types_are_refused(script: Any) -> None:
    """The error names the type."""
    with pytest.raises(TypeError, match=f"not {type(script).__name__}"):
        parse(script)


def test_text_is_rendered_only_where_that_is_asked_for() -> None:
    """``template`` sets the text's template (R24)."""
    assert parse("echo {{ x }}", template=True) == InlineScript("echo {{ x }}", template=True)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [("{{ params.script }}", True), (" {{ x }}\n", True), ("echo {{ x }}", False), ("{{ a }}{{ b }}", False)],
)
def test_one_expression_is_decided_when_rendered(text: str, is_one: bool) -> None:
    """One Jinja expression may become a text or a URI."""
    assert is_one_expression(text) is is_one


@pytest.mark.parametrize("source", [FileScript("x"), InlineScript("x"), HttpScript("x"), S3Script("x"), GCSScript("x")])
def test_sources_fulfil_the_protocol(source: ScriptSource) -> None:
    """Each source has template fields and can fetch."""
    assert isinstance(source, ScriptSource)


@pytest.mark.parametrize("text", ["", "\n"])
def test_a_file_may_be_empty(text: str) -> None:
    """A file beside the script may be empty, such as ``__init__.py``."""
    assert parse_file(text, "lib/__init__.py") == InlineScript(text)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("schema.sql", "files['data.py']='schema.sql' would run as text"),
        ("ftp://x/y", "files['data.py']='ftp://x/y' has the unknown scheme ftp://"),
        (5, "files['data.py'] must be text, a URI or a source"),
    ],
)
def test_a_bad_file_is_named(file: Any, words: str) -> None:
    """The error names the file, not the script."""
    with pytest.raises((TypeError, ValueError)) as refusal:
        parse_file(file, "data.py")
    assert str(refusal.value).startswith(words)
