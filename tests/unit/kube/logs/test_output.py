"""What is kept of a script's output, and the value in it."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from airflow_script_provider.kube.logs.output import End, Output, Tail
from airflow_script_provider.kube.logs.value import MAX_VALUE, Value
from tests.builders import some_output


@pytest.mark.parametrize(
    ("lines", "value"),
    [
        (['{"a": 1}'], {"a": 1}),
        (["{", '"a": 1', "}"], {"a": 1}),
        (["hello", '{"a": 1}', "bye"], {"a": 1}),
        (['{"a": 1}', "[2]"], [2]),
        (['{"a": 1}', "7"], {"a": 1}),
        (["hello", "7"], 7),
        (["hello", '"text"', "", " "], "text"),
        (["7", "hello"], None),
        (['{"a": 1', "hello"], None),
        (["null"], None),
        ([], None),
    ],
)
def test_the_value_is_the_json_that_was_printed(lines: list[str], value: Any) -> None:
    """The whole output, else the last line that is an object or array, else the last line."""
    assert some_output(*lines).value() == Value(value)


def test_a_value_without_line_end_counts() -> None:
    """The last line may lack its end."""
    output = Output()
    output.add([b"hello\n", b'{"a": 1}'])
    assert output.value() == Value({"a": 1})


def test_a_value_in_pieces_is_one() -> None:
    """Entries without a line end are continued by the next (R21)."""
    output = Output()
    output.add([b"hello\n", b'{"a":', b" 1}\n"])
    assert output.value() == Value({"a": 1})


def test_a_value_is_read_once() -> None:
    """It may have a megabyte; output that comes later may have another one (R30)."""
    output = some_output("[1]")
    assert output.value() is output.value()
    output.add([b"[2]\n"])
    assert output.value() == Value([2])
    output.restart()
    assert output.value() == Value()


def test_a_value_of_a_megabyte_is_exact() -> None:
    """The largest value arrives whole, however little of the output is kept (R21)."""
    value = ["x" * (MAX_VALUE - len('[""]'))]
    assert some_output("[1]", json.dumps(value), max_bytes=10).value() == Value(value)


def test_a_larger_value_is_a_size_in_a_warning() -> None:
    """A value over the limit is told with its size and the way out, not guessed (R21)."""
    value = some_output("[1]", json.dumps(["x" * MAX_VALUE])).value()
    assert value.value is None
    assert "1,048,580 bytes, more than the 1,048,576 that are kept" in value.warnings[0]


def test_a_value_is_found_however_much_follows() -> None:
    """A document that has left the kept tail is remembered (R21)."""
    output = some_output('{"a": 1}', max_bytes=10)
    output.add([b"noise " * 1000 + b"\n"] * 400)
    assert output.value() == Value({"a": 1})


def test_the_tail_is_the_end_in_whole_lines() -> None:
    """A torn first line is left out."""
    output = some_output("first", "second", "third", max_bytes=15)
    assert (output.tail(), output.truncated, output.size) == ("second\nthird\n", True, 19)


def test_output_that_fits_is_whole() -> None:
    """Exactly ``max_bytes`` are not truncated."""
    output = some_output("12345", max_bytes=6)
    assert (output.tail(), output.truncated) == ("12345\n", False)


def test_a_tail_of_one_long_line_is_its_end() -> None:
    """Where no whole line fits, the end of the last one is kept."""
    assert some_output("x" * 100, max_bytes=5).tail() == "xxxx\n"


def test_a_tail_of_nothing_is_empty() -> None:
    """``max_output_bytes=0`` keeps no output, and still finds the value."""
    output = some_output("[1]", max_bytes=0)
    assert (output.tail(), output.value().value) == ("", [1])


def test_bytes_that_are_no_text_are_replaced() -> None:
    """Random bytes never fail a task (R13)."""
    output = Output()
    output.add([b"a\xff\0b\n"])
    assert output.tail() == "a\ufffd\ufffdb\n"


def test_a_torn_character_is_replaced() -> None:
    """A tail that starts inside a character stays text."""
    output = Output(max_bytes=2)
    output.add(["aü".encode() + b"\n"])
    assert output.tail() == "\ufffd\n"


def test_the_last_lines_are_those_with_words() -> None:
    """Blank lines are not shown again at a failure (R22)."""
    assert some_output("one", "", "two ", " ", "three").last_lines(2) == ["two", "three"]


@pytest.mark.parametrize("seed", range(5))
def test_memory_is_bounded_and_the_size_exact(seed: int) -> None:
    """However much is printed, the tail is the end of it and the size is the whole (R30)."""
    rng = random.Random(seed)
    lines = [b"x" * rng.randint(0, 40_000) + b"\n" for _ in range(200)]
    output = Output(max_bytes=100_000)
    for line in lines:
        output.add([line])
    assert output.size == sum(map(len, lines))
    assert b"".join(lines).decode().endswith(output.tail())
    assert 50_000 < len(output.tail()) <= 100_000


@pytest.mark.parametrize("after", [0, 400])
def test_a_larger_value_in_pieces_is_a_size_too(after: int) -> None:
    """A document of several pieces is measured whole, kept or no longer (R21)."""
    output = some_output("[1]")
    output.add([b"[", b"1," * MAX_VALUE, b"1]\n", *[b"noise " * 1000 + b"\n"] * after])
    value = output.value()
    assert value.value is None
    assert "2,097,155 bytes" in value.warnings[0]


def test_a_tail_keeps_whole_lines_and_counts_all() -> None:
    """The end of an output in bounded memory."""
    tail = Tail(20)
    for number in range(1000):
        tail.add([b"line %d\n" % number])
    assert tail.end() == End("line 998\nline 999\n", lacks_start=True)
    assert tail.end(10) == End("line 999\n", lacks_start=True)
    assert tail.end(5) == End(" 999\n", lacks_start=True, is_torn=True)
    assert tail.size == sum(len(b"line %d\n" % number) for number in range(1000))


def test_the_end_of_an_output_that_is_gone() -> None:
    """What somebody kept of it is its tail; it says that there was more."""
    output = Output(1000)
    output.add_end('line 998\n{"a": 1}\n', 5000)
    assert (output.tail(), output.value().value) == ('line 998\n{"a": 1}\n', {"a": 1})
    assert (output.size, output.truncated) == (5000, True)


@pytest.mark.parametrize(
    ("end", "is_torn", "value"),
    [
        ('bye\n{"a": 1}\n', False, {"a": 1}),
        ('{"a": 1}\n', False, {"a": 1}),
        ('{"a": 1}\nbye\n', False, {"a": 1}),
        ('{"a": 1},\n{"a": 2}\n]\n', False, None),
        ('{"a": 1}\n], "b": [2]}\n', False, None),
        ('{"a": 1}\n', True, None),
        ('{"a": 1}\n[2]\n', True, [2]),
        ("bye\n0\n", False, None),
        ("0\n", False, None),
        ("[]\n]\n", False, None),
    ],
)
def test_an_end_has_only_a_value_that_is_certain(end: str, is_torn: bool, value: Any) -> None:
    """An element of a list, or a number below an object, would be another one (R21, R36)."""
    output = Output(1000)
    output.add_end(end, 5_000_000, is_torn=is_torn)
    assert output.value() == Value(value)


@pytest.mark.parametrize(
    ("start", "last", "value", "warned"),
    [
        ("[", "]", None, True),
        ("{", "  ] }", None, True),
        ("hello", "]", [1], False),
        ("[", "bye", [1], False),
        ("[", "[2]", [2], False),
    ],
)
def test_a_larger_value_of_many_lines_is_a_size_too(start: str, last: str, value: Any, warned: bool) -> None:
    """The last element of a list is not the list (R21)."""
    found = some_output(start, *["[0],"] * (MAX_VALUE // 4), "[1]", last).value()
    assert (found.value, bool(found.warnings)) == (value, warned)


def test_an_end_of_invalid_bytes_is_known_as_cut() -> None:
    """They take more room as text than they had, perhaps more than the whole output (R13, R21)."""
    tail = Tail(100)
    tail.add([b'{"rows": 5}\n', b"\xff" * 150 + b"\n", b"\xff" * 60 + b"\n0\n"])
    output = Output(1000)
    output.add_end(tail.end().text, tail.size)
    assert (output.truncated, output.value().value) == (True, None)
