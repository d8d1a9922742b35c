"""What a task costs in a fresh process, as Airflow starts one for each: CPU, memory, modules, and time."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import cluster
from benchmarks.contenders import (
    JOB_OPERATOR,
    JOB_OPERATOR_TUNED,
    OURS,
    POD_OPERATOR,
    POD_OPERATOR_TUNED,
    Task,
    contenders,
    in_turns,
    log_as_a_task,
    own_airflow_home,
    own_environment,
)
from benchmarks.latency import SCRIPT, Observer
from benchmarks.report import ratio, spread, table, target

TRANSPORT = "import of aiohttp alone"
IN_CLUSTER = {f"{name}, in-cluster": name for name in (OURS, POD_OPERATOR)}
COMPARED = (OURS, POD_OPERATOR, POD_OPERATOR_TUNED, JOB_OPERATOR, JOB_OPERATOR_TUNED, *IN_CLUSTER, TRANSPORT)
AT_ONCE = 8
ALLOWED_CPU, ALLOWED_MEMORY, ALLOWED_MODULES, ALLOWED_DELAY = 0.4, 30.0, 350, 0.3

_CREATES = {OURS: "create jobs", POD_OPERATOR: "create pods"}


@dataclass(frozen=True)
class Cost:
    """What a process used above ``import airflow.sdk``: seconds of CPU, MB at the peak, modules; and when it ended."""

    cpu: float
    memory: float
    modules: float
    ended: float
    delay: float | None = None


def _used() -> tuple[float, float, int]:
    """Of this process: seconds of CPU, MB at the peak so far, and modules."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3, len(sys.modules)


def run_here(name: str, task: Task, *, waits: bool) -> None:
    """In a process of its own: run once, and print the cost. One that ``waits`` begins when it is told to."""
    import airflow.sdk  # noqa: F401  # every task has it

    log_as_a_task("/dev/null")
    if name in IN_CLUSTER:
        cluster.use_pods_account()
    if waits:
        print("ready", flush=True)
        sys.stdin.readline()
    before = _used()
    if name == TRANSPORT:
        import aiohttp  # noqa: F401
    else:
        contenders()[IN_CLUSTER.get(name, name)](task)
    ended, after = time.monotonic(), _used()
    print(json.dumps([*(late - early for late, early in zip(after, before, strict=True)), ended]))


def started(name: str, task: Task, *words: str) -> subprocess.Popen[str]:
    """A fresh process for one run."""
    command = [sys.executable, "-m", "benchmarks.cold", "--one", name, "--namespace", task.namespace, *words]
    pipe = subprocess.PIPE
    folder, environment = Path(__file__).parents[1], own_environment()
    return subprocess.Popen(command, cwd=folder, stdin=pipe, stdout=pipe, text=True, env=environment)


def cost_of(process: subprocess.Popen[str]) -> Cost:
    """What the process has printed at its end."""
    printed, _ = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args, printed)
    return Cost(*json.loads(printed.splitlines()[-1]))


def measure(name: str, task: Task, observer: Observer) -> Cost:
    """One run, and how long after the container's end, as an independent watch sees it, it was over."""
    cost = cost_of(started(name, task))
    if name == TRANSPORT:
        return cost
    seen = observer.take(with_job=not name.startswith(POD_OPERATOR))
    return replace(cost, delay=cost.ended - seen["container"])


def measure_all(rounds: int, task: Task) -> dict[str, list[Cost]]:
    """The costs of each contender; the round that does not count fills the page cache."""
    with Observer(task.namespace) as observer:
        return in_turns(COMPARED, rounds, lambda name: measure(name, task, observer))


def last_created(name: str) -> float | None:
    """Seconds until the last of some tasks that begin at once has created its Job or pod; None without an audit log."""
    with cluster.own_namespace() as namespace:
        processes = [started(name, Task(SCRIPT, namespace), "--waits") for _ in range(AT_ONCE)]
        for process in processes:
            process.stdout.readline()  # type: ignore[union-attr]
        began = time.time()
        for process in processes:
            process.stdin.write("\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
        for process in processes:
            cost_of(process)
        requests = cluster.AuditLog.beside_kubeconfig().requests(namespace)
    if requests is None:
        return None
    return max(received for received, words in requests if words == _CREATES[name]) - began


def rows(found: dict[str, list[Cost]], at_once: dict[str, list[float]]) -> list[list[str]]:
    """A row for each contender."""
    ours = median(cost.cpu for cost in found[OURS])
    return [
        [
            name,
            spread([cost.cpu for cost in costs]),
            ratio(median(cost.cpu for cost in costs), ours),
            spread([cost.memory for cost in costs], digits=0),
            f"{median(cost.modules for cost in costs):,.0f}",
            spread([cost.delay for cost in costs if cost.delay is not None]),
            spread(at_once.get(name, []), digits=1),
        ]
        for name, costs in found.items()
    ]


def targets(found: dict[str, list[Cost]]) -> list[str]:
    """The verdicts on what this provider promises."""
    ours, peer = found[OURS], found[POD_OPERATOR]
    cpu, of_peer = median(cost.cpu for cost in ours), median(cost.cpu for cost in peer)
    memory, modules = median(cost.memory for cost in ours), median(cost.modules for cost in ours)
    delay = median(cost.delay for cost in ours if cost.delay is not None)
    return [
        target(f"at most {ALLOWED_CPU} s of CPU", reached=cpu <= ALLOWED_CPU, numbers=f"{cpu:.2f} s"),
        target("a tenth of the pod operator's CPU", reached=cpu <= of_peer / 10, numbers=ratio(cpu, of_peer)),
        target(f"at most {ALLOWED_MEMORY:.0f} MB", reached=memory <= ALLOWED_MEMORY, numbers=f"{memory:.0f} MB"),
        target(f"at most {ALLOWED_MODULES} modules", reached=modules <= ALLOWED_MODULES, numbers=f"{modules:.0f}"),
        target(
            f"over at most {ALLOWED_DELAY} s after the container",
            reached=delay <= ALLOWED_DELAY,
            numbers=f"{delay:.2f} s",
        ),
    ]


_HEADERS = (
    "contender",
    "CPU, s",
    "ratio",
    "memory, MB",
    "modules",
    "delay, s",
    f"last of {AT_ONCE} created after, s",
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", choices=COMPARED, help=argparse.SUPPRESS)
    parser.add_argument("--namespace", help=argparse.SUPPRESS)
    parser.add_argument("--waits", action="store_true", help=argparse.SUPPRESS)
    asked: Any = parser.parse_args()
    if asked.one:
        run_here(asked.one, Task(SCRIPT, asked.namespace), waits=asked.waits)
        return
    with own_airflow_home():
        with cluster.own_namespace() as namespace, cluster.account_of_a_pod(namespace):
            found = measure_all(asked.rounds, Task(SCRIPT, namespace))
        turns = [(name, last_created(name)) for _ in range(asked.rounds) for name in _CREATES]
    at_once = {name: [seconds for one, seconds in turns if one == name and seconds is not None] for name in _CREATES}
    print(table(_HEADERS, rows(found, at_once)))
    print()
    print("\n".join(targets(found)))


if __name__ == "__main__":
    main()
