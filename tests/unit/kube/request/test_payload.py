"""Arguments and environment on their way into the Secret."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import Any

import pytest

from airflow_script_provider.kube.request.payload import MAX_STRING, Payload, encode_args

ARGS_NAME = "AIRFLOW_SCRIPT_ARGS"


@pytest.mark.parametrize(
    "value", ["it's", 'a "b"', "$(id)", "$HOME", "line\nline", "", "-n", "a.py", "c.json", "ünï", "\u0000", "😀"]
)
def test_args_arrive_identical(value: str) -> None:
    """Whatever a value holds, the JSON of argv[1] gives it back (R24)."""
    payload = Payload.of({"value": value}, None, None)
    assert json.loads(payload.variables[ARGS_NAME]) == {"value": value}


def test_args_are_one_reference_in_argv() -> None:
    """The Job's spec holds a reference; Kubernetes puts the value in its place (R26)."""
    assert Payload.of([1, 2], None, None) == Payload({ARGS_NAME: "[1, 2]"}, (f"$({ARGS_NAME})",))


def test_empty_args_are_passed() -> None:
    """``{}`` is an argument, None is none (R24)."""
    assert Payload.of({}, None, None).variables == {ARGS_NAME: "{}"}
    assert Payload.of(None, None, None) == Payload()


@pytest.mark.parametrize("text", ["it's", "$(id)", "", "-n", "--flag=$X", "ünï"])
def test_arguments_arrive_as_they_are(text: str) -> None:
    """Each string is a variable of its own, referred to in order (R24)."""
    payload = Payload.of(None, ["first", text], None)
    assert payload.argv == ("$(AIRFLOW_SCRIPT_ARGUMENT_0)", "$(AIRFLOW_SCRIPT_ARGUMENT_1)")
    assert payload.variables["AIRFLOW_SCRIPT_ARGUMENT_1"] == text


@pytest.mark.parametrize("args", ["text", b"bytes", 7, {1, 2}])
def test_args_must_be_a_mapping_or_a_list(args: Any) -> None:
    """A scalar would not be what the script expects in argv[1]."""
    with pytest.raises(ValueError, match=f"args must be a mapping or a list of JSON values, not {type(args).__name__}"):
        encode_args(args)


@pytest.mark.parametrize("value", [object(), float("nan"), {1, 2}, "\ud800"])
def test_args_must_be_json(value: Any) -> None:
    """What JSON cannot spell is refused."""
    with pytest.raises(ValueError, match="args cannot be written as JSON"):
        encode_args({"value": value})


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"KEY": 1}, r"env\['KEY'\] must be a string, not int"),
        ({"1KEY": "x"}, "env has an illegal name '1KEY'"),
        ({"..A": "x"}, "env has an illegal name '..A'"),
        ({".": "x"}, "env has an illegal name '.'"),
        ({"": "x"}, "env has an illegal name ''"),
        ({"A B": "x"}, "env has an illegal name 'A B'"),
        ({"A=B": "x"}, "env has an illegal name 'A=B'"),
        ({"A\n": "x"}, r"env has an illegal name 'A\\n'"),
        ({"KEY": "a\0b"}, r"env\['KEY'\] contains a NUL character"),
        ({"KEY": "a\ud800b"}, r"env\['KEY'\] cannot be encoded as UTF-8"),
        ({"AIRFLOW_SCRIPT_ARGS": "x"}, "env has a reserved name 'AIRFLOW_SCRIPT_ARGS'"),
        ({"AIRFLOW_SCRIPT_ARGUMENT_0": "x"}, "env has a reserved name"),
        (["KEY=1"], "env must be a mapping of name to string, not list"),
    ],
)
def test_a_bad_environment_is_refused(env: Any, words: str) -> None:
    """Each mistake names the variable and never shows its value (R26)."""
    with pytest.raises(ValueError, match=words):
        Payload.of(None, None, env)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("-n 5", "arguments must be a list of strings, not str"),
        (["-n", 5], r"arguments\[1\] must be a string, not int"),
        (["a\0"], r"arguments\[0\] contains a NUL character"),
        (["\ud800"], r"arguments\[0\] cannot be encoded as UTF-8"),
    ],
)
def test_bad_arguments_are_refused(arguments: Any, words: str) -> None:
    """Each mistake names the position."""
    with pytest.raises(ValueError, match=words):
        Payload.of(None, arguments, None)


def test_any_mapping_is_an_environment() -> None:
    """The type of the mapping doesn't matter."""
    assert Payload.of(None, None, MappingProxyType({"KEY": "x"})).variables == {"KEY": "x"}


@pytest.mark.parametrize(
    ("given", "label"),
    [
        ((["x" * MAX_STRING], None, None), "args has 131,076 bytes"),
        ((None, ["x", "x" * MAX_STRING], None), r"arguments\[1\] has 131,072 bytes"),
        ((None, None, {"KEY": "x" * MAX_STRING}), r"env\['KEY'\] has 131,072 bytes"),
    ],
)
def test_what_linux_cannot_pass_is_refused(given: Any, label: str) -> None:
    """One string over MAX_ARG_STRLEN is refused with size, limit and the way out (R25)."""
    with pytest.raises(ValueError, match=f"^{label}, more than Linux passes in one string.*files="):
        Payload.of(*given)


def test_the_longest_value_fits_with_its_name() -> None:
    """``KEY=value`` and its closing NUL fill MAX_ARG_STRLEN (R25)."""
    longest = MAX_STRING - len("KEY=") - 1
    assert Payload.of(None, None, {"KEY": "x" * longest}).variables
    with pytest.raises(ValueError, match="KEY"):
        Payload.of(None, None, {"KEY": "x" * (longest + 1)})


def test_what_a_secret_cannot_hold_is_refused() -> None:
    """All values together fit into 1 MiB or are refused (R25)."""
    with pytest.raises(ValueError, match=r"env and args have 1,080,000 bytes together.*1,048,576 that a Secret holds"):
        Payload.of(None, None, {f"KEY{i}": "x" * 120_000 for i in range(9)})


def test_a_payload_shows_no_value() -> None:
    """The repr of a payload holds references only (R26)."""
    assert "hunter2" not in repr(Payload.of(["hunter2"], None, {"KEY": "hunter2"}))


def test_arguments_and_environment_without_references() -> None:
    """Where nobody expands references, the values stand in their place and the environment is the author's."""
    payload = Payload.of({"a": "$(B)"}, None, {"B": "1"})
    assert (payload.arguments, payload.environment) == (('{"a": "$(B)"}',), {"B": "1"})


def test_psql_variables_without_references() -> None:
    """Flags stay between the values."""
    payload = Payload.of({"a": "x", "b": 2}, None, None, as_psql_variables=True)
    assert payload.arguments == ("-v", "a=x", "-v", "b=2")


def test_names_may_have_dots_and_dashes() -> None:
    """As every version of Kubernetes takes them, for programs such as Spring."""
    env = {"spring.datasource.url": "x", "A-B": "x", ".a": "x", "_": "x"}
    assert Payload.of(None, None, env).environment == env
