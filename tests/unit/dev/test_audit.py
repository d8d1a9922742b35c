"""What ``make audit`` makes of pip-audit's report."""

from __future__ import annotations

from typing import Any

from dev.audit import FOUND, NOT_KNOWN, verdict

FINE: dict[str, Any] = {"name": "attrs", "version": "25.4.0", "vulns": []}
UNKNOWN: dict[str, Any] = {"name": "yarl", "skip_reason": "Dependency not found"}
WEAK: dict[str, Any] = {
    "name": "jinja2",
    "version": "2.0",
    "vulns": [{"id": "PYSEC-2019-217", "fix_versions": ["2.10.1"], "aliases": [], "description": "…"}],
}


def test_no_vulnerability_is_success() -> None:
    """With the number that was looked up."""
    assert verdict({"dependencies": [FINE]}) == (0, ["1 requirements audited, 0 known vulnerabilities"])


def test_a_vulnerability_says_what_mends_it() -> None:
    """Requirement, advisory, version."""
    code, lines = verdict({"dependencies": [FINE, WEAK]})
    assert code == FOUND
    assert lines[0] == "jinja2 2.0: PYSEC-2019-217, mended in 2.10.1"


def test_what_nobody_knows_is_no_success() -> None:
    """pip-audit alone would say "No known vulnerabilities found"."""
    code, lines = verdict({"dependencies": [FINE, UNKNOWN]})
    assert code == NOT_KNOWN
    assert lines[0] == "1 of 2 requirements were not audited: yarl"


def test_a_vulnerability_weighs_more_than_what_nobody_knows() -> None:
    """Both are said."""
    code, lines = verdict({"dependencies": [UNKNOWN, WEAK]})
    assert code == FOUND
    assert len(lines) == 3
