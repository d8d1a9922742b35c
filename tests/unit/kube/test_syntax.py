"""Kubernetes' rules of spelling."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from airflow_script_provider.kube import syntax


@pytest.mark.parametrize("name", ["a", "etl", "a-b", "0a", "a" * 63])
def test_legal_names(name: str) -> None:
    """A DNS label of up to 63 characters is a name."""
    syntax.check_dns_label(name, "namespace")


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "a.b", "a" * 64, "a\n"])
def test_illegal_names(name: str) -> None:
    """Anything else is refused, naming argument and value."""
    with pytest.raises(ValueError, match=r"namespace=.* is not a legal Kubernetes name"):
        syntax.check_dns_label(name, "namespace")


@pytest.mark.parametrize("key", ["team", "example.com/team", "a.b-c/d_e.f", "T"])
def test_legal_label_keys(key: str) -> None:
    """A key is NAME or PREFIX/NAME."""
    syntax.check_labels({key: "x"}, "labels")


@pytest.mark.parametrize("key", ["", "/team", "a/b/c", "-a", "Example.com/team", "a b", "a" * 64, 1, "team/"])
def test_illegal_label_keys(key: Any) -> None:
    """What the API server would refuse as a key."""
    with pytest.raises(ValueError, match="labels has an illegal key"):
        syntax.check_labels({key: "x"}, "labels")


@pytest.mark.parametrize("value", ["-a", "a b", "ü", "a" * 64, 1, None])
def test_illegal_label_values(value: Any) -> None:
    """What the API server would refuse as a label's value."""
    with pytest.raises(ValueError, match=r"labels\['team'\]=.* is not a legal label value"):
        syntax.check_labels({"team": value}, "labels")


def test_annotations_hold_any_string() -> None:
    """Unlike a label, an annotation may hold any text."""
    syntax.check_annotations({"example.com/note": "any text, ü\n" * 100}, "annotations")


@pytest.mark.parametrize(
    "image",
    [
        "python",
        "python:3.11-slim",
        "library/python",
        "ghcr.io/astral-sh/uv:0.5",
        "localhost:5000/etl",
        "registry.example.com:5000/team/etl:7",
        "[::1]:5000/etl",
        "python@sha256:" + "a" * 64,
        "python:3.11@sha256:" + "a" * 64,
        "a__b/c.d-e",
    ],
)
def test_legal_images(image: str) -> None:
    """Every form of reference that a container runtime takes."""
    syntax.check_image(image, "image")


@pytest.mark.parametrize(
    "image", ["", "Python", "python:", "python:ü", "a b", "https://host/x", "x@sha256:1", "a//b", 3]
)
def test_illegal_images(image: Any) -> None:
    """What no runtime could pull is refused before a pod waits for it."""
    with pytest.raises(ValueError, match="is not an image reference"):
        syntax.check_image(image, "image")


@pytest.mark.parametrize("quantity", ["500m", "0.5", "512Mi", "2Gi", 1, 0.5, "1e3", "100k", "+1", ".5"])
def test_legal_quantities(quantity: Any) -> None:
    """A number with one of Kubernetes' units, or none."""
    syntax.check_quantity(quantity, "q")


@pytest.mark.parametrize("quantity", ["", "2GB", "1 Gi", "lots", True, None, float("nan"), "1kb", "٣"])
def test_illegal_quantities(quantity: Any) -> None:
    """A unit that Kubernetes doesn't know is refused with those it knows."""
    with pytest.raises(ValueError, match=r"is not a quantity.*512Mi"):
        syntax.check_quantity(quantity, "q")


@pytest.mark.parametrize("quantity", ["-1Gi", -1, "-0.5"])
def test_negative_quantities(quantity: Any) -> None:
    """Nobody has less than nothing."""
    with pytest.raises(ValueError, match=f"q={quantity!r} is negative"):
        syntax.check_quantity(quantity, "q")


