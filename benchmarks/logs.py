"""What reading 200,000 log lines costs each contender, and whether each line arrives once."""

from __future__ import annotations

import argparse
import json
import re
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import cluster
from benchmarks.contenders import (
    OURS,
    POD_OPERATOR,
    Task,
    batch_client,
    contenders,
    log_as_a_task,
    new_name,
    own_airflow_home,
)
from benchmarks.report import ratio, spread, table, target

LINES = 200_000
LINE_BYTES = 73
RAW_FOLLOW = "raw HTTP follow"
LOGGER = "Airflow's logger alone"

_HEADERS = (
    *("contender", "wall, s", "ratio", "CPU, s", "CPU a line, µs", "ratio"),
    *("supervisor's, µs", "memory, MB", "lost", "doubled"),
)
_PADDING = "x" * (LINE_BYTES - len("000000 \n"))
_NUMBERED = re.compile(rf"\d{{6}} {_PADDING}".encode())
_MEGABYTE = 1e6


@dataclass(frozen=True)
class Cost:
    """What one run took: seconds of wall clock and CPU, and MB above what the process had before."""

    wall: float
    cpu: float
    memory: float


@dataclass(frozen=True)
class Run:
    """One contender's run, and what arrived of its lines."""

    contender: str
    cost: Cost
    lost: int
    doubled: int
    lines: int
    supervisor: float

    @property
    def supervisor_per_line(self) -> float:
        """Microseconds of the supervisor's CPU for each line that arrived."""
        return self.supervisor * 1e6 / max(1, self.lines - self.lost)

    @property
    def cpu_per_line(self) -> float:
        """Microseconds of CPU for each line that arrived."""
        return self.cost.cpu * 1e6 / max(1, self.lines - self.lost)


def script(lines: int, seconds: float) -> str:
    """A script that prints numbered lines, as fast as it can or in bursts over so many seconds."""
    pause = f"number % 1000 or time.sleep({seconds * 1000 / lines})" if seconds else ""
    return f"import time\nfor number in range({lines}):\n  print(f'{{number:06d}} {_PADDING}')\n  {pause}"


def follow_plainly(task: Task, out: Path) -> None:
    """Create a bare Job, follow its pod's log over HTTP and write the bytes: nothing could be done with less."""
    core, name = cluster.core_api(), new_name()
    batch_client().create_namespaced_job(task.namespace, cluster.bare_job(name, task.script, task.node))
    for pod in cluster.watch_plainly(core.list_namespaced_pod, task.namespace, label_selector=f"job-name={name}"):
        if cluster.container_states(pod, "running") or cluster.container_states(pod, "terminated"):
            break
    answer = core.read_namespaced_pod_log(pod["metadata"]["name"], task.namespace, follow=True, _preload_content=False)
    with out.open("wb", buffering=0) as file:
        for chunk in answer.stream(64 * 1024):
            file.write(chunk)


def log_plainly(task: Task, lines: int) -> None:
    """Airflow's logger, given as many lines of the same size one after the other."""
    from airflow_script_provider.operators.script import KubernetesScriptOperator

    info = KubernetesScriptOperator(task_id="benchmark", script=task.script).log.info
    for number in range(lines):
        info("%s", f"{number:06d} {_PADDING}")


def cost_of(run: Callable[[], None]) -> Cost:
    """Run, and measure this process meanwhile."""
    before, used, start = _resident("VmRSS"), _cpu(), time.monotonic()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    run()
    return Cost(time.monotonic() - start, _cpu() - used, (_resident("VmHWM") - before) / _MEGABYTE)


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _resident(which: str) -> int:
    """Bytes of memory: ``VmRSS`` is now, ``VmHWM`` the most so far."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition(f"{which}:")[2].split()[0])


def run_alone(name: str, task: Task, lines: int, out: Path, supervisor: int) -> Cost:
    """In a process of its own: a short run first, so that what is loaded once does not count, then the long one."""
    with own_airflow_home():
        log_as_a_task(supervisor)
        runs: dict[str, Callable[[Task, int], Any]] = {
            RAW_FOLLOW: lambda asked, _: follow_plainly(asked, out),
            LOGGER: log_plainly,
        }
        if name not in runs:
            runs[name] = lambda asked, _: contenders()[name](asked)
        runs[name](Task("print('hi')", task.namespace, task.node), 0)
        return cost_of(lambda: runs[name](task, lines))


def run_in_process(name: str, task: Task, asked: argparse.Namespace) -> Run:
    """Start ``run_alone`` in a fresh interpreter, then look which lines arrived."""
    with tempfile.TemporaryDirectory(prefix="benchmark-logs-") as folder:
        out, cost = Path(folder, "task.log"), Path(folder, "cost.json")
        command = [sys.executable, __file__, "--alone", name, "--out", str(out), "--cost", str(cost)]
        command += ["--namespace", task.namespace, "--node", str(task.node)]
        command += ["--lines", str(asked.lines), "--seconds", str(asked.seconds)]
        used = supervise(command, out)
        lost, doubled = lost_and_doubled(out.read_bytes(), asked.lines)
        return Run(name, Cost(**json.loads(cost.read_text())), lost, doubled, asked.lines, used)


def supervise(command: Sequence[str], out: Path) -> float:
    """Run a process, and write what it logs as Airflow's supervisor does; the seconds of CPU that took."""
    import structlog
    from airflow.sdk.execution_time.supervisor import make_buffered_socket_reader, process_log_messages_from_subprocess
    from airflow.sdk.log import logging_processors

    ours, theirs = socket.socketpair()
    with (
        ours,
        subprocess.Popen([*command, "--supervisor", str(theirs.fileno())], pass_fds=[theirs.fileno()]) as process,
    ):
        theirs.close()
        used = _cpu()
        with out.open("ab") as file:
            processors = logging_processors(json_output=True)
            logger = structlog.wrap_logger(
                structlog.BytesLogger(file), processors=processors, logger_name="task"
            ).bind()
            entries = process_log_messages_from_subprocess((logger,))
            read, _ = make_buffered_socket_reader(entries, on_close=lambda _: None)
            while read(ours):
                pass
        used = _cpu() - used
        if process.wait() != 0:
            raise RuntimeError(f"{command} failed")
    return used


