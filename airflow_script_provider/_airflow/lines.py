"""A script's lines as entries of Airflow's log, for much less than a call of its logger for each.

This module is apart, so that parsing a DAG file does not load it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import structlog
from msgspec.json import encode
from structlog import contextvars, processors, stdlib

WRITE_BYTES = 16 * 1024
"""Bytes at most of entries that are written at once, unless one alone is longer. A signal that
interrupts a write of more than the socket takes in one piece would tear an entry."""

_ADD_NOTHING = (
    processors.CallsiteParameterAdder,
    processors.StackInfoRenderer,
    processors.ExceptionRenderer,
    processors.UnicodeDecoder,
)
"""Left out: a call site is a walk over the stack for each line, and no line has an exception."""
_KNOWN = (
    processors.MaybeTimeStamper,
    processors.JSONRenderer,
    stdlib.PositionalArgumentsFormatter,
)
_KNOWN_FUNCTIONS = (contextvars.merge_contextvars, processors.add_log_level)
_KNOWN_OF_AIRFLOW = ("respect_stdlib_disable", "positional_arguments_formatter", "logger_name", "redact_jwt")
"""All that they do to a line is the same for each, but for a JWT."""
_BEGIN_OF_JWT = "eyJ"
_ODD = '"\\/\t\x00\x7fäπ😀\u2028</'
"""A text of what encoders of JSON write in different ways."""


class ScriptLines:
    """Writes lines as the logger of a name does: the same entries, each with a time of its own.

    In a process of a task or of the triggerer, where entries are JSON for its supervisor, what is
    the same for all lines is made once for a call of ``write``, and many entries are written
    together. Where Airflow's log is processed in another way, each line goes through all of it.
    """

    def __init__(self, name: str) -> None:
        kept = [one for one in structlog.get_config()["processors"] if not isinstance(one, _ADD_NOTHING)]
        self._logger: Any = structlog.wrap_logger(None, processors=kept, logger_factory_args=(name,)).bind()
        *self._before, self._render = kept
        self._stamps: list[Any] = [one for one in kept if isinstance(one, processors.MaybeTimeStamper)]
        renders_json = isinstance(self._render, processors.JSONRenderer) and bool(self._stamps)
        writes_bytes = isinstance(self._logger._logger, structlog.BytesLogger)
        self._writes_together = renders_json and writes_bytes and all(map(_is_known, kept))

    def write(self, lines: Sequence[str], level: int = logging.INFO, /) -> None:
        """Write lines, as warnings from that level on."""
        method = "info" if level < logging.WARNING else "warning"
        if not self._writes_together:
            for line in lines:
                getattr(self._logger, method)(line)
        elif lines and self._logger.is_enabled_for(getattr(logging, method.upper())):
            for text in _in_pieces(self._entries(lines, method)):
                getattr(self._logger._logger, method)(text)

    def _entries(self, lines: Sequence[str], method: str) -> Iterator[bytes]:
        stamp = self._stamps[0]
        try:
            of_all = self._facts(method)
        except structlog.DropEvent:
            return
        frame = self._frame(of_all, method)
        for line in lines:
            if _BEGIN_OF_JWT in line:
                yield self._logger._process_event(method, line, {})[0][0]
                continue
            time = stamp(None, method, {})
            if frame is None:
                yield self._render(None, method, of_all | time | {"event": line})
            else:
                yield frame[0] + time["timestamp"].encode() + frame[1] + encode(line) + frame[2]

    def _frame(self, of_all: Mapping[str, Any], method: str) -> tuple[bytes, bytes, bytes] | None:
        """What stands in an entry before, between and after its time and its text.

        None if an entry is not made of these.
        """
        entry = self._render(None, method, {**of_all, "timestamp": "TIME", "event": "EVENT"})
        head, is_first, rest = entry.partition(b'"TIME"')
        between, is_second, tail = rest.partition(b'"EVENT"')
        odd = self._render(None, method, {**of_all, "timestamp": "TIME", "event": _ODD})
        is_made_so = odd == head + b'"TIME"' + between + encode(_ODD) + tail
        return (head + b'"', b'"' + between, tail) if is_first and is_second and is_made_so else None

    def _facts(self, method: str) -> dict[str, Any]:
        """What the entry of any line has, beside its text and its time."""
        facts: Any = {"event": ""}
        for process in self._before:
            facts = process(self._logger._logger, method, facts)
        return dict(facts)


def _is_known(processor: Any) -> bool:
    is_airflows = getattr(processor, "__module__", "").endswith("logging.structlog")
    is_known_there = is_airflows and getattr(processor, "__name__", "") in _KNOWN_OF_AIRFLOW
    return is_known_there or isinstance(processor, _KNOWN) or processor in _KNOWN_FUNCTIONS


def _in_pieces(entries: Iterator[bytes]) -> Iterator[bytes]:
    """The entries, as many together as may be written at once."""
    piece: list[bytes] = []
    size = 0
    for entry in entries:
        if piece and size + len(entry) >= WRITE_BYTES:
            yield b"\n".join(piece)
            piece, size = [], 0
        piece.append(entry)
        size += len(entry) + 1
    if piece:
        yield b"\n".join(piece)
