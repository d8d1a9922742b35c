"""The plan of a script on nodes, and the decision which run starts next."""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import timedelta
from enum import StrEnum

from airflow_script_provider.kube.durations import MAX_SECONDS, Deadline
from airflow_script_provider.kube.syntax import check_flag

MAX_PLAN = 200 * 1024
"""Bytes of a plan's text: all annotations of an object may have 256 KiB together."""
OWNER_MARGIN = 600
"""Seconds beyond the longest time of all runs. Then Kubernetes ends runs without a follower."""

DEFAULT_MAX_RUN_OUTPUT = 2 * 1024
"""Bytes of output of a run that its record keeps."""


class Mode(StrEnum):
    """What the script may do on its node."""

    NORMAL = "normal"
    PRIVILEGED = "privileged"
    HOST = "host"

    @property
    def grants(self) -> str:
        """What the mode grants, as text for the log; empty for ``normal``."""
        return _GRANTS[self]


_GRANTS = {
    Mode.NORMAL: "",
    Mode.PRIVILEGED: "all capabilities and all devices of its node",
    Mode.HOST: "all capabilities, all devices, all processes and, at /host, all files of its node, writable",
}


@dataclass(frozen=True, kw_only=True)
class NodePlan:
    """Which nodes the script runs on, and how often.

    ``timeout`` is the time in seconds that one run may work. ``begins_within`` is the time that it
    has before, 0 in a plan of an earlier version. ``expires_at`` is when the task's own time is
    over, in seconds since 1970 by the clock of the worker that launched the owner or has adopted
    it. ``skipped`` are chosen nodes that are left out, and why.
    ``earlier`` are nodes that succeeded in an earlier try of the task. ``owed`` are those of
    ``skipped`` that an earlier try had chosen and where it did not succeed: they count as failed.
    """

    nodes: tuple[str, ...]
    runs: int = 1
    interval: float = 0.0
    history_limit: int = 10
    max_parallel: int | None = None
    stop_after_failures: int | None = None
    timeout: int | None = 600
    begins_within: int = 0
    expires_at: float | None = None
    skipped: Mapping[str, str] = field(default_factory=dict)
    earlier: tuple[str, ...] = ()
    owed: tuple[str, ...] = ()

    @property
    def is_live(self) -> bool:
        """Whether one node runs at a time, so that its lines can be shown as they come."""
        return self.at_once == 1

    @property
    def at_once(self) -> int:
        """How many nodes may run the script at the same time."""
        return min(self.max_parallel or len(self.nodes), len(self.nodes))

    @property
    def time_for_work(self) -> int | None:
        """Seconds after which a follower ends the work of a run; None if Kubernetes does that."""
        return self.timeout if self.begins_within else None

    @property
    def longest_run(self) -> int | None:
        """Seconds of one run, with its wait for a node and its start; None without a limit."""
        return None if self.timeout is None else min(self.begins_within + self.timeout, MAX_SECONDS)

    def unknown(self, ended: Collection[int]) -> list[int]:
        """The runs of a node that must have a record, and that are not among those that have one.

        These are the ones before the last run, as far back as ``history_limit``.
        """
        last = max(ended, default=-1)
        return [index for index in range(max(0, last + 1 - self.history_limit), last) if index not in ended]

    def longest(self, grace_period: int) -> int | None:
        """Seconds that all runs take at most; None if a run has no limit, or if it is decades."""
        if self.longest_run is None:
            return None
        waves = math.ceil(len(self.nodes) / max(1, self.at_once))
        one_node = self.runs * (self.longest_run + grace_period) + (self.runs - 1) * self.interval
        longest = math.ceil(waves * one_node) + OWNER_MARGIN
        return longest if longest <= MAX_SECONDS else None

    def owner_deadline(self, grace_period: int, now: float) -> int | None:
        """Seconds from the time of day ``now`` after which Kubernetes ends the owner."""
        seconds = self.longest(grace_period)
        if self.expires_at is None:
            return seconds
        left = math.ceil(self.expires_at - now) + OWNER_MARGIN
        return left if seconds is None else min(seconds, left)

    def run_deadline(self, left: float | None) -> int | None:
        """Seconds after which Kubernetes ends a run that starts now, None for never.

        ``left`` are left of the task's own time.
        """
        return Deadline.within(self.longest_run, left).seconds

    def to_text(self) -> str:
        """The annotation's text, compressed because a plan may have thousands of names.

        ``ValueError`` if it is still longer than ``MAX_PLAN``.
        """
        packed = zlib.compress(json.dumps(asdict(self)).encode(), 9)
        text = base64.b64encode(packed).decode()
        if len(text) > MAX_PLAN:
            raise ValueError(
                f"{len(self.nodes)} nodes need {len(text):,} bytes in an annotation, more than {MAX_PLAN:,}; "
                "use several tasks with narrower selectors"
            )
        return text

    @classmethod
    def from_text(cls, text: str) -> NodePlan:
        """The plan of a text of ``to_text``. Unknown fields, of newer versions, are left out."""
        given = json.loads(zlib.decompress(base64.b64decode(text)))
        known = {one.name: given[one.name] for one in fields(cls) if one.name in given}
        names = {name: tuple(known.get(name, ())) for name in ("earlier", "owed")}
        return cls(**known | names | {"nodes": tuple(known["nodes"])})


