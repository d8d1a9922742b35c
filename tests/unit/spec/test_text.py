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


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("a: 1\ntoken: hunter2: x", "line 2, column 15: mapping values are not allowed here"),
        ("a: 1\ntoken: *hunter2", "line 2, column 8"),
        ("token: !hunter2 x", "line 1, column 8"),
        ("token: !!int hunter2", "line 1, column 8: the value is not one of its type"),
        ("token: !!bool hunter2", "line 1, column 8: the value is not one of its type"),
        ('token: "hunter2\\q"', "line 1, column 17, while scanning a double-quoted scalar that begins in line 1"),
        ("token: 'hunter2\n", "line 2, column 1, .*: found unexpected end of stream"),
        ("a: &hunter2 1\nb: &hunter2 2", "line 2, column 4: second occurrence"),
        ("token: \0hunter2", "character 8 is not allowed"),
        ("[" * 5000 + "hunter2", "it is nested too deeply"),
    ],
)
def test_what_cannot_be_read_is_not_quoted(text: str, position: str) -> None:
    """Its position and the parser's reason, and nothing of the text, which may hold a password (R26)."""
    with pytest.raises(ValueError, match=f"^config is not valid YAML: {position}$") as caught:
        read_yaml(text, "config")
    assert "hunter2" not in str(caught.value)


def test_anchors_are_merged() -> None:
    """YAML's anchors and merge keys work."""
    assert read_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}")["b"] == {"x": 1, "y": 2}
