"""What a tag must agree with to become a release."""

from __future__ import annotations

import pytest

from dev.release import problems

CHANGELOG = "# Changes\n\n## 1.2.0 - 2026-03-01\n\n## 1.1.0 - 2026-01-01\n"


def test_a_tag_of_the_version_is_a_release() -> None:
    """With a dated heading in the CHANGELOG."""
    assert problems("v1.2.0", "1.2.0", CHANGELOG) == []


@pytest.mark.parametrize(
    ("tag", "version", "changelog", "words"),
    [
        ("v1.3.0", "1.2.0", CHANGELOG, "the tag must be v1.2.0"),
        ("1.2.0", "1.2.0", CHANGELOG, "the tag must be v1.2.0"),
        ("v1.2.0", "1.2.0", "## Unreleased\n", "no heading '## 1.2.0"),
        ("v1.2.0", "1.2.0", "## 1.2.0\n", "no heading '## 1.2.0"),
        ("v1.2.0", "1.2.0", "## 1.2.01 - 2026-03-01\n", "no heading '## 1.2.0"),
    ],
)
def test_what_does_not_agree_is_said(tag: str, version: str, changelog: str, words: str) -> None:
    """One line that says what to change."""
    (problem,) = problems(tag, version, changelog)
    assert words in problem
