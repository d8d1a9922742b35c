"""Draw the plots of the page on performance from its own tables: `python benchmarks/plots.py`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.tables import Row, measured, section, tables

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "performance.md"
FOLDER = PAGE.parent / "plots"

OURS = "#2f7fd1"
OTHERS = ("#737b85", "#b35c9e", "#c9762b")
TEXT = "#7a7a7a"  # contrast 4.3 with white and with the site's dark background
WIDTH = 7.5

Rows = Sequence[Row]


def main(folder: Path = FOLDER) -> None:
    """Draw all of them."""
    page = PAGE.read_text()
    folder.mkdir(exist_ok=True)
    with mpl.rc_context(_STYLE):
        for name, draw in PLOTS.items():
            draw(page).savefig(folder / f"{name}.svg", transparent=True, metadata={"Date": None, "Creator": None})


def delay(page: str) -> Figure:
    """How much later than its container a task ends, in a worker and deferred."""
    in_worker, deferred = tables(section(page, "Delay"))[:2]
    rows = [*in_worker, *(row for row in deferred if "deferrable" in row["contender"])]
    return _bars(rows, "contender", "delay, s", "seconds from the container's end to the task's end")


def log(page: str) -> Figure:
    """The CPU time that a line of a log costs."""
    rows = tables(section(page, "Reading a log"))[0]
    return _bars(rows, "contender", "CPU a line, µs", "CPU time for a line of the script's log, µs")


def waiting(page: str) -> Figure:
    """What waiting scripts cost a triggerer, by their number."""
    rows = tables(section(page, "A thousand waiting scripts"))[0]
    panels = {"CPU, s": "CPU, s", "API requests": "API requests", "p99": "end seen after, p99, s"}
    figure = _figure(2.6)
    axes = figure.subplots(1, len(panels))
    for place, (column, title) in zip(axes, panels.items(), strict=True):
        _lines(place, rows, column, title)
    axes[0].set_xlabel("waiting scripts")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, labelcolor=TEXT)
    return figure


def nodes(page: str) -> Figure:
    """How long a script on 500 nodes takes."""
    rows = tables(section(page, "Five hundred nodes"))[0]
    return _bars(rows, "contender", "time, s", "seconds for 500 nodes", is_ours=lambda name: "bare" not in name)


PLOTS: dict[str, Callable[[str], Figure]] = {"delay": delay, "log": log, "waiting": waiting, "nodes": nodes}

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: small, searchable, in the reader's font
    "svg.hashsalt": "airflow-script-provider",  # the same file from the same numbers
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": TEXT,
    "axes.labelcolor": TEXT,
    "axes.edgecolor": TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
}


def _bars(
    rows: Rows, names: str, column: str, label: str, is_ours: Callable[[str], bool] = lambda name: "Script" in name
) -> Figure:
    """A bar for each row, with its number at the end, and a line from least to most."""
    shown = [(row[names].replace("`", ""), value) for row in rows if (value := measured(row[column])) is not None]
    figure = _figure(0.7 + 0.36 * len(shown))
    axes = figure.subplots()
    for position, (name, value) in enumerate(shown):
        axes.barh(position, value.median, color=OURS if is_ours(name) else OTHERS[0], height=0.62)
        axes.plot([value.least, value.most], [position, position], color=TEXT, linewidth=1.5)
        axes.annotate(f"{value.median:g}", (value.most, position), (5, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(shown)), [name for name, _ in shown])
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlim(left=0)
    axes.set_xlabel(label)
    return figure


def _lines(axes: Any, rows: Rows, column: str, title: str) -> None:
    """A line for each contender over the number of waiting scripts, both on logarithmic scales."""
    contenders = list(dict.fromkeys(row["contender"] for row in rows))
    for name, color in zip(contenders, (OURS, *OTHERS), strict=False):
        points = [(measured(row["waiting"]), measured(row[column])) for row in rows if row["contender"] == name]
        known = [(x.median, y.median) for x, y in points if x and y and y.median > 0]
        axes.plot(*zip(*known, strict=True), marker="o", markersize=4, color=color, label=name)
    axes.set(xscale="log", yscale="log", title=title)
    axes.title.set_fontsize(11)
    counts = sorted({value.median for row in rows if (value := measured(row["waiting"]))})
    axes.set_xticks(counts, [f"{count:,.0f}" for count in counts])
    axes.minorticks_off()
    axes.grid(axis="y", color=TEXT, alpha=0.25)


def _figure(height: float) -> Figure:
    return Figure(figsize=(WIDTH, height), layout="constrained")


if __name__ == "__main__":
    main()
