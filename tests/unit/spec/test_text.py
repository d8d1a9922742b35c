"""YAML text as plain mappings."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from airflow_script_provider.spec.text import read_yaml, write_yaml


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


NO_TEXT_FOR_SOME = (
    "0450682645 08 1e5 1234567e89 1E+5 1_000 0o17 0x1F 0b101 -0b1 +.5e3 .5 1. -7 +1e9 1_0e1 08.5 1:30 "
    "-_1 +_5 -_.5 1e+_5 1e_+5 2024-1-5 2024-11-05 2024-1-5T7:00:00Z y Y n N yes No on OFF true Null ~"
)
"""Texts that are numbers, times or truth values for YAML 1.1, YAML 1.2 or Go."""
OF_GO = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
"""A float in sigs.k8s.io/yaml, once its underscores are gone."""


@pytest.mark.parametrize("text", NO_TEXT_FOR_SOME.split())
def test_a_text_that_is_no_text_for_some_readers_is_quoted(text: str) -> None:
    """``kubectl apply`` refuses a label that reads as a number (R22)."""
    written = write_yaml({"label": text, text: [text]})
    assert written == f"label: '{text}'\n'{text}':\n- '{text}'\n"


@pytest.mark.parametrize(
    "text", ["python:3.11-slim", "500m", "1Gi", "script-0450682645", "/opt/y", "no-one", "e5", "-f1", "2024-1-5.csv"]
)
def test_other_text_is_plain(text: str) -> None:
    """A dry run stays easy to read."""
    assert write_yaml({"a": text}) == f"a: {text}\n"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(JSON, min_size=1, max_size=3))
def test_what_is_written_is_read_as_it_was(documents: list[Any]) -> None:
    """The extra quotes change no value."""
    assert list(yaml.safe_load_all(write_yaml(*documents))) == documents


@given(st.from_regex(r"[-+]?[0-9._eExobXOB]{1,8}([eE_]{1,3}[-+][0-9_]{1,3})?", fullmatch=True))
def test_a_plain_text_is_no_number_for_go(text: str) -> None:
    """Whatever stands without quotes has neither the form of a float nor a prefix of another base."""
    if write_yaml(text).startswith(text):
        assert not OF_GO.fullmatch(text.replace("_", ""))
