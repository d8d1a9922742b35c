"""How steps appear on a terminal and in a log."""

from __future__ import annotations

import io
import re
import sys
import time

import pytest
from progress import Step
from steps import Steps, say

COMPILE = Step("compile")
LINK = Step("link")


class Terminal(io.StringIO):
    """A standard output that is a terminal."""

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return True


def a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal of 200 columns as standard output."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    return terminal


def at_once(shown: str) -> str:
    """What is shown, as on a machine on which nothing takes a second."""
    return re.sub(r"\b\d+ s\b", "0 s", shown)


def fail_while_compiling() -> None:
    """A step that ends with an error."""
    with Steps([COMPILE]).doing(COMPILE) as report:
        report("1 of 3 packages")
        raise ValueError("broken")


def test_a_log_gets_a_line_when_a_step_ends(capsys: pytest.CaptureFixture[str]) -> None:
    """A short step has no other line."""
    with Steps([COMPILE, LINK]).doing(COMPILE) as report:
        report("3 packages")
    assert at_once(capsys.readouterr().out) == "[1/2] compile: done in 0 s, 3 packages; next: link\n"


def test_a_log_gets_fresh_lines_while_a_step_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """One per interval, which is 15 seconds by default."""
    log = io.StringIO()
    monkeypatch.setattr(sys, "stdout", log)
    with Steps([COMPILE, LINK], log_seconds=0.05).doing(COMPILE) as report:
        report("1 of 3 packages")
        while not log.getvalue():
            time.sleep(0.01)
    assert at_once(log.getvalue()).startswith("[1/2] compile: 1 of 3 packages, 0 s; next: link\n")


def test_a_terminal_shows_one_line_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A carriage return goes back to its beginning; only the finished line stays."""
    terminal = a_terminal(monkeypatch)
    with Steps([COMPILE, LINK]).doing(COMPILE):
        time.sleep(0.1)
    *shown, stays = at_once(terminal.getvalue()).removesuffix("\n").split("\r\x1b[K")
    assert set(shown) == {"", "[1/2] compile: 0 s; next: link"}
    assert stays == "[1/2] compile: done in 0 s"


def test_a_message_does_not_run_into_the_line_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """It erases that line; the next refresh writes the line again below."""
    terminal = a_terminal(monkeypatch)
    with Steps([COMPILE]).doing(COMPILE):
        say("a message")
    assert "\r\x1b[Ka message\n" in terminal.getvalue()


def test_a_failed_step_ends_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error's message then begins on a line of its own."""
    terminal = a_terminal(monkeypatch)
    with pytest.raises(ValueError, match="broken"):
        fail_while_compiling()
    assert at_once(terminal.getvalue()).endswith("\r\x1b[Kcompile: failed after 0 s, 1 of 3 packages\n")