@dataclass(frozen=True, kw_only=True)
class NodeSettings:
    """How the script runs on its nodes. Names and defaults are the operator's."""

    mode: str = Mode.NORMAL.value
    runs: int = 1
    interval: float | timedelta = 0
    history_limit: int = 10
    max_parallel: int | None = None
    stop_after_failures: int | None = None
    retry_failed_only: bool = True

    def check(self) -> None:
        """Refuse what is not a count, and unknown modes. ``ValueError`` names the argument."""
        check_flag(self.retry_failed_only, "retry_failed_only")
        if self.mode not in tuple(Mode):
            raise ValueError(f"mode={self.mode!r} must be one of {', '.join(Mode)}")
        for name in ("runs", "history_limit", "max_parallel", "stop_after_failures"):
            value = getattr(self, name)
            is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 1
            if not is_count and not (value is None and name in ("max_parallel", "stop_after_failures")):
                raise ValueError(f"{name}={value!r} must be a whole number, 1 or more")
        self._seconds()

    def on_nodes(self, *, timeout: int | None, begins_within: int, expires_at: float | None) -> OnNodes:
        """Mode and plan. The plan has no nodes yet."""
        return OnNodes(
            Mode(self.mode),
            NodePlan(
                nodes=(),
                runs=self.runs,
                interval=self._seconds(),
                history_limit=self.history_limit,
                max_parallel=self.max_parallel,
                stop_after_failures=self.stop_after_failures,
                timeout=timeout,
                begins_within=begins_within,
                expires_at=expires_at,
            ),
        )

    def _seconds(self) -> float:
        seconds = self.interval.total_seconds() if isinstance(self.interval, timedelta) else self.interval
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= MAX_SECONDS:
            raise ValueError(f"interval={self.interval!r} must be seconds or a timedelta, at least 0")
        return float(seconds)


@dataclass(frozen=True)
class OnNodes:
    """How a request runs on nodes: what the script may do there, and the plan."""

    mode: Mode
    plan: NodePlan


@dataclass(frozen=True)
class NodeState:
    """The runs of a node that are over, how many of them failed, and when the last one ended.

    ``is_lost`` means that the node itself failed, so it gets no further run. Times are of one
    monotonic clock.
    """

    ended: int = 0
    failed: int = 0
    is_lost: bool = False
    is_running: bool = False
    ended_at: float = 0.0


@dataclass(frozen=True)
class Start:
    """A run to start now."""

    node: str
    index: int


@dataclass(frozen=True)
class NextRuns:
    """The runs to start now. Unless a run ends, none follows before ``until``.

    ``is_over`` means that no run is left.
    """

    starts: Sequence[Start] = ()
    until: float | None = None
    is_over: bool = False


def next_step(plan: NodePlan, states: Mapping[str, NodeState], now: float) -> NextRuns:
    """Decide which runs start next.

    A node keeps its place among ``max_parallel`` until its last run ends.
    """
    if must_stop(plan, states):
        return NextRuns(is_over=not any(state.is_running for state in states.values()))
    begun = {name: states[name] for name in plan.nodes if name in states and not is_done(plan, states[name])}
    pausing = {name: state for name, state in begun.items() if not state.is_running}
    ready = [name for name, state in pausing.items() if now >= state.ended_at + plan.interval]
    free = plan.at_once - len(begun)
    new = [name for name in plan.nodes if name not in states][: max(0, free)]
    starts = [Start(name, states[name].ended) for name in ready] + [Start(name, 0) for name in new]
    moments = [state.ended_at + plan.interval for name, state in pausing.items() if name not in ready]
    return NextRuns(starts, min(moments, default=None), is_over=not begun and not new)


def must_stop(plan: NodePlan, states: Mapping[str, NodeState]) -> bool:
    """Whether so many nodes have failed that no further run starts."""
    failed = sum(state.failed > 0 for state in states.values())
    return plan.stop_after_failures is not None and failed >= plan.stop_after_failures


def is_done(plan: NodePlan, state: NodeState) -> bool:
    """Whether a node gets no further run."""
    return not state.is_running and (state.ended >= plan.runs or state.is_lost)
