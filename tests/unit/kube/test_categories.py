"""The category of a failure, and Kubernetes' own word for it."""

from __future__ import annotations

import pytest

from airflow_script_provider.kube import signs
from airflow_script_provider.kube.job.script_error import category_of
from airflow_script_provider.result import Category, ScriptResult
from tests.builders import a_failed_result
from tests.causes import EXAMPLES, Example


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example.category}-{example.message()[:40]}")
def test_a_cause_has_its_category_and_kubernetes_own_word(example: Example) -> None:
    """By what the node, the scheduler, admission, an event or the output says (R22)."""
    assert example.found() == (example.category, example.reason)


def test_every_category_is_reached() -> None:
    """The list is closed, and no word of it is idle."""
    assert {example.category for example in EXAMPLES} == set(Category)


@pytest.mark.parametrize("word", [None, "", "Error", "Completed", "SomethingNew", "Unknown"])
def test_a_word_that_tells_nothing_has_no_category(word: str | None) -> None:
    """What a newer Kubernetes says is not mistaken for what it does not say."""
    assert signs.category_of_word(word) is None


def test_an_error_that_was_handled_is_not_the_category() -> None:
    """With an error at the end, only that error counts; a program that failed in its turn tells nothing itself."""
    earlier = "curl: (6) Could not resolve host: db"
    assert category_of(1, "ValueError: x", [earlier, "ValueError: x"]) is Category.ERROR
    wrapper = "subprocess.CalledProcessError: Command 'curl' returned non-zero exit status 6."
    assert category_of(1, wrapper, [earlier, wrapper]) is Category.NAME_NOT_RESOLVED
    assert category_of(6, "", [earlier, "giving up"]) is Category.NAME_NOT_RESOLVED


def test_a_result_of_a_newer_version_can_be_read() -> None:
    """Its category may be a word that did not exist yet."""
    result = a_failed_result(category=Category.ERROR)
    assert ScriptResult.from_dict(result.to_dict()) == result
    assert ScriptResult.from_dict(result.to_dict() | {"category": "Newer"}).category is Category.UNKNOWN
    without = {name: value for name, value in result.to_dict().items() if name != "category"}
    assert ScriptResult.from_dict(without).category is None
