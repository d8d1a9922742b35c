"""Look for known vulnerabilities of the locked requirements; report it if the advisory service did not answer.

pip-audit by itself is content with an advisory service that knows no single package.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCKED = "requirements/dev.txt"
FOUND, NOT_KNOWN = 1, 2
NAMED = 5
"""How many requirements that the service does not know are listed."""


def verdict(report: dict[str, Any]) -> tuple[int, list[str]]:
    """The exit code and the lines to print for pip-audit's report in JSON."""
    dependencies = report["dependencies"]
    skipped = [dependency["name"] for dependency in dependencies if "skip_reason" in dependency]
    lines = [line for dependency in dependencies for line in _vulnerabilities(dependency)]
    code = FOUND if lines else 0
    if skipped:
        code = code or NOT_KNOWN
        names = ", ".join(skipped[:NAMED]) + (", …" if len(skipped) > NAMED else "")
        lines.append(f"{len(skipped)} of {len(dependencies)} requirements were not audited: {names}")
        lines.append("The advisory service does not know them; a mirror of a package index often has no advisories.")
    else:
        lines.append(f"{len(dependencies)} requirements audited, {len(lines)} known vulnerabilities")
    return code, lines


def _vulnerabilities(dependency: dict[str, Any]) -> list[str]:
    name = f"{dependency['name']} {dependency.get('version', '')}"
    return [
        f"{name}: {found['id']}, mended in {', '.join(found['fix_versions']) or 'no version'}"
        for found in dependency.get("vulns", [])
    ]


def main() -> int:
    """Run pip-audit; 1 if something was found, 2 if something could not be looked up."""
    command = [str(Path(sys.executable).with_name("pip-audit")), "--format", "json", "--progress-spinner", "off"]
    command += ["--disable-pip", "--require-hashes", "-r", LOCKED]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        print(f"Nothing was audited, the advisory service could not be asked: {last}", file=sys.stderr)
        return NOT_KNOWN
    code, lines = verdict(report)
    print("\n".join(lines), file=sys.stderr if code else sys.stdout)
    return code


if __name__ == "__main__":
    sys.exit(main())
