"""What keeps a run from starting, by the lines of Warning events about its Job and its pods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from airflow_script_provider.kube.causes import cluster_messages, signs
from airflow_script_provider.kube.causes.patterns import compiled_later
from airflow_script_provider.kube.times import parse_optional_time
from airflow_script_provider.kube.wording import one_line
from airflow_script_provider.result import Category

_EVENT = compiled_later(r"^\S+ \S+: (?P<reason>\w+): ")


class NotStarted(NamedTuple):
    """Why no container runs, and what to do. ``category`` and ``reason`` may be unknown."""

    why: str
    advice: str = ""
    category: Category | None = None
    reason: str | None = None


def event_line(event: Mapping[str, Any]) -> str:
    """A Kubernetes event as one line, without logins and what a hook or a probe printed.

    Nor does it have what a container runtime quotes of a container that it cannot start.
    """
    thing, reason, message = event.get("involvedObject", {}), event.get("reason"), one_line(event.get("message") or "")
    if reason == "Failed" and message.startswith("Error: "):
        message = cluster_messages.without_quotes(message)
    line = f"{thing.get('kind')} {thing.get('name')}: {reason}: {message}"
    return without_printed_text(cluster_messages.without_logins(line))


def event_lines(events: Iterable[Mapping[str, Any]]) -> list[str]:
    """Kubernetes events as lines, each once."""
    return list(dict.fromkeys(map(event_line, events)))


def about(kind: str, lines: Sequence[str]) -> list[str]:
    """The lines about objects of a kind. Those about a Job are settled once it has a pod."""
    return [line for line in lines if line.startswith(f"{kind} ")]


def without_printed_text(line: str) -> str:
    """The line of an event without what a hook or a probe printed, which may be any value."""
    found = _EVENT.match(line)
    if found is None or found["reason"] not in signs.OF_HOOKS:
        return line
    return line[: found.end()] + line[found.end() :].partition(": ")[0]


def last_cause(lines: Sequence[str]) -> NotStarted:
    """The last event that tells a cause, otherwise the last one."""
    found = [_of_event(line) for line in lines]
    return next((one for one in reversed(found) if one.category or one.advice), found[-1])


def _of_event(line: str) -> NotStarted:
    """What a line of an event says, without its object: that is the Job or a pod of it."""
    found = _EVENT.match(line)
    if found is None:
        category = signs.category_of(signs.OF_THE_CLUSTER, line, None)
        return NotStarted(line, signs.advice(signs.OF_THE_CLUSTER, line), category)
    reason, message = found["reason"], line[found.end() :]
    why = f"{reason}: {cluster_messages.event_cause(message)}".removesuffix(": ")
    category = signs.category_of(signs.OF_THE_CLUSTER, message, reason)
    return NotStarted(why, signs.advice(signs.OF_THE_CLUSTER, message), category, reason)


def last_time(event: Mapping[str, Any]) -> datetime | None:
    """When an event was last repeated, by its source's clock; None if it does not say so."""
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return next((parse_optional_time(text) for text in times if text), None)
