"""How long ``print('hi')`` takes in a real Airflow: scheduler, worker and triggerer, on PostgreSQL."""

from __future__ import annotations

import argparse
import os
import re
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks import cluster
from benchmarks.contenders import OPERATORS, OURS, OURS_DEFERRED, POD_OPERATOR, in_turns, own_airflow_home
from benchmarks.latency import Observer
from benchmarks.report import ratio, spread, table, target

if TYPE_CHECKING:
    from tests.cluster.airflow_server import AirflowServer

NOTHING = "BashOperator, echo hi"
"""What Airflow itself takes for a task."""
COMPARED = (NOTHING, *OPERATORS)
OWN = (OURS, OURS_DEFERRED)
_HEADERS = (
    "contender",
    "run's creation to task's end, s",
    "ratio",
    "task's start, s",
    "container's end, s",
    "delay, s",
)


@dataclass(frozen=True)
class Run:
    """Seconds since the DAG run was created; the container's end is None where there is no container."""

    started: float
    ended: float
    container_end: float | None

    @property
    def delay(self) -> float | None:
        """From the container's end, as an independent watch sees it, to the task's end."""
        return None if self.container_end is None else self.ended - self.container_end


def dag_id(name: str) -> str:
    """The DAG of a contender."""
    return re.sub(r"\W+", "_", name)


def measure(airflow: AirflowServer, name: str, observer: Observer) -> Run:
    """Run a contender's DAG once; the times are those that Airflow's database has."""
    dag = dag_id(name)
    run = airflow.trigger(dag)
    if (state := airflow.final_state(dag, run, "benchmark")) != "success":
        raise RuntimeError(f"{name}: the task is {state}; see {airflow.home}/logs")
    of_run = airflow.call("GET", f"dags/{dag}/dagRuns/{run}")
    of_task = airflow.call("GET", f"dags/{dag}/dagRuns/{run}/taskInstances/benchmark")
    moments = (of_run["queued_at"], of_task["start_date"], of_task["end_date"])
    created, started, ended = (datetime.fromisoformat(moment).timestamp() for moment in moments)
    container_end = None
    if name != NOTHING:
        seen = observer.take(with_job=not name.startswith(POD_OPERATOR))["container"]
        container_end = seen + time.time() - time.monotonic() - created
    return Run(started - created, ended - created, container_end)


def rows(found: dict[str, list[Run]]) -> list[list[str]]:
    """A row for each contender."""
    ours = median(run.ended for run in found[OURS])
    return [
        [
            name,
            spread([run.ended for run in runs], digits=1),
            ratio(median(run.ended for run in runs), ours),
            spread([run.started for run in runs], digits=1),
            spread([run.container_end for run in runs if run.container_end is not None], digits=1),
            spread([run.delay for run in runs if run.delay is not None]),
        ]
        for name, runs in found.items()
    ]


def targets(found: dict[str, list[Run]]) -> list[str]:
    """The verdicts on what this provider promises: deferred tasks beside deferred ones, others beside others."""
    took = {name: median(runs.ended for runs in found[name]) for name in OPERATORS}
    verdicts = []
    for name in OWN:
        peers = [peer for peer in took if peer not in OWN and _is_deferred(peer) == _is_deferred(name)]
        fastest = min(peers, key=took.__getitem__)
        numbers = f"{took[name]:.1f} s; {fastest}: {took[fastest]:.1f} s"
        verdicts.append(target(f"{name} ends before each peer", reached=took[name] < took[fastest], numbers=numbers))
    return verdicts


def _is_deferred(name: str) -> bool:
    return "deferrable" in OPERATORS[name][1]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    dags = Path(__file__).parent / "dags"
    with own_airflow_home(), cluster.own_namespace() as namespace, tempfile.TemporaryDirectory() as folder:
        from tests.cluster.airflow_start import airflow_server

        settings = {"BENCHMARK_NAMESPACE": namespace}
        with (
            airflow_server(Path(folder), os.environ["KUBECONFIG"], dags, settings) as airflow,
            Observer(namespace) as observer,
        ):
            found = in_turns(COMPARED, rounds, lambda name: measure(airflow, name, observer))
    print(table(_HEADERS, rows(found)))
    print()
    print("\n".join(targets(found)))


if __name__ == "__main__":
    main()
