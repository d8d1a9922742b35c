"""Groups in Airflow's log page."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as some

from airflow_script_provider.kube.logs.groups import AFTER_A_LOSS, MAX_OPEN, Groups
from tests.log_page import outside_of_groups

BROKEN = ":\u200b:group::"
BROKEN_END = ":\u200b:endgroup::"


def shown(*lines: str, groups: Groups | None = None) -> list[str]:
    """Whole lines as the log gets them, until the container has ended."""
    groups = groups or Groups()
    return [*groups.shown([f"{line}\n".encode() for line in lines]), *groups.close()]


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        (["a", "b"], ["a", "b"]),
        (["::group::build", "a", "::endgroup::", "b"], ["::group::build", "a", "::endgroup::", "b"]),
        (["::group::all is well"], ["::group::all is well", "::endgroup::"]),
        (["::group::a", "::group::b", "::endgroup::"], ["::group::a", "::group::b", "::endgroup::", "::endgroup::"]),
        (["  ::group::a", " ::endgroup:: "], ["::group::a", "::endgroup::"]),
        (["::endgroup::", "a"], [BROKEN_END, "a"]),
        (["error … ::endgroup::"], [f"error … {BROKEN_END}"]),
        (["say ::group::x"], [f"say {BROKEN}x"]),
        (["::group::a ::endgroup:: b ::group:: c"], [f"::group::a {BROKEN_END} b {BROKEN} c", "::endgroup::"]),
        (["::group::a", "::endgroup:: done"], ["::group::a", "::endgroup::", "done"]),
        (["x ::gr\x1b[0moup::y"], [f"x {BROKEN}y"]),
        (["\x1b[1m::group::a\x1b[0m"], ["::group::a", "::endgroup::"]),
        (["\x1b[31mred\x1b[0m a::b"], ["\x1b[31mred\x1b[0m a::b"]),
        (["x :\x9b0m:end\x00group::"], [f"x {BROKEN_END}"]),
    ],
)
def test_groups_of_a_script(printed: list[str], expected: list[str]) -> None:
    """A group is a line of its own; what is left open ends with the container, all else is text (R22)."""
    assert shown(*printed) == expected


def test_groups_that_are_too_deep_are_text() -> None:
    """So are their ends: those of the others still fit."""
    lines = shown(*["::group::g"] * (MAX_OPEN + 2), *["::endgroup::"] * (MAX_OPEN + 2), "a")
    assert lines[MAX_OPEN : MAX_OPEN + 4] == [BROKEN + "g", BROKEN + "g", BROKEN_END, BROKEN_END]
    assert outside_of_groups(lines)[0] == ["a"]


def test_a_piece_of_a_line_begins_no_group() -> None:
    """A line that is too long comes in pieces, each with a line of its own in the log."""
    assert Groups().shown([b"x" * 10, b"::group::a\n", b"::group::b\n"]) == ["x" * 10, BROKEN + "a", "::group::b"]
    assert Groups(is_torn=True).shown([b"::group::a\n"]) == [BROKEN + "a"]


def test_streams_are_torn_apart_from_each_other() -> None:
    """Both write to one page, but each has its own lines."""
    groups = Groups()
    assert groups.shown([b"half"], "stdout") == ["half"]
    assert groups.shown([b"::group::a\n"], "stderr") == ["::group::a"]
    assert groups.shown([b"::endgroup::\n"], "stdout") == [BROKEN_END]


def test_the_next_reader_drops_the_end_of_a_group_that_is_closed() -> None:
    """Worker and trigger each close what they have opened; the script's own end then comes once too often (R22)."""
    worker = Groups()
    first = [*worker.shown([b"::group::a\n", b"1\n"]), *worker.close()]
    trigger = Groups(worker.open)
    then = [*trigger.shown([b"2\n", b"::endgroup::\n", b"::endgroup::\n"]), *trigger.close()]
    assert (first, then) == (["::group::a", "1", "::endgroup::"], ["2", BROKEN_END])
    assert (worker.open, trigger.open) == (1, 0)


def test_the_end_of_an_installation_ends_all_groups_in_it() -> None:
    """The installation's group is ours, whatever the package manager prints (R19)."""
    groups = Groups(mark="abc")
    lines = groups.shown([b"::group::Installing\n", b"::group::apt\n", b"::endgroup::abc\n", b"::endgroup::\n"])
    assert lines == ["::group::Installing", "::group::apt", "::endgroup::", "::endgroup::", BROKEN_END]


@pytest.mark.parametrize("folds", [True, False])
def test_an_installation_may_end_without_a_line_end(folds: bool) -> None:
    """The mark then stands in its last line, whose words are shown before the group ends (R22)."""
    groups = Groups(mark="abc", folds=folds)
    lines = [b"::group::Installing packages: jq\n", b"done::endgroup::abc\n", b"mine\n"]
    assert groups.shown(lines) == ["::group::Installing packages: jq", "done", "::endgroup::", "mine"]


def test_a_log_that_is_no_page_has_the_lines_as_printed() -> None:
    """A terminal gets what the script has written; only our mark is not shown."""
    groups = Groups(mark="abc", folds=False)
    lines = [b"::group::a\n", b"x ::endgroup::\n", b"::endgroup::abc\n"]
    assert groups.shown(lines) == ["::group::a", "x ::endgroup::", "::endgroup::"]
    assert groups.close() == []


_PRINTED = some.lists(
    some.sampled_from(
        ["::group::g", "::endgroup::", " x ::group::", "x ::endgroup::", "::gro\x1b[1mup::", "a", "::endgroup:: b"]
    )
    | some.text("::groupend\x1b[m\r\0", max_size=24).filter(lambda text: "\n" not in text)
)


@given(some.lists(_PRINTED, min_size=1, max_size=3), some.booleans())
def test_no_script_hides_what_follows_it(readers: Sequence[list[str]], is_nested: bool) -> None:
    """Whatever is printed, and however often another reader goes on: our lines around it show (R22)."""
    lines, earlier = ["::group::Node node-1"] if is_nested else [], 0
    for printed in readers:
        groups = Groups(earlier)
        lines += shown(*printed, groups=groups)
        earlier = groups.open
        assert outside_of_groups(lines)[1] == (["Node node-1"] if is_nested else [])
    outside, groups_left = outside_of_groups([*lines, *(["::endgroup::"] if is_nested else []), "Job failed"])
    assert (outside[-1], groups_left) == ("Job failed", [])


@given(some.lists(some.binary(max_size=20).map(lambda text: text.replace(b"\n", b"")), max_size=5), some.booleans())
def test_lines_that_come_together_are_shown_as_one_by_one(texts: list[bytes], folds: bool) -> None:
    """Whatever the bytes are (R20)."""
    lines = [text + b"\n" for text in texts]
    together, alone = (Groups(folds=folds, mark="m") for _ in range(2))
    assert together.shown(lines) == [text for line in lines for text in alone.shown([line])]


@given(_PRINTED)
def test_a_lost_reader_hides_nothing(printed: list[str]) -> None:
    """A triggerer that is killed closes nothing; the next one does, before its first line."""
    lost = Groups().shown([f"{line}\n".encode() for line in printed])
    assert (
        outside_of_groups(["::group::Node node-1", *lost, *AFTER_A_LOSS, "repeated below"])[0][-1] == "repeated below"
    )
