"""The page of failures, held against the categories and the messages that the code makes."""

from __future__ import annotations

import re

import pytest

from airflow_script_provider.result import Category
from tests.causes import EXAMPLES
from tests.docs.markdown import page

PAGE = page("docs/reference/failures.md")
ENTRIES = dict(re.findall(r"^### (\w+)\n\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL))


def test_every_category_has_its_entry() -> None:
    """In the order of the list, and no other."""
    assert list(ENTRIES) == list(Category)


@pytest.mark.parametrize("category", Category)
def test_an_entry_has_reason_retry_and_messages(category: Category) -> None:
    """Kubernetes' words of all known forms, and the first lines as the code makes them."""
    text = " ".join(ENTRIES[category].split())
    facts = re.search(r"Kubernetes' reason: (.+?)\. Does a retry help\? \w+", text)
    assert facts
    examples = [example for example in EXAMPLES if example.category is category]
    assert {word.strip("`") for word in facts[1].split(", ")} == {example.reason or "none" for example in examples}
    quoted = re.search(r"```text\n(.*?)\n```", ENTRIES[category], re.DOTALL)
    assert quoted
    assert quoted[1].splitlines() == list(dict.fromkeys(example.message() for example in examples))
