"""What a thousand waiting triggers cost the triggerer and the API server, and how late they notice the end."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from benchmarks import cluster, fake_jobs, triggerer
from benchmarks.contenders import own_airflow_home
from benchmarks.fake_jobs import FakeJob
from benchmarks.report import percentile, ratio, table, target
from benchmarks.triggerer import JOB_TRIGGER, OURS, Measured

SECONDS = 60.0
ENDS_A_SECOND = 25
"""How many pods end in a second: the Job controller has to keep up, or its delay would be taken for the trigger's."""
SHORTEST_SPREAD = 10.0
"""Seconds over which the pods end at least: the job trigger asks every 10 s, so its delay depends on the moment."""
PATCHES_A_SECOND = 50
ALLOWED_REQUESTS, ALLOWED_CPU, ALLOWED_LATENESS, ALLOWED_MEMORY, ALLOWED_DELAY = 0.01, 0.1, 0.05, 30_000, 1.0

_HEADERS = (
    "waiting",
    "contender",
    "CPU, s",
    "ratio",
    "memory, MB",
    "a trigger, kB",
    "API requests",
    "TLS sessions",
    "loop late, ms: p50",
    "p99",
    "p99 without waiting for a CPU",
    "event after pod's end, s: p50",
    "p99",
)


@dataclass(frozen=True)
class Run:
    """So many triggers of one contender."""

    contender: str
    waiting: int
    measured: Measured
    requests: int | None
    delays: list[float]

    @property
    def memory(self) -> int:
        """Bytes at the most, above those before the triggers began."""
        return self.measured.memory_peak - self.measured.memory_before

    @property
    def memory_each(self) -> float:
        """Bytes for each trigger."""
        return self.memory / self.waiting


def run(contender: str, waiting: int, seconds: float) -> Run:
    """Start the Jobs, let the contender's triggers wait for them, and remove them."""
    audit = cluster.AuditLog.beside_kubeconfig()
    with cluster.own_namespace() as namespace, fake_jobs.EndObserver(namespace) as observer:
        warm_up, *jobs = fake_jobs.start(namespace, waiting + 1)
        fake_jobs.end([warm_up], after=0, within=0)
        observer.take(1)
        with process(contender, [warm_up, *jobs]) as waiter:
            spread = max(SHORTEST_SPREAD, waiting / ENDS_A_SECOND)
            fake_jobs.end(jobs, after=waiting / PATCHES_A_SECOND + seconds, within=spread)
            waiter.begin()
            measured = waiter.wait()
        ends = observer.take(waiting)
        requests = audit.requests(namespace)
        fake_jobs.remove(namespace)
    _complain(contender, measured, ends)
    delays = [moment - ends[pod] for pod, moment in measured.events.items()]
    during = None if requests is None else sum(measured.began <= moment <= measured.until for moment, _ in requests)
    return Run(contender, waiting, measured, during, delays)


def _complain(contender: str, measured: Measured, ends: dict[str, float]) -> None:
    """Say what did not go well: numbers of triggers that failed are worth nothing."""
    if missing := len(ends) - len(measured.events):
        print(f"{contender}: {missing} of {len(ends)} triggers brought no event", file=sys.stderr)
    statuses = sorted({str(payload) for payload in measured.payloads.values()})
    if len(statuses) > 1:
        print(f"{contender}: events of different statuses: {', '.join(statuses)}", file=sys.stderr)


@dataclass(frozen=True)
class Waiter:
    """A process that has loaded everything and waits to be told to begin."""

    process: subprocess.Popen[str]
    out: Path
    log: Path

    def begin(self) -> None:
        """Let the triggers begin."""
        _pipe(self.process.stdin).write(f"{triggerer.GO}\n")
        _pipe(self.process.stdin).close()

    def wait(self) -> Measured:
        """Wait for the last of them."""
        if self.process.wait() != 0:
            raise RuntimeError(f"the triggers' process ended with exit code {self.process.returncode}")
        return Measured(**json.loads(self.out.read_text()))


