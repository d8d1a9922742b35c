"""YAML text as plain mappings."""

from __future__ import annotations

import pytest

from airflow_script_provider.spec.text import read_yaml


def test_dates_stay_text() -> None:
    """``args`` are JSON, which has no dates."""
    assert read_yaml("start: 2024-01-01\nat: 2024-01-01T10:00:00Z\nn: 3") == {
        "start": "2024-01-01",
        "at": "2024-01-01T10:00:00Z",
        "n": 3,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "spec is not valid YAML: .* line 1"),
        ("job:\n  timeout: 1\n  timeout: 2", "spec has the key 'timeout' twice in the mapping that begins in line 2"),
        ("a: !!python/object/apply:os.system ['true']", "spec is not valid YAML"),
    ],
)
def test_what_cannot_be_read(text: str, message: str) -> None:
    """The message names the line."""
    with pytest.raises(ValueError, match=message):
        read_yaml(text)


def test_anchors_are_merged() -> None:
    """YAML's anchors and merge keys work."""
    assert read_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}")["b"] == {"x": 1, "y": 2}
