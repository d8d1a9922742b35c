"""Makes the cluster's modules importable: they import each other without a package name."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
sys.path.append(str(ROOT / "dev" / "cluster"))
