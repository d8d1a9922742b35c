"""A script's lines in Airflow's log: the entries of its own logger, written together."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
import structlog
from airflow.sdk._shared.logging.structlog import (
    PER_LOGGER_LEVELS,
    LoggerFactory,
    NamedBytesLogger,
    make_filtering_logger,
)
from airflow.sdk._shared.logging.structlog import structlog_processors as airflows_processors
from hypothesis import given, settings
from hypothesis import strategies as some

from airflow_script_provider._airflow import lines as module
from airflow_script_provider._airflow.lines import ScriptLines

NAME = "airflow.task.script"
A_JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
SOME_LINES = some.lists(some.one_of(some.text(), some.sampled_from([f"token {A_JWT}", "100 %s", '{"a": 1}'])))


class Entries:
    """What a process has written for its supervisor."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> int:
        """Take what a logger writes."""
        self.writes.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is kept back."""

    def taken(self) -> list[dict[str, Any]]:
        """The entries since the last time; every line of them is one."""
        text, self.writes = b"".join(self.writes), []
        assert text == b"" or text.endswith(b"\n")
        return [json.loads(line) for line in text.splitlines()]


@contextmanager
def supervised(*more: Any) -> Iterator[Entries]:
    """Structlog as Airflow configures it for a process that has a supervisor, perhaps with more processors."""
    before, entries = structlog.get_config(), Entries()
    shared, _, renderer = airflows_processors(json_output=True)
    structlog.configure(
        processors=[*shared, *more, renderer],
        logger_factory=LoggerFactory(NamedBytesLogger, io=cast("Any", entries)),
        wrapper_class=cast("Any", make_filtering_logger()),
        cache_logger_on_first_use=False,
    )
    try:
        yield entries
    finally:
        structlog.configure(**before)


def without_time(entries: list[dict[str, Any]]) -> list[list[tuple[str, Any]]]:
    """The entries, whose keys are in their order, without the time stamps."""
    return [[(key, value) for key, value in entry.items() if key != "timestamp"] for entry in entries]


@settings(max_examples=60)
@given(lines=SOME_LINES, level=some.sampled_from([logging.INFO, logging.WARNING]))
def test_the_entries_are_those_of_the_logger(lines: list[str], level: int) -> None:
    """Whatever is printed: an entry for each line, with what is bound in the context, without a JWT (R13, R22)."""
    with supervised() as entries, structlog.contextvars.bound_contextvars(trigger_id=7):
        for line in lines:
            structlog.get_logger(NAME).log(level, line)
        of_logger = entries.taken()
        ScriptLines(NAME).write(lines, level)
        ours = entries.taken()
    assert without_time(ours) == without_time(of_logger)
    times = [entry["timestamp"] for entry in of_logger + ours]
    assert times == sorted(times)
    assert A_JWT not in str(ours)


def test_a_line_has_a_time_of_its_own() -> None:
    """Although many are written together (R13)."""
    with supervised() as entries:
        ScriptLines(NAME).write([f"n {number}" for number in range(1_000)])
        times = [entry["timestamp"] for entry in entries.taken()]
    assert len(set(times)) > 1


@pytest.mark.parametrize(("length", "most"), [(1, 5), (70, 10), (4 * module.WRITE_BYTES, 500)])
def test_entries_are_written_together(length: int, most: int) -> None:
    """As many as a socket takes in one piece; a longer one alone (R39)."""
    with supervised() as entries:
        ScriptLines(NAME).write(["x" * length] * 500)
        assert all(len(write) <= module.WRITE_BYTES or write.count(b"\n") == 1 for write in entries.writes)
        assert len(entries.writes) <= most
        assert len(entries.taken()) == 500


def test_another_processor_sees_every_line() -> None:
    """Remote logging may send entries away with one of its own (R13)."""
    seen: list[str] = []

    def sends(_logger: Any, _method: str, event: Any) -> Any:
        seen.append(event["event"])
        return event

    with supervised(sends) as entries:
        ScriptLines(NAME).write(["a", "b"])
        assert [entry["event"] for entry in entries.taken()] == ["a", "b"]
    assert seen == ["a", "b"]


def test_a_level_that_is_not_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of stdout are of level INFO, those of stderr warnings (R13)."""
    monkeypatch.setitem(PER_LOGGER_LEVELS, "", logging.WARNING)
    with supervised() as entries:
        ScriptLines(NAME).write(["out"])
        ScriptLines(NAME).write(["err"], logging.WARNING)
        assert [(entry["level"], entry["event"]) for entry in entries.taken()] == [("warning", "err")]


def test_a_log_of_another_kind(capsys: pytest.CaptureFixture[str]) -> None:
    """``airflow dags test`` shows lines in a terminal (R13)."""
    ScriptLines(NAME).write(["for a terminal", "100 %s"])
    shown = capsys.readouterr().out
    assert "for a terminal" in shown
    assert "100 %s" in shown
