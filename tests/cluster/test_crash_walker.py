"""Workers that die after every single call of the Kubernetes API, and what Airflow's retry makes of it."""

from __future__ import annotations

import subprocess
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from airflow_script_provider.kube.labels import TASK_INSTANCE_LABEL
from airflow_script_provider.kube.names import TaskIdentity
from tests.cluster.airflow_start import Airflow, airflow_server
from tests.cluster.airflow_tasks import origin
from tests.cluster.dags.tests_of_crashes import CALLS, LAST_CALL
from tests.cluster.kubectl import PROGRAM, Kubectl
from tests.cluster.told_to_end import tell
from tests.patience import LONG, wait_for, wait_for_none

DAG = "crashes"
RUNNING = "--field-selector=status.phase=Running"
OF_THE_DAG = ("-l", f"airflow-script-provider/dag-id={DAG}")


@dataclass(frozen=True)
class Row:
    """What became of a task whose worker died after a call (``died_after``; None if it lived).

    ``value`` is what its script printed, the name of its deployment.
    """

    deployment: str
    walk: str
    number: int
    died_after: str | None
    tries: int
    state: str
    jobs: int
    pods: int
    effects: int
    value: str

    def __str__(self) -> str:
        died = "(none)" if self.died_after is None else f"{self.number or 'last':>4} {self.died_after}"
        counts = f"{self.jobs:>5} {self.pods:>5} {self.effects:>8}"
        return f"{self.deployment:10} {self.walk:9} {died:36} {self.tries:>5} {self.state:9} {counts}"

    @property
    def is_as_expected(self) -> bool:
        """Once; but twice where the Job was marked as read before its worker died: its retry has nothing to read."""
        times = 2 if self.died_after == LAST_CALL else 1
        tries = 1 if self.died_after is None else 2
        ended = (self.state, self.tries, self.value) == ("success", tries, self.deployment)
        return ended and {self.jobs, self.pods, self.effects} == {times}


@dataclass(frozen=True)
class Seen:
    """How many Jobs and pods each label had, and how many effects each task of a deployment."""

    jobs: Counter[str]
    pods: Counter[str]
    effects: Counter[tuple[str, str]]


@contextmanager
def uids_seen(kubectl: Kubectl, kind: str, namespace: str, folder: Path) -> Iterator[Path]:
    """A file with a line ``task-instance uid`` for all that there was of a kind during the block."""
    path = 'jsonpath={.metadata.labels.airflow-script-provider/task-instance} {.metadata.uid}{"\\n"}'
    words = ["get", kind, "-n", namespace, *OF_THE_DAG, "--watch", "-o", path]
    file = folder / kind
    with file.open("wb") as output:
        process = subprocess.Popen([PROGRAM, "--kubeconfig", kubectl.kubeconfig, *words], stdout=output)
        try:
            yield file
        finally:
            process.terminate()
            process.wait()


def seen_by_task(file: Path) -> Counter[str]:
    """How many different ones each task instance had, by what its objects are labelled with."""
    found = defaultdict(set)
    for line in file.read_text().splitlines():
        task, uid = line.split()
        found[task].add(uid)
    return Counter({key: len(uids) for key, uids in found.items()})


@pytest.fixture(scope="module")
def account(airflow: Airflow, kubectl: Kubectl) -> None:
    """The service account that scripts create ConfigMaps with."""
    where = ("-n", airflow.namespace)
    kubectl("create", "serviceaccount", "effects", *where)
    kubectl("create", "role", "effects", "--verb=create", "--resource=configmaps", *where)
    subject = f"--serviceaccount={airflow.namespace}:effects"
    kubectl("create", "rolebinding", "effects", "--role=effects", subject, *where)


@pytest.fixture
def another_airflow(airflow: Airflow, kubeconfig: str, tmp_path: Path) -> Iterator[Airflow]:
    """A second deployment, with a database of its own, whose tasks run in the first one's namespace."""
    settings = {"TEST_NAMESPACE": airflow.namespace, "TEST_DEPLOYMENT": "other"}
    home = tmp_path / "another"
    home.mkdir()
    with airflow_server(home, kubeconfig, Path(__file__).parent / "dags", settings) as server:
        yield replace(server, namespace=airflow.namespace)


