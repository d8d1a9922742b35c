"""The script's text itself."""

from __future__ import annotations

from airflow_script_provider.script import Script
from airflow_script_provider.sources import InlineScript


def test_the_text_is_the_script() -> None:
    """Nothing is stripped or dedented (R24)."""
    assert InlineScript("  echo\r\n", name="x.sh").fetch() == Script("  echo\r\n", origin="inline", name="x.sh")


def test_by_default_nothing_is_rendered() -> None:
    """Jinja chokes on ``${#arr[@]}``, so it does not look (R24)."""
    assert InlineScript("echo ${#arr[@]}").template_fields == ()


def test_with_template_the_text_is_rendered() -> None:
    """Who asks for templates gets them."""
    assert InlineScript("echo {{ x }}", template=True).template_fields == ("text",)


def test_it_is_shown_as_its_size() -> None:
    """Never the text, which may hold a secret (R26)."""
    assert str(InlineScript("password=ü")) == "inline script, 11 bytes"


def test_a_task_shows_its_text() -> None:
    """On the page Rendered Templates, which asks for it; what Airflow stores of the DAG has the size."""
    script = InlineScript("echo ${#arr[@]}")
    assert (script.serialize(), script.shown().serialize()) == (str(script), "echo ${#arr[@]}")


def test_a_text_with_values_in_it_is_not_shown() -> None:
    """Whatever the template took from connections and variables may be a secret (R26)."""
    script = InlineScript("password=hunter2", template=True)
    assert script.shown().serialize() == str(script)
