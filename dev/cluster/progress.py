"""The lines that show how far a start or a build is: functions of plain counts and times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One step of a start or a build; `note` is what to know about it beforehand."""

    title: str
    note: str = ""


@dataclass(frozen=True)
class Place:
    """Where a step stands among all steps; number 0 means outside the plan."""

    title: str
    number: int = 0
    count: int = 0
    following: str = ""


def place(plan: Sequence[Step], step: Step) -> Place:
    """The step's place in the plan."""
    titles = [planned.title for planned in plan]
    if step.title not in titles:
        return Place(step.title)
    index = titles.index(step.title)
    return Place(step.title, index + 1, len(titles), "".join(titles[index + 1 : index + 2]))


def overview(task: str, plan: Sequence[Step]) -> list[str]:
    """The lines to print before the first step: all steps if one has a note."""
    headline = f"{task}, {len(plan)} steps"
    if not any(step.note for step in plan):
        return [f"{headline}; first: {plan[0].title}"] if len(plan) > 1 else []
    notes = [f" ({step.note})" if step.note else "" for step in plan]
    lines = [f"  {number}. {step.title}{note}" for number, (step, note) in enumerate(zip(plan, notes, strict=True), 1)]
    return [f"{headline}:", *lines]


def running(place: Place, seconds: float, detail: str = "") -> str:
    """The line of a running step: what was counted, elapsed time, and the next step."""
    counted = f"{detail}, " if detail else ""
    return f"{_name(place)}: {counted}{duration(seconds)}{_next(place)}"


def finished(place: Place, seconds: float, detail: str = "", *, name_next: bool = False) -> str:
    """The line that stays when a step has ended well."""
    result = f", {detail}" if detail else ""
    return f"{_name(place)}: done in {duration(seconds)}{result}{_next(place) if name_next else ''}"


def failed(place: Place, seconds: float, detail: str = "") -> str:
    """The line that stays when a step has failed."""
    result = f", {detail}" if detail else ""
    return f"{_name(place)}: failed after {duration(seconds)}{result}"


def compiled(count: int, total: int | None) -> str:
    """The progress of a Go build; a total that is unknown (None) or too low is left out."""
    if total == 0:
        return "linking"
    if total is None or count > total:
        return plural(count, "package")
    return f"{count} of {total} packages" + (", then linking" if count == total else "")


def downloaded(count: int, required: int) -> str:
    """The progress of a download; a build may need fewer modules than go.mod requires."""
    return f"{count} of at most {required}"


def plural(count: int, noun: str) -> str:
    """The count and its noun, such as `1 module` or `2 modules`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def duration(seconds: float) -> str:
    """A time such as `9 s` or `2 min 05 s`."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def fitted(line: str, columns: int) -> str:
    """The line, shortened so that a terminal of this width does not wrap it."""
    return line if len(line) < columns else f"{line[: columns - 2]}…"


def _name(place: Place) -> str:
    return f"[{place.number}/{place.count}] {place.title}" if place.count > 1 else place.title


def _next(place: Place) -> str:
    return f"; next: {place.following}" if place.following else ""
