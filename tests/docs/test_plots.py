"""The plots of the documentation, held against the tables that they are drawn from."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import plots
from benchmarks.tables import Measured, measured, section, table, tables

PAGE = "## One\n\n| a | b |\n| --- | --- |\n| x | 1 |\n\n## Two\n| c |\n| --- |\n| 2 |\n| 3 |\n"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plots, drawn anew."""
    folder = tmp_path_factory.mktemp("plots")
    plots.main(folder)
    return folder


@pytest.mark.parametrize("name", plots.PLOTS)
def test_a_plot_is_that_of_todays_table(name: str, drawn: Path) -> None:
    """Drawn anew, the plot has the same words and numbers as the one that is kept: `python benchmarks/plots.py`."""
    assert _texts(drawn / f"{name}.svg") == _texts(plots.FOLDER / f"{name}.svg")


def test_no_plot_is_left_of_another_time() -> None:
    """Each file in the folder is one of the plots."""
    assert {file.stem for file in plots.FOLDER.iterdir()} == set(plots.PLOTS)


def test_a_bar_says_its_number() -> None:
    """The medians of the table stand at the bars."""
    rows = table(section(plots.PAGE.read_text(), "Five hundred nodes"), "contender")
    assert {row["time, s"] for row in rows} <= set(_texts(plots.FOLDER / "nodes.svg"))


def test_tables_are_found_below_their_heading() -> None:
    """A section has its own tables and no other's."""
    assert tables(section(PAGE, "Two")) == [[{"c": "2"}, {"c": "3"}]]
    assert table(PAGE, "a") == [{"a": "x", "b": "1"}]


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("0.94 (0.74 to 1.13)", Measured(0.94, 0.74, 1.13)),
        ("2,611", Measured(2611, 2611, 2611)),
        ("21.14x", Measured(21.14, 21.14, 21.14)),
        ("-", None),
    ],
)
def test_a_cell_is_its_numbers(cell: str, value: Measured | None) -> None:
    """Median, least and most; a dash is nothing."""
    assert measured(cell) == value


def test_a_heading_that_is_not_there_is_named() -> None:
    """A heading that was renamed is an error, not an empty plot."""
    with pytest.raises(ValueError, match="no section 'Three'"):
        section(PAGE, "Three")


def test_a_table_that_is_not_there_is_named() -> None:
    """A column that was renamed is an error, too."""
    with pytest.raises(ValueError, match="no table begins with a column 'z'"):
        table(PAGE, "z")


def _texts(file: Path) -> list[str]:
    return sorted("".join(text.itertext()) for text in ElementTree.parse(file).iter("{http://www.w3.org/2000/svg}text"))