def lost_and_doubled(log: bytes, lines: int) -> tuple[int, int]:
    """How many of the numbered lines are missing, and how many came more than once."""
    found = Counter(_NUMBERED.findall(log))
    return lines - len(found), found.total() - len(found)


def rows(runs: Sequence[Run]) -> list[list[str]]:
    """A row per contender."""
    ours = _median(runs, OURS)
    return [
        [
            name,
            spread([run.cost.wall for run in of_name], digits=1),
            ratio(_median(runs, name).wall, ours.wall),
            spread([run.cost.cpu for run in of_name], digits=1),
            spread([run.cpu_per_line for run in of_name], digits=0),
            ratio(_median_cpu_per_line(runs, name), _median_cpu_per_line(runs, OURS)),
            spread([run.supervisor_per_line for run in of_name], digits=0),
            spread([run.cost.memory for run in of_name], digits=1),
            f"{max(run.lost for run in of_name):,}",
            f"{max(run.doubled for run in of_name):,}",
        ]
        for name, of_name in _by_name(runs).items()
    ]


def _by_name(runs: Sequence[Run]) -> dict[str, list[Run]]:
    names = dict.fromkeys(run.contender for run in runs)
    return {name: [run for run in runs if run.contender == name] for name in names}


def _median(runs: Sequence[Run], name: str) -> Cost:
    costs = [run.cost for run in runs if run.contender == name]
    return Cost(*(median(getattr(cost, what) for cost in costs) for what in ("wall", "cpu", "memory")))


def _median_cpu_per_line(runs: Sequence[Run], name: str) -> float:
    return median(run.cpu_per_line for run in runs if run.contender == name)


def targets(runs: Sequence[Run]) -> list[str]:
    """The verdicts on what this provider promises."""
    ours, raw, logger = (_median(runs, name) for name in (OURS, RAW_FOLLOW, LOGGER))
    of_ours = [run for run in runs if run.contender == OURS]
    lost, doubled = sum(run.lost for run in of_ours), sum(run.doubled for run in of_ours)
    floor = max(raw.wall, logger.wall)
    mine, theirs, plain = (_median_cpu_per_line(runs, name) for name in (OURS, POD_OPERATOR, RAW_FOLLOW))
    return [
        target("no line lost or doubled", reached=lost + doubled == 0, numbers=f"{lost} lost, {doubled} doubled"),
        target(
            "at most 0.27 of the pod operator's CPU for each line that arrives",
            reached=mine <= theirs * 0.27,
            numbers=f"{mine:.1f} µs, pod operator {theirs:.1f} µs: {mine / theirs:.2f}",
        ),
        target(
            "at most 1.4 times the raw follow's CPU for each line",
            reached=mine <= plain * 1.4,
            numbers=f"{mine:.1f} µs, raw {plain:.1f} µs: {mine / plain:.2f}",
        ),
        target(
            "within 1.5x of the raw follow's time or of what Airflow's logger needs, whichever is more",
            reached=ours.wall <= 1.5 * floor,
            numbers=f"{ours.wall:.1f} s, raw {raw.wall:.1f} s, logger {logger.wall:.1f} s: {ours.wall / floor:.2f}x",
        ),
        target("under 30 MB above start", reached=ours.memory < 30, numbers=f"{ours.memory:.1f} MB"),
    ]


def parsed_arguments() -> argparse.Namespace:
    """The command line; what follows ``--alone`` is for the processes that this one starts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lines", type=int, default=LINES)
    parser.add_argument("--seconds", type=float, default=0, help="print the lines over so many seconds (0: at once)")
    parser.add_argument("--node", help="run all pods on this node (default: the first that is ready)")
    for hidden in ("--alone", "--namespace", "--out", "--cost"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--supervisor", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure and print, or be the process of one contender."""
    asked = parsed_arguments()
    if asked.alone:
        task = Task(script(asked.lines, asked.seconds), asked.namespace, asked.node)
        cost = run_alone(asked.alone, task, asked.lines, Path(asked.out), asked.supervisor)
        Path(asked.cost).write_text(json.dumps(asdict(cost)))
        return
    names = (OURS, POD_OPERATOR, RAW_FOLLOW, LOGGER)
    with own_airflow_home(), cluster.own_namespace() as namespace:
        task = Task(script(asked.lines, asked.seconds), namespace, asked.node or cluster.ready_node())
        runs = [run_in_process(name, task, asked) for _ in range(asked.rounds) for name in names]
    print(table(_HEADERS, rows(runs)))
    print()
    print("\n".join(targets(runs)))


if __name__ == "__main__":
    main()
