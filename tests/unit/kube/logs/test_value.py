"""What Airflow and its databases can keep of a printed value."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from airflow_script_provider.kube.logs.value import Value, clean_text, parse_json, storable

SCALARS = some.none() | some.booleans() | some.integers(-(2**80), 2**80) | some.floats() | some.text(max_size=8)
KEYS = some.text(max_size=8) | some.text("_ex", max_size=8)
JSON = some.recursive(
    SCALARS, lambda inner: some.lists(inner, max_size=3) | some.dictionaries(KEYS, inner, max_size=3), max_leaves=12
)


def keys_in(value: Any) -> Iterator[str]:
    """All keys of all mappings in a value."""
    if isinstance(value, dict):
        yield from value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from keys_in(item)


@given(JSON)
def test_any_value_can_be_kept(value: Any) -> None:
    """Whatever is printed fits into a message to the supervisor, into JSON, and is changed only once (R35)."""
    kept = storable(value)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(kept.value)) == kept.value
    assert json.loads(json.dumps(kept.value, allow_nan=False)) == kept.value
    assert not [key for key in keys_in(kept.value) if key.startswith("__") and key.endswith("__")]
    assert storable(kept.value) == Value(kept.value)


@given(JSON)
def test_what_is_printed_and_what_is_kept_are_the_same(value: Any) -> None:
    """Reading the text changes what keeping the value would change (R35)."""
    printed = parse_json(json.dumps(value).encode())
    assert printed is not None
    assert printed.value == storable(value).value


@pytest.mark.parametrize("number", [0, -1, 2**53 + 1, 2**64 - 1, -(2**63)])
def test_integers_of_64_bits_are_kept(number: int) -> None:
    """They fit into a message of the task to its supervisor."""
    assert parse_json(str(number).encode()) == Value(number)


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 1180591620717411303424])
def test_larger_integers_become_strings(number: int) -> None:
    """The task's push would fail, although its script is finished (R35)."""
    warning = f"value: {number} does not fit into 64 bits, so it became a string"
    assert parse_json(f'{{"wei": {number}}}'.encode()) == Value({"wei": str(number)}, (warning,))


def test_an_integer_of_any_length_is_text() -> None:
    """Python reads no more than some thousand digits; a warning shows the first ones (R35)."""
    value = parse_json(b"9" * 10_000)
    assert value is not None
    assert value.value == "9" * 10_000
    assert value.warnings[0].startswith(f"value: {'9' * 40}… (10000 characters) does not fit")


def test_keys_that_airflow_reserves_lose_their_underscores() -> None:
    """At every level, and no key takes the place of another (R35)."""
    printed = {"__example__": 1, "rows": [{"__example__": 2, "example": 3, "__typename": "kept", "_own_": 4}]}
    assert storable(printed) == Value(
        {"example": 1, "rows": [{"example_2": 2, "example": 3, "__typename": "kept", "_own_": 4}]},
        (
            "value: key __example__ is reserved in Airflow, so it became example",
            "value: key __example__ is reserved in Airflow, so it became example_2",
        ),
    )


def test_no_two_reserved_keys_become_one() -> None:
    """The number counts on for each name, and leaves out those that another key has (R35)."""
    keys = ["__x__", "___x__", "x_2", "__x___", "__y__", "y", "____", "_____"]
    kept = storable({key: place for place, key in enumerate(keys)}).value
    assert list(kept.items()) == list(zip(["x", "x_3", "x_2", "x_4", "y_2", "y", "_", "__2"], range(8), strict=True))


@pytest.mark.parametrize(
    "keys",
    [
        [f"__{number:x}__" for number in range(60_000)],
        [f"{'_' * before}x{'_' * after}" for before in range(2, 90) for after in range(2, 90)],
    ],
)
def test_many_reserved_keys_do_not_take_long(keys: list[str]) -> None:
    """A triggerer reads the value in its event loop, which stands still meanwhile (R30, R35)."""
    value = parse_json(json.dumps(dict.fromkeys(keys)).encode())
    assert value is not None
    assert len(value.value) == len(keys)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_numbers_that_json_lacks_become_none(number: str) -> None:
    """No database column takes them; a warning says so (R35)."""
    assert parse_json(f"[{number}, 1.5]".encode()) == Value(
        [None, 1.5], (f"value: {number} is not valid JSON, so it became null",)
    )


@pytest.mark.parametrize(
    ("printed", "first", "more"),
    [
        (
            [2**70 + number for number in range(40_000)],
            f"{2**70} does not fit into 64 bits, so it became a string",
            "39,995 more integers do not fit into 64 bits, so they became strings",
        ),
        (
            {f"__{number}__": 1 for number in range(2000)},
            "key __0__ is reserved in Airflow, so it became 0",
            "1,995 more keys are reserved in Airflow, so they became others",
        ),
    ],
)
def test_many_changes_have_few_warnings(printed: Any, first: str, more: str) -> None:
    """The first five of a kind, then how many follow (R22, R35)."""
    warnings = storable(printed).warnings
    assert (len(warnings), warnings[0], warnings[-1]) == (6, f"value: {first}", f"value: … and {more}")


def test_five_changes_have_a_warning_each() -> None:
    """A change of another kind is not lost among them; what is changed often counts once (R22, R35)."""
    text = ", ".join(f"1e99{number}" for number in range(5))
    warnings = parse_json(f"[{text}, {text}, {2**64}]".encode()).warnings  # type: ignore[union-attr]
    assert [warning.split()[1] for warning in warnings] == ["1e990", "1e991", "1e992", "1e993", "1e994", str(2**64)]


def test_characters_that_databases_refuse_are_replaced() -> None:
    """NUL and halves of surrogate pairs are replaced in keys and values, with a warning (R35)."""
    value = parse_json(rb'{"a\u0000": ["\ud800"]}')
    assert value == Value({"a\ufffd": ["?"]}, ("value: characters that no database can store were replaced",))


@pytest.mark.parametrize("text", [b"", b"hello", b"{", b"\xff", b"[" * 100_000, b"1\0", b"\0\0\0001"])
def test_what_is_no_json_is_none(text: bytes) -> None:
    """Nothing that a script prints can break the search (R35)."""
    assert parse_json(text) is None


@pytest.mark.parametrize("levels", [101, 500, 100_000])
def test_a_value_that_is_nested_too_deep_is_none(levels: int) -> None:
    """With a warning: a document that the script printed before is not its value (R21, R35)."""
    value = parse_json(b"[" * levels + b"]" * levels + b"\n")
    assert value == Value(None, ("value: it is nested more than 100 levels deep, so the result has none",))


def test_a_byte_order_mark_is_no_part_of_a_value() -> None:
    """Some programs begin their output with it."""
    assert parse_json(b"\xef\xbb\xbf[1]") == Value([1])


def test_clean_text_leaves_text_alone() -> None:
    """Emoji and umlauts are text."""
    assert clean_text("ünï 😀\n") == "ünï 😀\n"


def test_floats_stay_floats() -> None:
    """An ordinary number is what the script printed."""
    value = parse_json(b"3.5")
    assert value is not None
    assert math.isclose(value.value, 3.5)
