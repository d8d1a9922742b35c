"""A line that a script printed, safe for a message."""

from __future__ import annotations

import random
import unicodedata

import pytest

from airflow_script_provider.kube.hiding import MAX_LINE, MIN_VALUE, hider, values_in
from airflow_script_provider.kube.job.diagnosis import diagnose
from airflow_script_provider.kube.wording import MAX_HEADLINE
from tests.builders import a_case, a_pod

PIECES = [
    "s3cret", "a b  c", "päss wörd", 'q"u\\o\te', "::group::", "::endgroup::", "\x1b[31m", "\x1b]0;t\x07", "\r",
    "\u202e", "***", "abcde",
    "https://bob:pa/ss@host:8080/x?token=", "postgres://u:p@w@db/x", "/path?sig=", " ", "x" * 50, "…",
    "\n", "ValueError: ",
]  # fmt: skip


def generated(seed: int) -> tuple[str, list[str]]:
    """A line of an error, and values of which some are in it, perhaps torn by what is removed."""
    chance = random.Random(seed)
    values = ["".join(chance.choices(PIECES, k=chance.randint(1, 3))) for _ in range(4)]
    parts = [chance.choice([*PIECES, *values, *(value[:3] + "\x00" + value[3:] for value in values)]) for _ in range(9)]
    return "ValueError: " + "".join(parts), values


@pytest.mark.parametrize("seed", range(0, 2000, 500))
def test_no_secret_of_any_line_is_left(seed: int) -> None:
    """Whatever a script prints of whatever values (R22, R26, R35)."""
    for one in range(seed, seed + 500):
        line, values = generated(one)
        shown = hider(values)(line)
        assert not [value for value in values if len(value) >= MIN_VALUE and value in shown], one
        assert not [part for part in ("::group::", "::endgroup::", "pa/ss", "p@w") if part in shown], one
        assert not any(unicodedata.category(character)[0] == "C" for character in shown)
        assert len(shown) <= MAX_LINE
        headline = diagnose(a_case(a_pod(exit_code=1), last_lines=[line], hide=hider(values))).headline
        assert len(headline) <= MAX_HEADLINE
        assert headline.isprintable()


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("KeyError: 'hunter2'", "KeyError: '***'"),
        (
            "OperationalError: postgresql://bob:p@ss/w0rd@db:5432/x?sslmode=a",
            "OperationalError: postgresql://***@db:5432/x?…",
        ),
        ("HTTPError: 403 for https://host/file?X-Amz-Signature=abc#frag", "HTTPError: 403 for https://host/file?…"),
        (
            "Max retries exceeded with url: /a/b?sig=abc (Caused by x)",
            "Max retries exceeded with url: /a/b?… (Caused by x)",
        ),
        ("npm error 404 https://host/@scope/x", "npm error 404 https://host/@scope/x"),
        ("connect bob:p4ss@host failed", "connect ***@host failed"),
        ("\x1b[1;31mValueError\x1b[0m: ::gro::group::up:: a\tb", "ValueError: a b"),
        ("ValueError: line\u2028break\x00", "ValueError: line break"),
        ("ValueError: 12345678 is masked", "ValueError: *** is masked"),
        ("ValueError: abcd is short", "ValueError: abcd is short"),
        ("ValueError: first line", "ValueError: ***"),
    ],
)
def test_a_line_for_a_message(line: str, shown: str) -> None:
    """Values, logins, queries, control characters and group markers are gone; the rest stays readable (R26)."""
    values = values_in({"A": "hunter2", "B": "abcd", "C": "first line\nsecond"}, '{"id": 12345678}')
    assert hider(values)(line) == shown


def test_airflows_masker_comes_first() -> None:
    """What Airflow hides in the log is hidden here as well (R26)."""
    assert hider(mask=lambda line: line.replace("top  secret", "***"))("ValueError: top  secret") == "ValueError: ***"


def test_values_of_any_depth_are_known() -> None:
    """In mappings and lists, and where a text is their JSON."""
    found = set(values_in({"a": ["b", {"c": 1.5}]}, '["d", {"e": 7}]', None, True))
    assert {"b", "1.5", "d", "7"} <= found


@pytest.mark.parametrize(
    ("values", "line", "shown"),
    [
        (["abcdefgh", "fghijklm"], "x abcdefghijklm y", "x *** y"),
        (["password=hunter22"], 'ERROR:  syntax error at or near "hunter22"', 'ERROR: syntax error at or near "***"'),
        (["--token=abcde/fgh"], "GET abcde%2ffgh", "GET ***"),
        (["p@ss(w)!"], "p%40ss(w)!", "***"),
        (["g\u00e4nsehaut"], "b'g\\xc3\\xa4nsehaut'", "b'***'"),
        (["aaaaa"], "aaaaaaaaa b", "*** b"),
    ],
)
def test_values_that_overlap_or_are_encoded_are_hidden(values: list[str], line: str, shown: str) -> None:
    """Nothing of a value is left, also of options and of psql's variables (R26)."""
    assert hider(values_in(values))(line) == shown


def test_a_secret_of_airflow_inside_a_value_hides_no_less() -> None:
    """The whole value is sought before the masker changes the line (R26)."""
    hide = hider(["zz-abcde-rest"], mask=lambda line: line.replace("abcde", "***"))
    assert hide("at zz-abcde-rest of") == "at *** of"


def test_a_line_of_any_length_takes_a_moment() -> None:
    """A script may print markers inside markers, and pass thousands of values (R35)."""
    line = "::gr" * 200_000 + "::group::" + "oup::" * 200_000
    assert "::group::" not in hider()(line)
    assert len(hider(str(number) * 3 for number in range(10_000, 15_000))("9" * 900_000)) <= MAX_LINE


def test_a_flag_is_no_secret() -> None:
    """``False`` stands in many messages (R22)."""
    hide = hider(values_in({"dry_run": False}, '{"dry_run": false}'))
    assert hide("ValueError: False is false, not 12345") == "ValueError: False is false, not 12345"
    assert hider(values_in({"pin": 12345}))("ValueError: 12345") == "ValueError: ***"
