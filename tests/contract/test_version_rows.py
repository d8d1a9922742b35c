"""The rows of other versions, and the page that has their results."""

from __future__ import annotations

from datetime import date

import pytest

from dev import test_matrix as matrix


@pytest.mark.parametrize("name", matrix.ROWS)
def test_each_row_has_its_line(name: str) -> None:
    """What ran is written into the reference, with the day."""
    page = matrix.PAGE.read_text()
    changed = matrix.with_result(page, name, "Kubernetes 1", "3 passed")
    assert f"| `{name}` | {date.today()} | Kubernetes 1 | 3 passed |" in changed.splitlines()
    assert len(changed.splitlines()) == len(page.splitlines())


def test_what_a_failed_step_printed_may_be_any_text() -> None:
    """The row's line stays one that the next result finds."""
    page = matrix.with_result(matrix.PAGE.read_text(), "lowest", "", r"failed: no \d in a | b")
    assert f"| `lowest` | {date.today()} |  | failed: no \\d in a / b |" in page.splitlines()
    assert "3 passed" in matrix.with_result(page, "lowest", "", "3 passed")


def test_the_page_promises_no_other_row() -> None:
    """A row that is gone must not go on being promised."""
    page = matrix.PAGE.read_text()
    with pytest.raises(ValueError, match="no line of the row kubernetes-0"):
        matrix.with_result(page, "kubernetes-0", "", "")
    named = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `") and line.count("|") == 5]
    assert sorted(matrix.ROWS) == sorted(named)
