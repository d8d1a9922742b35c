"""What users do to tasks whose scripts wait in a queue of Kueue, on a whole Airflow."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.airflow_start import Airflow
from tests.cluster.airflow_tasks import Run, RunningTask
from tests.cluster.kubectl import Kubectl
from tests.cluster.queues import JOB_UID, Queues, is_on_this_machine, kueue_running, queues_in
from tests.patience import wait_for

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def queues(airflow: Airflow, kubeconfig: str, kubectl: Kubectl) -> Iterator[Queues]:
    """A queue in the namespace of Airflow's tasks that admits nothing."""
    if not is_on_this_machine(kubeconfig):
        pytest.skip("Kueue's controller runs on this machine, and this cluster does not")
    with kueue_running(kubeconfig), queues_in(kubectl, airflow.namespace) as found:
        found.create()
        found.stop("Hold")
        yield found


@pytest.fixture(scope="module")
def run(airflow: Airflow, kubectl: Kubectl, queues: Queues) -> Run:
    """A run whose tasks all wait in the queue."""
    found = Run(airflow, kubectl, "queued", airflow.trigger("queued"))
    queues.wait_until_waiting(2)
    return found


def test_marking_a_queued_task_ends_its_workload(run: Run, queues: Queues) -> None:
    """Job, ConfigMap and Workload are gone, though no pod was ever created (R3)."""
    task = run["marked_failed"]
    uid = waiting(task, queues)
    task.mark("failed")
    wait_for(lambda: not task.objects(), "the end of all objects")
    wait_for(lambda: uid not in uids(queues), "the end of the Workload")


def test_clearing_a_queued_task_leaves_one_workload(run: Run, queues: Queues) -> None:
    """The Job of the cleared try goes, that of the new try waits in its place and runs once it is admitted (R3, R8)."""
    task = run["cleared"]
    old = waiting(task, queues)
    task.clear()
    wait_for(lambda: old not in uids(queues), "the end of the old Workload")
    waiting(task, queues)
    assert len(task.jobs()) == 1
    queues.stop("None")
    wait_for(lambda: task.state == "success", "the success of the new try")
    assert task.lines(try_number=2).count("this is try 2") == 1


def waiting(task: RunningTask, queues: Queues) -> str:
    """The uid of the only Job of a task that a triggerer follows, once Kueue has a Workload for it."""
    task.followed()
    (job,) = wait_for(task.jobs, f"the Job of {task.task_id}")
    uid: str = job["metadata"]["uid"]
    wait_for(lambda: uid in uids(queues), f"the Workload of {task.task_id}")
    return uid


def uids(queues: Queues) -> set[str]:
    """The uids of the Jobs that have a Workload."""
    return {found["metadata"]["labels"].get(JOB_UID, "") for found in queues.workloads()}
