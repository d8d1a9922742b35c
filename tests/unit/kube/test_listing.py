"""A list of the API comes apart into its items."""

from __future__ import annotations

import json

import pytest

from airflow_script_provider.kube.listing import items_of, metadata_of

METADATA = {"resourceVersion": "7", "continue": "abc"}
ITEMS = [{"metadata": {"name": f"job-{number}"}, "text": '"items":[ ] , {'} for number in range(3)]


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize("items", [ITEMS, ITEMS[:1], []])
def test_items_and_metadata(items: list[object], separators: tuple[str, str]) -> None:
    """Whatever the objects hold, they come out as they are."""
    text = json.dumps({"kind": "JobList", "metadata": METADATA, "items": items}, separators=separators)
    assert list(items_of(text)) == items
    assert metadata_of(text) == METADATA


def test_metadata_may_come_last() -> None:
    """The order of a JSON object's names means nothing."""
    text = json.dumps({"items": ITEMS, "metadata": METADATA}, separators=(",", ":"))
    assert (list(items_of(text)), metadata_of(text)) == (ITEMS, METADATA)


def test_no_items() -> None:
    """An empty list may be spelled as null."""
    text = '{"metadata":{"resourceVersion":"7"},"items":null}'
    assert (list(items_of(text)), metadata_of(text)) == ([], {"resourceVersion": "7"})


def test_what_is_no_list() -> None:
    """Text that is cut off is an error, not a short list."""
    text = json.dumps({"metadata": METADATA, "items": ITEMS}, separators=(",", ":"))
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        list(items_of(text[:-20]))
