"""The documentation of the Script tool's format."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_script_provider.spec import job, source, step

PAGE = (Path(__file__).parents[3] / "docs" / "howto" / "from-noetl.md").read_text()
TABLES = "\n".join(line for line in PAGE.splitlines() if line.startswith("|"))
KEYS = {
    *(spelling for spellings in job.SPELLINGS.values() for spelling in spellings),
    *(f"type: {name}" for name in source.TYPES),
    *source.TRANSPORT,
    *step.PLAYBOOK_KEYS,
    *step.STEP_KEYS,
    *step.KEYCHAIN_KEYS,
}


@pytest.mark.parametrize("key", sorted(KEYS))
def test_every_key_is_mapped(key: str) -> None:
    """One of the page's tables has each accepted key."""
    assert f"`{key}`" in TABLES or f"`{key}." in TABLES
