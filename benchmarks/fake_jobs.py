"""Jobs as our operator makes them, on kwok's nodes: they run as long as the benchmark wants and cost no machine."""

from __future__ import annotations

import json
import multiprocessing
import queue
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import cluster

if TYPE_CHECKING:
    from airflow_script_provider.kube.request.request import JobRequest

GROUP = "benchmark"
NODES = 10

_DEV_CLUSTER = Path(__file__).parents[1] / "dev" / "cluster"
_SELECTOR = {"dev-cluster/fake-nodes": GROUP}
_TOLERATION = {"key": "kwok.x-k8s.io/node", "operator": "Exists", "effect": "NoSchedule"}
_ENDS = "dev-cluster/ends"
_THREADS = 8
_PATIENCE = 300
"""Seconds to wait for what the cluster has to do: to start or remove a thousand pods on a busy machine."""


@dataclass(frozen=True)
class FakeJob:
    """A Job and its only pod."""

    namespace: str
    launch_id: str
    name: str
    uid: str
    pod_name: str


@contextmanager
def fake_nodes(count: int = NODES) -> Iterator[None]:
    """Nodes for this benchmark alone, in the development cluster."""
    _kwok("up", "--nodes", str(count))
    try:
        if not cluster.core_api(user_agent=cluster.OBSERVER).list_node(label_selector=_selector()).items:
            raise SystemExit("fake nodes exist in the development cluster only: KUBECONFIG must be .cluster/kubeconfig")
        yield
    finally:
        _kwok("down")


def _kwok(*words: str) -> None:
    command = [sys.executable, str(_DEV_CLUSTER), "kwok", *words, "--group", GROUP]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _selector() -> str:
    return ",".join(f"{name}={value}" for name, value in _SELECTOR.items())


def request_of(namespace: str, launch_id: str) -> JobRequest:
    """What our operator asks for: the same at every call, so that another process can make it again."""
    from airflow_script_provider.kube.names import LaunchIdentity, TaskIdentity
    from airflow_script_provider.kube.request import interpreters
    from airflow_script_provider.kube.request.options import JobOptions
    from airflow_script_provider.kube.request.payload import Payload
    from airflow_script_provider.kube.request.request import JobRequest
    from airflow_script_provider.script import Script

    options = JobOptions(
        image=cluster.IMAGE,
        backoff_limit=0,
        timeout=3600,
        node_selector=_SELECTOR,
        tolerations=[_TOLERATION],
    ).checked()
    task = TaskIdentity("benchmark", "wait", launch_id, instance_id=launch_id)
    script = Script("print('hi')\n", origin="inline", name="script")
    return JobRequest(
        script=script,
        options=options,
        namespace=namespace,
        identity=LaunchIdentity(launch_id, "script-wait", task),
        interpreter=interpreters.choose(script, options.image, options.interpreter),
        payload=Payload.of(None, None, None),
        deadline=options.deadline_within(None),
    )


def start(namespace: str, count: int) -> list[FakeJob]:
    """Create so many Jobs, and wait until all their pods run."""
    from airflow_script_provider.kube.job import manifest

    batch = cluster.batch_api(user_agent=cluster.OBSERVER)

    def create(launch_id: str) -> tuple[str, str, str]:
        body = manifest.job(request_of(namespace, launch_id))
        metadata = batch.create_namespaced_job(namespace, body).metadata
        return launch_id, metadata.name, metadata.uid

    created = _in_threads(create, [secrets.token_hex(5) for _ in range(count)])
    pods = _running_pods(namespace, count)
    return [FakeJob(namespace, launch_id, name, uid, pods[name]) for launch_id, name, uid in created]


def _running_pods(namespace: str, count: int) -> dict[str, str]:
    """The pods' names by those of their Jobs."""
    running: dict[str, str] = {}
    core = cluster.core_api(user_agent=cluster.OBSERVER)
    give_up = time.monotonic() + _PATIENCE
    while time.monotonic() < give_up:  # a watch may end early
        for pod in cluster.watch_plainly(core.list_namespaced_pod, namespace, timeout_seconds=_PATIENCE):
            if cluster.container_states(pod, "running"):
                running[pod["metadata"]["labels"]["batch.kubernetes.io/job-name"]] = pod["metadata"]["name"]
            if len(running) == count:
                return running
    raise TimeoutError(f"only {len(running)} of {count} pods run; look at: kubectl -n {namespace} get pods")


def end(jobs: Sequence[FakeJob], *, after: float, within: float) -> None:
    """Have the pods end one after the other: the first ``after`` seconds from now, all ``within`` so many more."""
    core = cluster.core_api(user_agent=cluster.OBSERVER)
    first = datetime.now(UTC) + timedelta(seconds=after)

    def annotate(numbered: tuple[int, FakeJob]) -> None:
        number, job = numbered
        moment = first + timedelta(seconds=within * number / len(jobs))
        body = {"metadata": {"annotations": {_ENDS: moment.isoformat()}}}
        core.patch_namespaced_pod(job.pod_name, job.namespace, body)

    _in_threads(annotate, list(enumerate(jobs)))


def _in_threads(do: Callable[[Any], Any], things: Iterable[Any]) -> list[Any]:
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(do, things))


def remove(namespace: str) -> None:
    """Delete what is in the namespace and wait until it is gone, so that it does not disturb who comes next."""
    core, batch = (api(user_agent=cluster.OBSERVER) for api in (cluster.core_api, cluster.batch_api))
    batch.delete_collection_namespaced_job(namespace, propagation_policy="Background")
    give_up = time.monotonic() + _PATIENCE
    while core.list_namespaced_pod(namespace, limit=1, _preload_content=False).json()["items"]:
        if time.monotonic() > give_up:
            raise TimeoutError(f"pods are not deleted; look at: kubectl -n {namespace} get pods")
        time.sleep(1)


def watch_ends(namespace: str, seen: Any) -> None:
    """In a process of its own: put each pod's name and the moment at which it was seen to have succeeded."""
    core = cluster.core_api(user_agent=cluster.OBSERVER)
    known = set()
    seen.put(("", time.monotonic()))
    while True:
        for pod in cluster.watch_plainly(core.list_namespaced_pod, namespace):
            name = pod["metadata"]["name"]
            if pod.get("status", {}).get("phase") == "Succeeded" and name not in known:
                known.add(name)
                seen.put((name, time.monotonic()))


class EndObserver:
    """Watches for the pods' ends, so that the moment does not come from what is measured."""

    def __init__(self, namespace: str) -> None:
        processes = multiprocessing.get_context("spawn")
        self._seen = processes.Queue()
        self._process = processes.Process(target=watch_ends, args=(namespace, self._seen), daemon=True)

    def __enter__(self) -> EndObserver:
        self._process.start()
        self._seen.get(timeout=60)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()

    def take(self, count: int) -> dict[str, float]:
        """When each of so many pods ended, in monotonic time."""
        try:
            return dict(self._seen.get(timeout=_PATIENCE) for _ in range(count))
        except queue.Empty:
            raise TimeoutError("not all pods end; look at: kubectl get pods") from None


def to_file(path: Path, jobs: Sequence[FakeJob]) -> None:
    """For the process that waits for them."""
    path.write_text(json.dumps([vars(job) for job in jobs]))


def from_file(path: Path) -> list[FakeJob]:
    """As ``to_file`` wrote them."""
    return [FakeJob(**job) for job in json.loads(path.read_text())]
