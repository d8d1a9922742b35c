"""Sizes of folders, modules and functions, words and docstrings stay within their bounds."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from dev.counts import Count, counts

COUNTS = counts()


@pytest.mark.parametrize("count", COUNTS, ids=[count.what for count in COUNTS])
def test_a_count_keeps_its_bound(count: Count) -> None:
    """``python dev/counts.py`` prints all of them with their places."""
    assert count.number <= count.bound, "\n".join(count.places)


def test_what_passes_a_bound_is_counted(tmp_path: Path) -> None:
    """Each kind of offence is found once: a count that finds nothing proves nothing."""
    package, docs = tmp_path / "package", tmp_path / "docs"
    package.mkdir()
    docs.mkdir()
    (docs / "page.md").write_text("Whoever reads this is no fool.\n")
    body = "\n".join(["    pass"] * 41)
    message = 'MESSAGE = "this is no JSON; there is no other"'
    text = f'"""Nobody."""\n\n\ndef long():\n{body}\n\n\n{message}\n""" {"x" * 100} """\n' + "\n" * 400
    ast.parse(text)
    (package / "module.py").write_text(text)
    found = {count.what: count.number for count in counts(package, docs)}
    assert list(found.values()) == [1] * 9
