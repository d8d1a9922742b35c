"""How long after the end of ``print('hi')`` each contender's task ends, and how many API requests it makes."""

from __future__ import annotations

import argparse
import multiprocessing
import queue
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks import cluster
from benchmarks.contenders import (
    BARE_JOB,
    OURS,
    OURS_DEFERRED,
    POD_OPERATOR,
    Task,
    contenders,
    in_turns,
    log_as_a_task,
    own_airflow_home,
)
from benchmarks.report import ratio, spread, table, target

SCRIPT = "print('hi')"
ALLOWED_DELAY = 0.3
ALLOWED_DELAY_DEFERRED = 1.0
_OBSERVATION = 20.0
"""Seconds to wait for what the observer must see of a run."""


@dataclass(frozen=True)
class Run:
    """One run: seconds since its start, but ``began`` and ``until``, which are times of day."""

    contender: str
    began: float
    until: float
    took: float
    container_end: float
    complete: float | None

    @property
    def delay(self) -> float:
        """From the container's end, as an independent watch sees it, to the task's end."""
        return self.took - self.container_end


def observe(what: str, namespace: str, seen: Any) -> None:
    """In a process of its own: put the moment of every container's end, or Job's completion, into the queue."""
    core, batch = (api(user_agent=cluster.OBSERVER) for api in (cluster.core_api, cluster.batch_api))
    list_objects = core.list_namespaced_pod if what == "container" else batch.list_namespaced_job
    known = set()
    seen.put((what, "ready", time.monotonic()))
    while True:
        for thing in cluster.watch_plainly(list_objects, namespace):
            uid = thing["metadata"]["uid"]
            if uid not in known and (cluster.container_states(thing, "terminated") or _is_complete(thing)):
                known.add(uid)
                seen.put((what, uid, time.monotonic()))


def _is_complete(thing: dict[str, Any]) -> bool:
    conditions = thing.get("status", {}).get("conditions") or []
    return any(condition["type"] == "Complete" and condition["status"] == "True" for condition in conditions)


class Observer:
    """Two processes that watch pods and Jobs, so that what is measured does not slow the measuring down."""

    def __init__(self, namespace: str) -> None:
        processes = multiprocessing.get_context("spawn")
        self._seen = processes.Queue()
        self._watches = [
            processes.Process(target=observe, args=(what, namespace, self._seen), daemon=True)
            for what in ("container", "job")
        ]

    def __enter__(self) -> Observer:
        for process in self._watches:
            process.start()
        for _ in self._watches:
            self._seen.get(timeout=60)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._watches:
            process.terminate()
            process.join()

    def take(self, *, with_job: bool) -> dict[str, float]:
        """When the container and, if there is one, the Job of the last run ended."""
        moments: dict[str, float] = {}
        deadline = time.monotonic() + _OBSERVATION
        while not {"container", *(["job"] if with_job else [])} <= moments.keys():
            try:
                what, _, moment = self._seen.get(timeout=deadline - time.monotonic())
            except (queue.Empty, ValueError):
                raise TimeoutError("the watches have not seen the end of a run; look at: kubectl get pods") from None
            moments[what] = moment
        return moments


def measure(name: str, run: Callable[[Task], None], task: Task, observer: Observer) -> Run:
    """Run once, and wait for what the observer sees of it."""
    began, start = time.time(), time.monotonic()
    run(task)
    took, until = time.monotonic() - start, time.time()
    moments = observer.take(with_job=not name.startswith(POD_OPERATOR))
    job = moments.get("job")
    return Run(name, began, until, took, moments["container"] - start, None if job is None else job - start)


def measure_all(rounds: int, task: Task) -> list[Run]:
    """The runs of all contenders; the round that does not count loads their modules."""
    runs = contenders()
    with Observer(task.namespace) as observer:
        found = in_turns(runs, rounds, lambda name: measure(name, runs[name], task, observer))
    return [run for of_name in found.values() for run in of_name]


def rows(runs: Sequence[Run], requests: Sequence[tuple[float, str]] | None) -> list[list[str]]:
    """A row per contender."""
    by_name = {
        name: [run for run in runs if run.contender == name] for name in dict.fromkeys(r.contender for r in runs)
    }
    ours = median(run.took for run in by_name[OURS])
    return [
        [
            name,
            spread([run.took for run in of_name]),
            ratio(median(run.took for run in of_name), ours),
            spread([run.container_end for run in of_name]),
            spread([run.delay for run in of_name]),
            spread([run.complete for run in of_name if run.complete is not None]),
            "-" if requests is None else f"{median(count(run, requests) for run in of_name):.0f}",
        ]
        for name, of_name in by_name.items()
    ]


def count(run: Run, requests: Sequence[tuple[float, str]]) -> int:
    """Requests that the API server received during a run."""
    return sum(run.began <= received <= run.until for received, _ in requests)


def targets(runs: Sequence[Run]) -> list[str]:
    """The verdicts on what this provider promises."""
    return [*_targets_of_waiting(runs), _target_of_deferral(runs)]


def _target_of_deferral(runs: Sequence[Run]) -> str:
    delays = [run.delay for run in runs if run.contender == OURS_DEFERRED]
    in_time = sum(delay <= ALLOWED_DELAY_DEFERRED for delay in delays)
    return target(
        f"the deferred task ends at most {ALLOWED_DELAY_DEFERRED:.0f} s after its container",
        reached=median(delays) <= ALLOWED_DELAY_DEFERRED,
        numbers=f"median {median(delays):.2f} s, {in_time} of {len(delays)} runs",
    )


def _targets_of_waiting(runs: Sequence[Run]) -> list[str]:
    ours = [run for run in runs if run.contender == OURS]
    bare = median(run.took for run in runs if run.contender == BARE_JOB)
    delay, took = median(run.delay for run in ours), median(run.took for run in ours)
    earlier = [run.complete - run.took for run in ours if run.complete is not None]
    return [
        target(
            f"the task ends at most {ALLOWED_DELAY} s after its container",
            reached=delay <= ALLOWED_DELAY,
            numbers=f"median {delay:.2f} s, {sum(r.delay <= ALLOWED_DELAY for r in ours)} of {len(ours)} runs",
        ),
        target(
            "the task ends before a bare Job's Complete condition is seen",
            reached=took < bare,
            numbers=f"{took:.2f} s, bare Job {bare:.2f} s; its own Job's condition came {spread(earlier)} s later",
        ),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    audit = cluster.AuditLog.beside_kubeconfig()
    with own_airflow_home(), cluster.own_namespace() as namespace:
        log_as_a_task("/dev/null")
        runs = measure_all(arguments.rounds, Task(SCRIPT, namespace))
        requests = audit.requests(namespace)
    headers = (
        "contender",
        "task, s",
        "ratio",
        "container's end, s",
        "delay, s",
        "Job Complete seen, s",
        "API requests",
    )
    print(table(headers, rows(runs, requests)))
    print()
    print("\n".join(targets(runs)))


if __name__ == "__main__":
    main()
