"""Workers that die after every single call of the Kubernetes API, and what Airflow's retry makes of it."""

from __future__ import annotations

import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.airflow_start import Airflow
from tests.cluster.dags.tests_of_crashes import CALLS, LAST_CALL
from tests.cluster.kubectl import PROGRAM, Kubectl
from tests.cluster.told_to_end import tell
from tests.patience import wait_for

DAG = "crashes"
RUNNING = "--field-selector=status.phase=Running"
OF_THE_DAG = ("-l", f"airflow-script-provider/dag-id={DAG}")


@dataclass(frozen=True)
class Row:
    """What became of a task whose worker died after a call (``died_after``; None if it lived)."""

    walk: str
    number: int
    died_after: str | None
    tries: int
    state: str
    jobs: int
    pods: int
    effects: int

    def __str__(self) -> str:
        died = "(none)" if self.died_after is None else f"{self.number or 'last':>4} {self.died_after}"
        counts = f"{self.jobs:>5} {self.pods:>5} {self.effects:>8}"
        return f"{self.walk:9} {died:36} {self.tries:>5} {self.state:9} {counts}"

    @property
    def is_as_expected(self) -> bool:
        """Once; but twice where the Job was marked as read before its worker died: its retry has nothing to read."""
        times = 2 if self.died_after == LAST_CALL else 1
        tries = 1 if self.died_after is None else 2
        return (self.state, self.tries) == ("success", tries) and {self.jobs, self.pods, self.effects} == {times}


@contextmanager
def uids_seen(kubectl: Kubectl, kind: str, namespace: str, folder: Path) -> Iterator[Path]:
    """A file with a line ``task map-index uid`` for all that there was of a kind during the block."""
    annotations = ".metadata.annotations.airflow-script-provider"
    path = f'jsonpath={{{annotations}/task-id}} {{{annotations}/map-index}} {{.metadata.uid}}{{"\\n"}}'
    words = ["get", kind, "-n", namespace, *OF_THE_DAG, "--watch", "-o", path]
    file = folder / kind
    with file.open("wb") as output:
        process = subprocess.Popen([PROGRAM, "--kubeconfig", kubectl.kubeconfig, *words], stdout=output)
        try:
            yield file
        finally:
            process.terminate()
            process.wait()


def seen_by_task(file: Path) -> Counter[tuple[str, int]]:
    """How many different ones each task had."""
    found = defaultdict(set)
    for line in file.read_text().splitlines():
        task, index, uid = line.split()
        found[task, int(index)].add(uid)
    return Counter({key: len(uids) for key, uids in found.items()})


@pytest.fixture
def account(airflow: Airflow, kubectl: Kubectl) -> None:
    """The service account that scripts create ConfigMaps with."""
    where = ("-n", airflow.namespace)
    kubectl("create", "serviceaccount", "effects", *where)
    kubectl("create", "role", "effects", "--verb=create", "--resource=configmaps", *where)
    subject = f"--serviceaccount={airflow.namespace}:effects"
    kubectl("create", "rolebinding", "effects", "--role=effects", subject, *where)


def test_crash_after_every_call(
    airflow: Airflow, account: None, kubectl: Kubectl, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """kill -9 after each call: success, one Job, one pod and one side effect, and nothing is left over (R2, R6)."""
    rows = _walk(airflow, kubectl, tmp_path)
    with capsys.disabled():
        print("\nwalk      died after call                      tries state      jobs  pods  effects")
        print(*rows, sep="\n")
        print("left over after the TTL: nothing")
    assert [str(row) for row in rows if not row.is_as_expected] == []
    for walk in CALLS:
        died_after = {row.died_after for row in rows if row.walk == walk}
        assert {"create jobs", "create secrets", "create configmaps", "get pods/log", LAST_CALL, None} <= died_after


def _walk(airflow: Airflow, kubectl: Kubectl, folder: Path) -> list[Row]:
    """Run the DAG until nothing of it is left in Kubernetes."""
    namespace, ours = airflow.namespace, ("jobs,pods,secrets,configmaps", airflow.namespace, *OF_THE_DAG)
    with uids_seen(kubectl, "jobs", namespace, folder) as jobs, uids_seen(kubectl, "pods", namespace, folder) as pods:
        run = airflow.trigger(DAG)
        told: set[str] = set()
        instances = {walk: _ended(airflow, kubectl, run, walk, told) for walk in CALLS}
        wait_for(lambda: not kubectl.names(*ours), "the end of all")
    found = kubectl.items("configmaps", namespace, "-l", "effect-of")
    effects = Counter(thing["metadata"]["labels"]["effect-of"] for thing in found)
    return [
        Row(
            walk,
            number,
            died_after=_last_call(airflow, run, walk, number) if instance["try_number"] > 1 else None,
            tries=instance["try_number"],
            state=instance["state"],
            jobs=seen_by_task(jobs)[walk, number],
            pods=seen_by_task(pods)[walk, number],
            effects=effects[f"{walk}-{number}"],
        )
        for walk in CALLS
        for number, instance in enumerate(instances[walk])
    ]


def _ended(airflow: Airflow, kubectl: Kubectl, run: str, task: str, told: set[str]) -> list[dict[str, Any]]:
    """All task instances of a mapped task, by map index, once they have ended; scripts that wait are told when to."""
    path = f"dags/{DAG}/dagRuns/{run}/taskInstances/{task}/listMapped?limit=100&order_by=map_index"

    def has_ended(number: int) -> bool:
        _tell_to_end(airflow, kubectl, run, told)
        found = airflow.call("GET", path)["task_instances"]
        return len(found) == CALLS[task] and found[number]["state"] in ("success", "failed")

    for number in range(CALLS[task]):
        wait_for(partial(has_ended, number), f"the end of {task} {number}")
    instances: list[dict[str, Any]] = airflow.call("GET", path)["task_instances"]
    return instances


def _tell_to_end(airflow: Airflow, kubectl: Kubectl, run: str, told: set[str]) -> None:
    """Let the scripts end that the scheduler knows to be deferred, or to have lost their first worker."""
    running = ("-l", f"airflow-script-provider/dag-id={DAG},airflow-script-provider/task-id=deferred", RUNNING)
    for pod in kubectl.items("pods", airflow.namespace, *running):
        name, index = pod["metadata"]["name"], int(pod["metadata"]["annotations"]["airflow-script-provider/map-index"])
        if name not in told and airflow.has_noted(DAG, run, "deferred", index=index):
            tell(kubectl, airflow.namespace, name)
            told.add(name)


def _last_call(airflow: Airflow, run: str, task: str, number: int) -> str:
    return (airflow.home / f"calls-{run}-{task}-{number}").read_text().splitlines()[-1]
