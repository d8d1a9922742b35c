"""What a benchmark prints: a table in Markdown and a line per target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows as a Markdown table with columns of equal width."""
    widths = [max(len(row[column]) for row in (headers, *rows)) for column in range(len(headers))]
    lines = [headers, ["-" * width for width in widths], *rows]
    return "\n".join("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines)


def target(words: str, *, reached: bool, numbers: str) -> str:
    """A target in words, whether it was reached, and the numbers that say so."""
    return f"{'reached' if reached else 'missed '}: {words} ({numbers})"


def spread(values: Sequence[float], unit: str = "", digits: int = 2) -> str:
    """Median, and least and most in brackets; a dash where nothing was measured."""
    if not values:
        return "-"
    return f"{median(values):.{digits}f}{unit} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many percent do not exceed; NaN where nothing was measured."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else math.nan


def ratio(value: float, reference: float) -> str:
    """How many times the reference a value is."""
    return f"{value / reference:.2f}x" if reference > 0 else "-"
