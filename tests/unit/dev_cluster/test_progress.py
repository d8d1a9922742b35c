"""The lines that show how far a start or a build is."""

from __future__ import annotations

import pytest
from progress import Place, Step, compiled, downloaded, duration, failed, finished, fitted, overview, place, running

INSTALL = Step("install Debian packages", "runc, iptables")
COMPILE = Step("compile Kubernetes v1.2.3", "once per machine")
START = Step("start the nodes")
PLAN = [INSTALL, COMPILE, START]


def test_a_step_is_placed_among_the_planned_ones() -> None:
    """Its number, the number of all steps, and the step that follows."""
    assert place(PLAN, COMPILE) == Place("compile Kubernetes v1.2.3", 2, 3, "start the nodes")


def test_the_last_step_has_no_successor() -> None:
    """The line then ends with the time."""
    assert running(place(PLAN, START), 4) == "[3/3] start the nodes: 4 s"


def test_a_step_outside_the_plan_has_no_number() -> None:
    """For example, the wait for the lock of another run."""
    assert running(place(PLAN, Step("wait for another run")), 4) == "wait for another run: 4 s"


def test_the_only_step_has_no_number() -> None:
    """A lone step needs no "1 of 1"."""
    assert running(place([START], START), 4) == "start the nodes: 4 s"


def test_a_running_step_shows_count_time_and_successor() -> None:
    """One line answers: how far, how long, what comes next."""
    line = "[2/3] compile Kubernetes v1.2.3: 512 of 2734 packages, 2 min 15 s; next: start the nodes"
    assert running(place(PLAN, COMPILE), 135, "512 of 2734 packages") == line


def test_a_finished_step_shows_what_was_done() -> None:
    """The detail of a finished step is its result."""
    line = "[2/3] compile Kubernetes v1.2.3: done in 6 min 12 s, 2734 packages"
    assert finished(place(PLAN, COMPILE), 372, "2734 packages") == line


def test_a_log_also_names_the_next_step() -> None:
    """In a log, the next line appears only after 15 seconds."""
    line = "[1/3] install Debian packages: done in 9 s; next: compile Kubernetes v1.2.3"
    assert finished(place(PLAN, INSTALL), 9, name_next=True) == line


def test_a_failed_step_shows_how_far_it_was() -> None:
    """The message of the error follows below."""
    line = "[2/3] compile Kubernetes v1.2.3: failed after 1 min 03 s, 40 of 2734 packages"
    assert failed(place(PLAN, COMPILE), 63, "40 of 2734 packages") == line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59.9, "59 s"), (60, "1 min 00 s"), (135, "2 min 15 s"), (3723, "62 min 03 s")],
)
def test_times_are_minutes_and_seconds(seconds: float, text: str) -> None:
    """Seconds alone up to one minute."""
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "total", "text"),
    [
        (0, 2734, "0 of 2734 packages"),
        (512, 2734, "512 of 2734 packages"),
        (2734, 2734, "2734 of 2734 packages, then linking"),
        (2735, 2734, "2735 packages"),
        (512, None, "512 packages"),
        (0, 0, "linking"),
    ],
)
def test_no_false_total_is_promised(count: int, total: int | None, text: str) -> None:
    """A total that is unknown or proved wrong is left out; all packages compiled means linking."""
    assert compiled(count, total) == text


def test_the_number_of_modules_is_a_limit() -> None:
    """A build does not need every module that go.mod requires, and the cache may hold some."""
    assert downloaded(57, 217) == "57 of at most 217"


def test_a_line_fits_the_terminal() -> None:
    """A longer line would wrap, and a carriage return could not erase its first part."""
    assert fitted("0123456789", 8) == "012345…"
    assert fitted("0123456", 8) == "0123456"


def test_the_overview_says_beforehand_what_takes_long() -> None:
    """Numbered as in the lines that follow, with what is worth knowing about each step."""
    assert overview("start Kubernetes", PLAN) == [
        "start Kubernetes, 3 steps:",
        "  1. install Debian packages (runc, iptables)",
        "  2. compile Kubernetes v1.2.3 (once per machine)",
        "  3. start the nodes",
    ]


def test_short_steps_need_no_overview() -> None:
    """When everything is in the cache, one line names the first step."""
    assert overview("start Kubernetes", [START, START]) == ["start Kubernetes, 2 steps; first: start the nodes"]
