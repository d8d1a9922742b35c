"""What an API server did not keep of a Job, and whether its version is the cause."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_script_provider.kube import kept_fields


@pytest.mark.parametrize(
    ("version", "is_too_old"),
    [
        ("v1.30.14", True),
        ("v1.9.0", True),
        ("v1.31.0", False),
        ("1.31", False),
        ("v1.37.2-eks-1234", False),
        ("v2.0.0", False),
        ("", False),
        ("unknown", False),
    ],
)
def test_too_old(version: str, *, is_too_old: bool) -> None:
    """Numbers are compared, not texts; a version that says nothing is not too old (R22)."""
    assert kept_fields.is_too_old(version) == is_too_old


def test_a_field_that_the_server_would_not_store_is_not_lost() -> None:
    """Of empty values a server keeps nothing, and others may add fields (R22)."""
    asked = {
        "spec": {"backoffLimit": 0, "template": {"spec": {}}, "podFailurePolicy": {"rules": [1]}, "suspend": False}
    }
    kept = {"spec": {"template": {"spec": {}}, "parallelism": 1}}
    assert kept_fields.lost_fields(asked, kept) == ["spec.podFailurePolicy"]
    assert kept_fields.lost_fields(asked, asked) == []


@pytest.mark.parametrize(
    ("asked", "kept", "lost"),
    [
        ({"a": 1, "b": 2}, {"a": 5, "c": 3}, ["p.b"]),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {}}}, ["p.a.b.c"]),
        ({"a": {}, "b": None, "c": False, "d": "", "e": [], "f": 0}, {}, []),
        ({"a": [{"name": "x", "v": 1}]}, {"a": [{"name": "new"}, {"name": "x"}]}, ["p.a[x].v"]),
        ({"a": [{"name": "x", "v": 1}]}, {"a": [{"name": "y"}]}, []),
        ({"a": [{"k": 1}, {"k": 2, "v": 3}]}, {"a": [{"k": 1}, {"k": 2}]}, ["p.a[1].v"]),
        ({"a": [{"k": 1, "v": 3}]}, {"a": [{"k": 9}, {"k": 1}]}, []),
        ({"a": [{"name": "x", "v": 1}, {"name": "x"}]}, {"a": [{"name": "x"}, {"name": "x"}]}, ["p.a[0].v"]),
        ({"a": ["x"], "b": {"c": 1}, "d": 1}, {"a": [], "b": 1, "d": {}}, []),
    ],
)
def test_the_fields_of_a_pod_that_are_lost(asked: Any, kept: Any, lost: list[str]) -> None:
    """With their paths; what others have added or changed is not lost (R22)."""
    assert list(kept_fields.lost_below(asked, kept, "p")) == lost
