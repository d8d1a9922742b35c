"""Kubernetes objects as plain dicts."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime
from typing import Any

import pytest
from kubernetes.client import V1ConfigMapVolumeSource, V1Toleration, V1Volume

from airflow_script_provider.kube.client_models import as_plain


def test_models_become_dicts_in_api_spelling() -> None:
    """A model of the client is spelled as the API spells it, without what is not set."""
    volume = V1Volume(name="data", config_map=V1ConfigMapVolumeSource(name="x", default_mode=0o555))
    assert as_plain([volume], "volumes") == [{"name": "data", "configMap": {"name": "x", "defaultMode": 0o555}}]


def test_models_may_stand_in_dicts() -> None:
    """Dicts and models may be mixed."""
    assert as_plain({"tolerations": (V1Toleration(key="gpu"),)}, "x") == {"tolerations": [{"key": "gpu"}]}


@pytest.mark.parametrize("value", [None, True, 1, 0.5, "text"])
def test_plain_values_stay(value: Any) -> None:
    """JSON's own types are left alone."""
    assert as_plain(value, "x") is value


@pytest.mark.parametrize(
    ("value", "text"),
    [(date(2026, 1, 2), "2026-01-02"), (datetime(2026, 1, 2, 3, tzinfo=UTC), "2026-01-02T03:00:00+00:00")],
)
def test_times_become_text(value: date, text: str) -> None:
    """YAML reads dates where the API expects text."""
    assert as_plain(value, "x") == text


def test_the_copy_is_deep() -> None:
    """Changing the result leaves the author's object alone."""
    original: dict[str, Any] = {"a": {"b": []}}
    as_plain(original, "x")["a"]["b"].append(1)
    assert original == {"a": {"b": []}}


@pytest.mark.parametrize(
    "as_set",
    [
        "{'registry-a', 'registry-b', 'registry-c', 'registry-d'}",
        "[{'spec': {'x': frozenset(['e', 'f', 'g', 'h', 'i'])}}]",
        "{('a', 'b'), ('c', 'd'), ('e',), 7, 'text', None}",
    ],
    ids=["names", "nested", "mixed"],
)
def test_sets_have_one_order_in_every_process(as_set: str) -> None:
    """A set of names is listed alike whatever the process's hashes are (R2)."""
    code = f"from airflow_script_provider.kube.client_models import as_plain; print(as_plain({as_set}, 'x'))"
    printed = {
        subprocess.run(  # a fixed program
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in "123"
    }
    assert len(printed) == 1


def test_what_has_no_place_in_a_manifest_is_named() -> None:
    """A foreign object is refused with argument and type."""
    with pytest.raises(TypeError, match="volumes holds a bytes; expected dicts in API spelling"):
        as_plain([b"x"], "volumes")