@contextmanager
def process(contender: str, jobs: Sequence[FakeJob], *, keep_log: bool = False) -> Iterator[Waiter]:
    """A contender's process, ready to begin; the first of the Jobs must have ended."""
    with tempfile.TemporaryDirectory(prefix="benchmark-triggers-") as folder:
        out, log, given = (Path(folder, name) for name in ("measured.json", "task.log", "jobs.json"))
        fake_jobs.to_file(given, jobs)
        command = [sys.executable, triggerer.__file__, "--contender", contender, "--jobs", str(given)]
        command += ["--log", str(log) if keep_log else "/dev/null", "--out", str(out)]
        started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            if _pipe(started.stdout).readline().strip() != triggerer.READY:
                raise RuntimeError(f"{contender}'s process does not get ready")
            yield Waiter(started, out, log)
        finally:
            started.kill()
            started.wait()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise ValueError("the process was started without pipes")
    return pipe


def rows(runs: Sequence[Run]) -> list[list[str]]:
    """A row for each run; ratios are to our own."""
    return [
        [
            f"{run.waiting:,}",
            run.contender,
            f"{run.measured.cpu:.1f}",
            ratio(run.measured.cpu, of(runs, OURS, run.waiting).measured.cpu) if has(runs, OURS) else "-",
            f"{run.memory / 1e6:.0f}",
            f"{run.memory_each / 1e3:.0f}",
            "-" if run.requests is None else f"{run.requests:,}",
            f"{run.measured.tls_sessions:,}",
            f"{percentile(run.measured.lateness, 50) * 1e3:.1f}",
            f"{percentile(run.measured.lateness, 99) * 1e3:.0f}",
            f"{percentile(run.measured.own_lateness, 99) * 1e3:.0f}",
            f"{percentile(run.delays, 50):.2f}",
            f"{percentile(run.delays, 99):.2f}",
        ]
        for run in runs
    ]


def of(runs: Sequence[Run], contender: str, waiting: int) -> Run:
    """The run of a contender with so many triggers."""
    return next(run for run in runs if (run.contender, run.waiting) == (contender, waiting))


def has(runs: Sequence[Run], contender: str) -> bool:
    """Whether a contender has taken part."""
    return any(run.contender == contender for run in runs)


def targets(runs: Sequence[Run]) -> list[str]:
    """The verdicts on what this provider promises, for the largest number of triggers."""
    if not (has(runs, OURS) and has(runs, JOB_TRIGGER)):
        return []
    waiting = max(run.waiting for run in runs)
    ours, theirs = of(runs, OURS, waiting), of(runs, JOB_TRIGGER, waiting)
    late, delay = percentile(ours.measured.own_lateness, 99), percentile(ours.delays, 99)
    lines = [] if ours.requests is None or theirs.requests is None else [_of_requests(ours.requests, theirs.requests)]
    return [
        *lines,
        target(
            f"at most {ALLOWED_CPU:.0%} of the job trigger's CPU",
            reached=ours.measured.cpu <= ALLOWED_CPU * theirs.measured.cpu,
            numbers=f"{ours.measured.cpu:.1f} s of {theirs.measured.cpu:.1f} s",
        ),
        target(
            f"the loop is less than {ALLOWED_LATENESS * 1e3:.0f} ms late at the 99th percentile",
            reached=late < ALLOWED_LATENESS,
            numbers=f"{late * 1e3:.0f} ms",
        ),
        target(
            f"at most {ALLOWED_MEMORY / 1e3:.0f} kB of memory for a waiting trigger",
            reached=ours.memory_each <= ALLOWED_MEMORY,
            numbers=f"{ours.memory_each / 1e3:.0f} kB",
        ),
        target(
            f"the event comes less than {ALLOWED_DELAY:.0f} s after the pod's end at the 99th percentile",
            reached=delay < ALLOWED_DELAY and len(ours.delays) == waiting,
            numbers=f"{delay:.2f} s, {len(ours.delays)} of {waiting} events",
        ),
    ]


def _of_requests(ours: int, theirs: int) -> str:
    return target(
        f"at most {ALLOWED_REQUESTS:.0%} of the job trigger's API requests",
        reached=ours <= ALLOWED_REQUESTS * theirs,
        numbers=f"{ours:,} of {theirs:,}",
    )


def parsed_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waiting", type=int, nargs="*", default=[100, 500, 1000], help="how many Jobs to wait for")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long all of them wait")
    parser.add_argument("--contenders", nargs="*", default=list(triggerer.WAITING), choices=triggerer.WAITING)
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    asked = parsed_arguments()
    with own_airflow_home(), fake_jobs.fake_nodes():
        runs = [run(name, waiting, asked.seconds) for waiting in asked.waiting for name in asked.contenders]
    print(table(_HEADERS, rows(runs)))
    print()
    print("\n".join(targets(runs)))


if __name__ == "__main__":
    main()
