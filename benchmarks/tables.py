"""Reading the tables of a Markdown page: the numbers in the documentation are the ones that plots are drawn from."""

from __future__ import annotations

import re
from dataclasses import dataclass

Row = dict[str, str]

_NUMBER = re.compile(r"-?[\d,]+(?:\.\d+)?")


@dataclass(frozen=True)
class Measured:
    """A cell with numbers: the median, and least and most where the cell has them in brackets."""

    median: float
    least: float
    most: float


def section(text: str, heading: str) -> str:
    """What stands below a heading of the second level that begins so."""
    found = re.search(rf"^## {re.escape(heading)}[^\n]*\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError(f"the page has no section {heading!r}")
    return found[1]


def tables(text: str) -> list[list[Row]]:
    """All tables, each as rows by the names of its columns."""
    blocks = re.findall(r"(?:^\|[^\n]*\n)+", text if text.endswith("\n") else f"{text}\n", re.MULTILINE)
    return [_rows(block.splitlines()) for block in blocks]


def table(text: str, first: str) -> list[Row]:
    """The table whose first column has this name."""
    for rows in tables(text):
        if next(iter(rows[0])) == first:
            return rows
    raise ValueError(f"no table begins with a column {first!r}")


def measured(cell: str) -> Measured | None:
    """``0.94 (0.74 to 1.13)``, ``2,611`` or ``1.00x``; None for a dash."""
    numbers = [float(number.replace(",", "")) for number in _NUMBER.findall(cell) if number.strip("-,")]
    if not numbers:
        return None
    median, *spread = numbers
    least, most = spread[:2] if len(spread) >= 2 else (median, median)
    return Measured(median, least, most)


def _rows(lines: list[str]) -> list[Row]:
    names = _cells(lines[0])
    return [dict(zip(names, _cells(line), strict=True)) for line in lines[2:]]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]
