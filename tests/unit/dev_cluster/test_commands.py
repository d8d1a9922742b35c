"""Commands and the messages of their failures."""

from __future__ import annotations

import sys

import pytest
from commands import SHOWN_LINES, run
from errors import ClusterError


def a_program(source: str) -> list[str]:
    """A Python program as a command."""
    return [sys.executable, "-c", f"import sys; {source}"]


def test_standard_output_is_returned() -> None:
    """Messages on stderr are not part of it."""
    assert run(a_program("print('out'); print('err', file=sys.stderr)")) == "out\n"


def test_progress_is_reported_line_by_line() -> None:
    """The caller sees each line of stderr."""
    seen: list[str] = []

    def is_progress(line: str) -> bool:
        seen.append(line)
        return True

    run(a_program("[print(n, file=sys.stderr) for n in range(3)]"), is_progress=is_progress)
    assert seen == ["0", "1", "2"]


def test_a_failure_shows_exit_code_and_last_lines() -> None:
    """The beginning of a long output is left out."""
    with pytest.raises(ClusterError, match="exit code 7") as failure:
        run(a_program("[print(f'line {n}', file=sys.stderr) for n in range(99)]; sys.exit(7)"))
    assert str(failure.value).splitlines()[-SHOWN_LINES:] == [f"line {n}" for n in range(99 - SHOWN_LINES, 99)]


def test_progress_does_not_displace_the_compilers_lines() -> None:
    """After an error, Go compiles other packages, so names follow the compiler's message."""
    source = "print('a.go:1: syntax error', file=sys.stderr); [print('package', file=sys.stderr) for n in range(99)]"
    with pytest.raises(ClusterError) as failure:
        run(a_program(f"{source}; sys.exit(1)"), is_progress=lambda line: line == "package")
    assert str(failure.value).splitlines()[1:] == ["a.go:1: syntax error"]
