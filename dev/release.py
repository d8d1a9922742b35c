"""Refuse a release whose tag, version and CHANGELOG do not agree: ``python dev/release.py v0.1.0``."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def problems(tag: str, version: str, changelog: str) -> list[str]:
    """What keeps this tag from being the release of this version."""
    found = []
    if tag != f"v{version}":
        found.append(f"the tag is {tag}, the package's version {version}: the tag must be v{version}")
    if not re.search(rf"^## \[?{re.escape(version)}\]? - \d{{4}}-\d{{2}}-\d{{2}}$", changelog, re.MULTILINE):
        found.append(f"CHANGELOG.md has no heading '## {version} - YYYY-MM-DD'")
    return found


def main(tag: str) -> int:
    """Say what is wrong; 1 if something is."""
    package = (ROOT / "airflow_script_provider" / "__init__.py").read_text()
    (version,) = re.findall(r'^__version__ = "(.+)"$', package, re.MULTILINE)
    found = problems(tag, version, (ROOT / "CHANGELOG.md").read_text())
    for problem in found:
        print(problem, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
