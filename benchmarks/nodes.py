"""What a script on hundreds of nodes costs for each of them: time, requests, CPU and memory."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from benchmarks import cluster, fake_jobs
from benchmarks.contenders import log_as_a_task, own_airflow_home
from benchmarks.report import ratio, table, target

BARE, WORKER, DEFERRED = "bare Jobs, created and watched", "operator", "operator, deferrable"
ALLOWED_REQUESTS, ALLOWED_RATIO, ALLOWED_MEMORY = 5.0, 2.0, 50_000
"""A node: requests, time against bare Jobs, and bytes."""

_ENDS = {"dev-cluster/ends": "2s"}
_THREADS = 10
WARM_NODES = 2
_HEADERS = (
    "contender",
    "nodes",
    "time, s",
    "against bare Jobs",
    "requests a node",
    "CPU a node, ms",
    "memory a node, kB",
)


@dataclass(frozen=True)
class Measured:
    """What one contender took for so many nodes; ``memory`` is the highest resident size above that before."""

    contender: str
    nodes: int
    seconds: float
    cpu: float
    memory: int
    requests: float | None = None


def bare_jobs(namespace: str, nodes: Sequence[str]) -> None:
    """A Job on each node, and a watch until all are complete."""
    batch = cluster.batch_api(user_agent="bare-jobs")
    toleration = {"operator": "Exists"}

    def create(numbered: tuple[int, str]) -> None:
        number, node = numbered
        body = cluster.bare_job(f"bare-{len(nodes)}-{number}", "print('hi')", node)
        body["spec"]["template"]["metadata"] = {"annotations": _ENDS}
        body["spec"]["template"]["spec"]["tolerations"] = [toleration]
        batch.create_namespaced_job(namespace, body)

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(create, enumerate(nodes)))
    ended: set[str] = set()
    while len(ended) < len(nodes):
        for job in cluster.watch_plainly(batch.list_namespaced_job, namespace, timeout_seconds=60):
            if job.get("status", {}).get("succeeded") and job["metadata"]["name"].startswith(f"bare-{len(nodes)}-"):
                ended.add(job["metadata"]["name"])
            if len(ended) == len(nodes):
                break


def _call(namespace: str, nodes: Sequence[str]) -> Any:
    from airflow_script_provider.hooks.node import node_arguments

    return node_arguments(
        script="print('hi')",
        nodes=list(nodes),
        annotations=_ENDS,
        namespace=namespace,
    )


def _checked(outcome: Any, nodes: Sequence[str]) -> None:
    if outcome.succeeded != len(nodes):
        raise AssertionError(f"not all nodes succeeded: {str(outcome.error)[:1000]}")


def _task_run() -> Any:
    from airflow_script_provider.clusters.access import ClusterRef
    from airflow_script_provider.hooks.node import NodesTaskRun

    return NodesTaskRun(ClusterRef(), logging.getLogger("script"))


def in_a_worker(namespace: str, nodes: Sequence[str]) -> None:
    """The operator's work, without Airflow around it."""
    _checked(_task_run().outcome(_call(namespace, nodes)), nodes)


def deferred(namespace: str, nodes: Sequence[str]) -> None:
    """The worker launches, the trigger runs, the worker comes back; all of it in one process."""
    from airflow_script_provider.hooks.node import NodesDeferral
    from airflow_script_provider.triggers.node import NodeScriptTrigger

    launched = _task_run().outcome_or_deferral(_call(namespace, nodes))
    if not isinstance(launched, NodesDeferral):
        raise TypeError("nothing was deferred")
    trigger = NodeScriptTrigger(job=launched.job.to_dict(), server=launched.server)

    async def event() -> dict[str, Any]:
        (only,) = [event.payload async for event in trigger.run()]
        return dict(only)

    _checked(_task_run().resume(asyncio.run(event())), nodes)


CONTENDERS: dict[str, Callable[[str, Sequence[str]], None]] = {
    BARE: bare_jobs, WORKER: in_a_worker, DEFERRED: deferred
}  # fmt: skip


def _highest() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(contender: str, namespace: str, nodes: Sequence[str], seen: Any) -> None:
    """In a process of its own: after a short run, which loads what is loaded once, put what the contender took."""
    with own_airflow_home(), contextlib.suppress(BrokenPipeError):
        log_as_a_task(os.devnull)
        CONTENDERS[contender](namespace, nodes[:WARM_NODES])
        began, before, cpu, start = time.time(), _highest(), time.process_time(), time.monotonic()
        CONTENDERS[contender](namespace, nodes)
        seconds, cpu = time.monotonic() - start, time.process_time() - cpu
        seen.put(json.dumps([began, contender, len(nodes), seconds, cpu, max(0, _highest() - before)]))


def measured(contender: str, nodes: Sequence[str]) -> Measured:
    """Run a contender in a namespace of its own."""
    processes = multiprocessing.get_context("spawn")
    with cluster.own_namespace() as namespace:
        seen: Any = processes.Queue()
        process = processes.Process(target=measure, args=(contender, namespace, nodes, seen))
        process.start()
        process.join()
        if process.exitcode:
            raise RuntimeError(f"{contender} ended with {process.exitcode}")
        began, *took = json.loads(seen.get(timeout=10))
        requests = cluster.AuditLog.beside_kubeconfig().requests(namespace)
        counted = None if requests is None else sum(moment >= began for moment, _ in requests) / len(nodes)
        fake_jobs.remove(namespace)
        return replace(Measured(*took), requests=counted)


def report(runs: Sequence[Measured]) -> str:
    """Table and targets."""
    by_name = {run.contender: run for run in runs}
    bare = by_name[BARE]
    rows = [
        (
            run.contender,
            str(run.nodes),
            f"{run.seconds:.1f}",
            ratio(run.seconds, bare.seconds),
            "-" if run.requests is None else f"{run.requests:.1f}",
            f"{1000 * run.cpu / run.nodes:.1f}",
            f"{run.memory / run.nodes / 1000:.0f}",
        )
        for run in runs
    ]
    ours = [by_name[WORKER], by_name[DEFERRED]]
    times = [run.seconds / bare.seconds for run in ours]
    memory = by_name[DEFERRED].memory / bare.nodes
    said = [target(f"at most {ALLOWED_RATIO:g} times as long as bare Jobs", reached=max(times) <= ALLOWED_RATIO,
                   numbers=", ".join(f"{one:.2f}x" for one in times)),
            target(f"deferred at most {ALLOWED_MEMORY / 1000:g} kB a node", reached=memory <= ALLOWED_MEMORY,
                   numbers=f"{memory / 1000:.0f} kB")]  # fmt: skip
    asked = [run.requests for run in ours if run.requests is not None]
    if asked:
        words = f"at most {ALLOWED_REQUESTS:g} requests a node, with one watch each of Jobs and pods"
        numbers = ", ".join(f"{one:.1f}" for one in asked)
        said.append(target(words, reached=max(asked) <= ALLOWED_REQUESTS, numbers=numbers))
    return "\n".join([table(_HEADERS, rows), "", *said])


def main() -> None:
    """Run all contenders, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=500)
    count = parser.parse_args().nodes
    with fake_jobs.fake_nodes(count):
        found = cluster.core_api(user_agent=cluster.OBSERVER).list_node(
            label_selector=f"dev-cluster/fake-nodes={fake_jobs.GROUP}"
        )
        names = [str(node.metadata.name) for node in found.items]
        print(report([measured(contender, names) for contender in CONTENDERS]))


if __name__ == "__main__":
    main()
