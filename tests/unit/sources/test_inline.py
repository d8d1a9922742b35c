"""A script that is given as text."""

from __future__ import annotations

from airflow_script_provider.script import Script
from airflow_script_provider.sources import InlineScript


def test_the_text_is_the_script() -> None:
    """The text is neither stripped nor dedented (R24)."""
    assert InlineScript("  echo\r\n", name="x.sh").fetch() == Script("  echo\r\n", origin="inline", name="x.sh")


def test_by_default_nothing_is_rendered() -> None:
    """By default Jinja does not read the text (R24)."""
    assert InlineScript("echo ${#arr[@]}").template_fields == ()


def test_with_template_the_text_is_rendered() -> None:
    """``template`` renders the text."""
    assert InlineScript("echo {{ x }}", template=True).template_fields == ("text",)


def test_it_is_shown_as_its_size() -> None:
    """A DAG shows the text's size, because the text may hold a secret (R26)."""
    assert str(InlineScript("password=ü")) == "inline script, 11 bytes"


def test_a_task_shows_its_text() -> None:
    """The page Rendered Templates shows the text; the stored DAG has its size."""
    script = InlineScript("echo ${#arr[@]}")
    assert (script.serialize(), script.shown().serialize()) == (str(script), "echo ${#arr[@]}")


def test_a_text_with_values_in_it_is_not_shown() -> None:
    """A rendered text may contain secrets, so it is not shown (R26)."""
    script = InlineScript("password=hunter2", template=True)
    assert script.shown().serialize() == str(script)
