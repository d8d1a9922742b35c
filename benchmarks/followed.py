"""Whether one event loop carries the logs of hundreds of scripts: every line once, the loop free, memory flat."""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import cluster, fake_jobs, triggerer
from benchmarks.contenders import own_airflow_home
from benchmarks.report import percentile, table, target
from benchmarks.triggerer import OURS_WITH_LOG, RAW_FOLLOW, Measured
from benchmarks.triggers import process

ALLOWED_LATENESS, ALLOWED_GROWTH = 0.1, 0.05

_CONTAINER_LOG = Path(__file__).parents[1] / ".cluster" / "kwok" / "container.log"
_INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
_BURST = 0.05
_LEAD = 10.0
"""Seconds from the triggers' start to the first line: a thousand streams are not opened at once."""
_END = 3.0
"""Seconds from the last line to the pods' end."""
_PADDING = "x" * 40
_LINE = re.compile(rf"(\d{{8}}) (\d+\.\d+) {_PADDING}")
_HEADERS = (
    "contender",
    "scripts",
    "lines",
    "lost",
    "doubled",
    "line late, s: p50",
    "p99",
    "CPU a line, µs",
    "loop late, ms: p50",
    "p99",
    "p99 without waiting for a CPU",
    "memory above start, MB",
    "grown, MB",
)


@dataclass
class Received:
    """Which lines have arrived: how often each, by trigger, and how long after they were printed."""

    lines: int
    by_trigger: dict[int, bytearray] = field(default_factory=dict)
    lateness: list[float] = field(default_factory=list)

    def add(self, record: bytes) -> None:
        """A line of the task's log, in JSON; most of them are a script's."""
        said = json.loads(record)
        if found := _LINE.fullmatch(str(said.get("event", ""))):
            counts = self.by_trigger.setdefault(said["trigger_id"], bytearray(self.lines))
            number = int(found[1])
            counts[number] = min(255, counts[number] + 1)
            self.lateness.append(datetime.fromisoformat(said["timestamp"]).timestamp() - float(found[2]))

    def lost(self, scripts: int) -> int:
        """Lines that no trigger has logged."""
        return sum(counts.count(0) for counts in self.by_trigger.values()) + self.lines * (
            scripts - len(self.by_trigger)
        )

    def doubled(self) -> int:
        """Lines that were logged again."""
        return sum(sum(counts) - (len(counts) - counts.count(0)) for counts in self.by_trigger.values())


@dataclass(frozen=True)
class Run:
    """What became of so many scripts' lines."""

    contender: str
    scripts: int
    received: Received
    measured: Measured

    @property
    def growth(self) -> int:
        """Bytes by which the last third of the time in which lines came needs more than the first one, at the most."""
        by_second = self.measured.memory_by_second[int(_LEAD) + 1 :]
        third = max(1, len(by_second) // 3)
        return max(by_second[-third:]) - max(by_second[:third])


def run(contender: str, scripts: int, rate: int, seconds: float) -> Run:
    """Follow the one file that is the log of every fake container, while it is written."""
    with cluster.own_namespace() as namespace:
        warm_up, *jobs = fake_jobs.start(namespace, scripts + 1)
        with fake_jobs.EndObserver(namespace) as observer:
            fake_jobs.end([warm_up], after=0, within=0)
            observer.take(1)
        _CONTAINER_LOG.write_bytes(b"")
        with process(contender, [warm_up, *jobs], keep_log=True) as waiter:
            waiter.begin()
            time.sleep(_LEAD)
            lines = write_log(rate, seconds)
            time.sleep(_END)
            fake_jobs.end(jobs, after=0, within=1)
            measured = waiter.wait()
            received = Received(lines)
            with waiter.log.open("rb") as log:
                for record in log:
                    received.add(record)
        _CONTAINER_LOG.write_bytes(b"")
        fake_jobs.remove(namespace)
    return Run(contender, scripts, received, measured)


def write_log(rate: int, seconds: float) -> int:
    """Write numbered lines as a kubelet's container runtime does, a burst every 50 ms; how many."""
    start, written = time.monotonic(), 0
    with _CONTAINER_LOG.open("ab", buffering=0) as log:
        while (passed := time.monotonic() - start) < seconds:
            due = int(passed * rate)
            log.write(b"".join(_as_kubelet(number) for number in range(written, due)))
            written = due
            time.sleep(_BURST)
    return written


def _as_kubelet(number: int) -> bytes:
    now = time.time_ns()
    moment = datetime.fromtimestamp(now // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    text = f"{number:08d} {now / 1e9:.6f} {_PADDING}"
    return f"{moment}.{now % 10**9:09d}Z stdout F {text}\n".encode()


@contextmanager
def many_followers(count: int) -> Iterator[None]:
    """Who follows a log takes an inotify instance, as in a kubelet; a user may have 128 by default."""
    before = int(_INOTIFY.read_text())
    _INOTIFY.write_text(str(max(before, 2 * count + 128)))
    try:
        yield
    finally:
        _INOTIFY.write_text(str(before))


def rows(runs: Sequence[Run]) -> list[list[str]]:
    """A row for each run."""
    return [
        [
            run.contender,
            f"{run.scripts:,}",
            f"{run.received.lines * run.scripts:,}",
            f"{run.received.lost(run.scripts):,}",
            f"{run.received.doubled():,}",
            f"{percentile(run.received.lateness, 50):.2f}",
            f"{percentile(run.received.lateness, 99):.2f}",
            f"{run.measured.cpu * 1e6 / max(1, len(run.received.lateness)):.0f}",
            f"{percentile(run.measured.lateness, 50) * 1e3:.1f}",
            f"{percentile(run.measured.lateness, 99) * 1e3:.0f}",
            f"{percentile(run.measured.own_lateness, 99) * 1e3:.0f}",
            f"{(run.measured.memory_peak - run.measured.memory_before) / 1e6:.0f}",
            f"{run.growth / 1e6:.0f}",
        ]
        for run in runs
    ]


def targets(runs: Sequence[Run]) -> list[str]:
    """The verdicts on what this provider promises."""
    ours = next((run for run in runs if run.contender == OURS_WITH_LOG), None)
    if ours is None:
        return []
    lost, doubled = ours.received.lost(ours.scripts), ours.received.doubled()
    late = percentile(ours.measured.own_lateness, 99)
    peak = ours.measured.memory_peak
    return [
        target("every line once", reached=lost + doubled == 0, numbers=f"{lost:,} lost, {doubled:,} doubled"),
        target(
            f"the loop is less than {ALLOWED_LATENESS * 1e3:.0f} ms late at the 99th percentile",
            reached=late < ALLOWED_LATENESS,
            numbers=f"{late * 1e3:.0f} ms",
        ),
        target(
            f"memory is flat: the last third of the time needs at most {ALLOWED_GROWTH:.0%} more than the first",
            reached=ours.growth <= ALLOWED_GROWTH * peak,
            numbers=f"{ours.growth / 1e6:.0f} MB more, {peak / 1e6:.0f} MB in all",
        ),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scripts", type=int, default=200)
    parser.add_argument("--rate", type=int, default=100, help="lines a second of each script")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--contenders", nargs="*", default=[OURS_WITH_LOG, RAW_FOLLOW], choices=triggerer.contenders())
    asked = parser.parse_args()
    with own_airflow_home(), many_followers(asked.scripts), fake_jobs.fake_nodes():
        runs = [run(name, asked.scripts, asked.rate, asked.seconds) for name in asked.contenders]
    print(table(_HEADERS, rows(runs)))
    print()
    print("\n".join(targets(runs)))


if __name__ == "__main__":
    main()