def test_crash_after_every_call(
    airflow: Airflow, account: None, kubectl: Kubectl, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """kill -9 after each call: success, one Job, one pod and one side effect, and nothing is left over (R2, R6)."""
    _check(_walk({"one": airflow}, kubectl, tmp_path), capsys)


@pytest.mark.nightly
@pytest.mark.timeout(3 * LONG)
def test_two_deployments_of_the_same_ids_in_one_namespace(
    airflow: Airflow,
    another_airflow: Airflow,
    account: None,
    kubectl: Kubectl,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Two schedulers on two databases, equal DAGs and run ids: no Job, pod or outcome crosses (R33)."""
    _check(_walk({"one": airflow, "other": another_airflow}, kubectl, tmp_path), capsys)


def _check(rows: list[Row], capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print("\ndeployment walk      died after call                      tries state      jobs  pods  effects")
        print(*rows, sep="\n")
        print("left over after the TTL: nothing")
    assert [str(row) for row in rows if not row.is_as_expected] == []
    for walk in CALLS:
        died_after = {row.died_after for row in rows if row.walk == walk}
        assert {"create jobs", "create secrets", "create configmaps", "get pods/log", LAST_CALL, None} <= died_after


def _walk(airflows: Mapping[str, Airflow], kubectl: Kubectl, folder: Path) -> list[Row]:
    """Run the DAG in each deployment, with one run id, until nothing of it is left in Kubernetes."""
    namespace = next(iter(airflows.values())).namespace
    run = f"walk-{uuid.uuid4().hex[:6]}"
    with uids_seen(kubectl, "jobs", namespace, folder) as jobs, uids_seen(kubectl, "pods", namespace, folder) as pods:
        for airflow in airflows.values():
            airflow.trigger(DAG, run)
        told: set[str] = set()
        instances = {
            (name, walk): _ended(airflow, kubectl, run, walk, told)
            for name, airflow in airflows.items()
            for walk in CALLS
        }
        wait_for_none(lambda: kubectl.names("jobs,pods,secrets,configmaps", namespace, *OF_THE_DAG), "the end of all")
    found = kubectl.items("configmaps", namespace, "-l", "effect-of")
    kubectl("delete", "configmaps", "-n", namespace, "-l", "effect-of")
    labels = [thing["metadata"]["labels"] for thing in found]
    effects = Counter((label["deployment"], label["effect-of"]) for label in labels)
    seen = Seen(seen_by_task(jobs), seen_by_task(pods), effects)
    return [
        _row(name, airflows[name], run, walk, number, instance, seen)
        for (name, walk), of_walk in instances.items()
        for number, instance in enumerate(of_walk)
    ]


def _row(
    deployment: str, airflow: Airflow, run: str, walk: str, number: int, instance: Mapping[str, Any], seen: Seen
) -> Row:
    label = str(_label(airflow, run, walk, number))
    return Row(
        deployment,
        walk,
        number,
        died_after=_last_call(airflow, run, walk, number) if instance["try_number"] > 1 else None,
        tries=instance["try_number"],
        state=instance["state"],
        jobs=seen.jobs[label],
        pods=seen.pods[label],
        effects=seen.effects[deployment, f"{walk}-{number}"],
        value=airflow.xcom(DAG, run, walk, "value", number),
    )


def _label(airflow: Airflow, run: str, task: str, number: int) -> str | None:
    """What the objects of a mapped task instance are labelled with; None before its first launch."""
    found = origin(airflow, DAG, task, run, number)
    return None if found is None else TaskIdentity(DAG, task, run, number, origin=found).digest


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
        metadata = pod["metadata"]
        name, index = metadata["name"], int(metadata["annotations"]["airflow-script-provider/map-index"])
        is_its = metadata["labels"][TASK_INSTANCE_LABEL] == _label(airflow, run, "deferred", index)
        if name not in told and is_its and airflow.has_noted(DAG, run, "deferred", index=index):
            tell(kubectl, airflow.namespace, name)
            told.add(name)


def _last_call(airflow: Airflow, run: str, task: str, number: int) -> str:
    return (airflow.home / f"calls-{run}-{task}-{number}").read_text().splitlines()[-1]