@pytest.mark.parametrize(
    ("quantity", "number"),
    [
        ("500m", "0.5"),
        (2, "2"),
        ("1e3", "1000"),
        ("1E", "1e18"),
        ("1Ki", "1024"),
        ("1.5Gi", "1610612736"),
        (".5", "0.5"),
    ],
)
def test_quantities_are_numbers(quantity: Any, number: str) -> None:
    """Each unit by its factor; ``E`` alone is one, before digits it is an exponent."""
    assert syntax.quantity(quantity) == Decimal(number)


@pytest.mark.parametrize(("request_", "limit"), [("2Gi", "2000Mi"), (1, "999m"), ("1e9", "900M")])
def test_a_request_over_its_limit_is_refused(request_: Any, limit: Any) -> None:
    """Request and limit are compared as quantities, and named (R29)."""
    words = rf"^r\['requests'\]\['x'\]={request_!r} is more than its limit {limit!r}"
    with pytest.raises(ValueError, match=words):
        syntax.check_resources({"requests": {"x": request_}, "limits": {"x": limit}}, "r")


def test_a_request_may_be_its_limit() -> None:
    """Two spellings of the same quantity are equal."""
    syntax.check_resources({"requests": {"memory": "1Gi"}, "limits": {"memory": "1024Mi"}}, "r")


def test_resources_name_the_bad_entry() -> None:
    """The message leads to the entry, as the author wrote it."""
    with pytest.raises(ValueError, match=r"container_resources\['limits'\]\['memory'\]='2GB'"):
        syntax.check_resources({"limits": {"memory": "2GB"}}, "container_resources")


def test_any_resource_name_is_taken() -> None:
    """Extended resources need no list of ours."""
    syntax.check_resources({"limits": {"nvidia.com/gpu": 1}, "claims": [{"name": "gpu"}]}, "container_resources")


def test_a_section_of_resources_is_a_mapping() -> None:
    """Requests as text are refused."""
    with pytest.raises(ValueError, match=r"container_resources\['requests'\] must be a mapping"):
        syntax.check_resources({"requests": "500m"}, "container_resources")


@pytest.mark.parametrize("path", ["a", "lib/util.py", "a b/ü.txt", ".hidden"])
def test_legal_paths(path: str) -> None:
    """Relative paths inside the script's folder."""
    syntax.check_relative_path(path, "files")


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../x", "a//b", "a/", "./a", "..a", 1, None])
def test_illegal_paths(path: Any) -> None:
    """Paths that leave the folder, or that a ConfigMap's items cannot have."""
    with pytest.raises(ValueError, match="files has an illegal path"):
        syntax.check_relative_path(path, "files")


def test_the_nearest_name_is_offered() -> None:
    """A misspelt key is answered with the nearest one."""
    with pytest.raises(ValueError, match=r"x has an unknown key 'limts'; did you mean 'limits'?"):
        syntax.check_keys({"limts": 1}, ("requests", "limits"), "x")


def test_nothing_near_offers_nothing() -> None:
    """A key far from all known ones gets no guess."""
    assert syntax.did_you_mean("zebra", ["requests", "limits"]) == ""


def nested(levels: int) -> dict[str, Any]:
    """A mapping in a mapping, so many levels deep."""
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"x": value}
    return value


def a_circle() -> list[Any]:
    """A list that holds itself."""
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize("value", [nested(101), nested(100_000), a_circle(), {"a": (a_circle(),)}])
def test_what_is_nested_without_end_is_refused(value: Any) -> None:
    """Named, where everybody else would run out of stack (R29)."""
    with pytest.raises(ValueError, match=r"^args is nested more than 100 levels deep, or holds itself$"):
        syntax.check_depth(value, "args")


def test_a_value_may_stand_in_many_places() -> None:
    """What is shared is no circle, and costs no time."""
    value: Any = "x"
    for _ in range(60):
        value = [value, value]
    syntax.check_depth(value, "args")


@pytest.mark.parametrize("value", ["no", 0, 1, None])
def test_a_flag_is_true_or_false(value: Any) -> None:
    """A text that reads like no would be true."""
    with pytest.raises(ValueError, match=f"^get_logs={value!r} must be True or False$"):
        syntax.check_flag(value, "get_logs")


def test_a_flag_may_be_left_open() -> None:
    """None where something else decides."""
    syntax.check_flag(None, "in_cluster", none_allowed=True)
