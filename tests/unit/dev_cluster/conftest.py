"""The cluster's tooling is a program, not a package: its modules import each other by their bare names."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
sys.path.append(str(ROOT / "dev" / "cluster"))
