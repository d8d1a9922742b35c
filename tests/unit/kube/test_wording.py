"""Forms of messages."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as some

from airflow_script_provider.kube.wording import one_line, reported, signal_name, without_controls


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("plain ünï 😀", "plain ünï 😀"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[1;1Hgone", "gone"),
        ("\x9b31mred", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;https://host\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]0;never ended", "0;never ended"),
        ("ab\bc\0d\x7f", "abcd"),
        ("\x1b(Bx\x1b7y\x1b", "xy"),
        ("\u202egpj.exe", "gpj.exe"),
        ("x ::endgroup:: y", "x :\u200b:endgroup:: y"),
        ("::gr\x1b[0moup::", ":\u200b:group::"),
    ],
)
def test_what_others_report_is_only_text(said: str, shown: str) -> None:
    """A registry's or policy's message cannot clear a terminal, hide a line or fold a page (R22)."""
    assert one_line(said) == reported(said) == shown


def test_lines_of_a_report_stay() -> None:
    """Some of them are lists."""
    assert reported("a\n\tb\x1b[1m") == "a\n\tb"
    assert one_line(" a\n\tb\x1b[1m ") == "a b"


@given(some.text(some.characters() | some.sampled_from("\x1b[]m;\x07\x9c\x9b:gendroup")))
def test_no_report_has_a_control_character(said: str) -> None:
    """However they are put together (R22)."""
    shown = reported(said)
    assert without_controls(shown) == shown
    assert not {letter for letter in shown if ord(letter) < 32 or 127 <= ord(letter) < 160} - {"\t", "\n"}
    assert "::group::" not in shown
    assert "::endgroup::" not in shown


def test_a_long_report_takes_no_time() -> None:
    """Escape sequences without an end are found in one pass."""
    for piece in ("\x1b]", "\x90", "\x1b[", "\x9b1;", "::"):
        assert len(without_controls(piece * 300_000)) < 900_000


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (128 + signal.SIGTERM, "SIGTERM"),
        (128 + 37, "SIGRTMIN+3"),
        (128 + 34, "SIGRTMIN"),
        (128 + 63, "SIGRTMIN+29"),
        (128 + 64, "SIGRTMAX"),
        (128 + 33, None),
        (128 + 65, None),
        (128, None),
        (1, None),
        (255, None),
    ],
)
def test_names_of_signals(code: int, name: str | None) -> None:
    """A real-time signal is named as kill -l does: above SIGRTMIN (R22)."""
    assert signal_name(code) == name
