"""A task instance of a real Airflow, with what it shows and what it has in Kubernetes."""

from __future__ import annotations

import urllib.error
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_script_provider._airflow import has_task_state_store
from airflow_script_provider._task_identity import DEPLOYMENT_VARIABLE, STORE_KEY
from airflow_script_provider.kube.labels import TASK_INSTANCE_LABEL
from airflow_script_provider.kube.names import TaskIdentity
from tests.cluster.airflow_server import FINAL, AirflowServer
from tests.cluster.airflow_start import Airflow
from tests.cluster.kubectl import Kubectl
from tests.cluster.told_to_end import tell_all
from tests.patience import wait_for

_digests: dict[tuple[str, str, str], str] = {}
"""What the Jobs of a task instance are labelled with, as far as it was seen; it outlives the DAG run."""


@dataclass(frozen=True)
class RunningTask:
    """A task instance of a run."""

    airflow: Airflow
    kubectl: Kubectl
    dag_id: str
    run_id: str
    task_id: str

    @property
    def state(self) -> str:
        """Its state."""
        return self.airflow.state(self.dag_id, self.run_id, self.task_id)

    @property
    def try_number(self) -> int:
        """The number of its newest try."""
        return int(self.airflow.call("GET", self._path)["try_number"])

    def ended(self) -> str:
        """Its state once it has ended or is up for retry."""
        return self.airflow.final_state(self.dag_id, self.run_id, self.task_id)

    def deferred(self) -> None:
        """Wait until a triggerer runs its trigger and its pod exists."""
        self.followed()
        wait_for(self.pods, f"the pod of {self.dag_id}.{self.task_id}")

    def followed(self) -> None:
        """Wait until a triggerer runs its trigger."""

        def waits() -> bool:
            task = self.airflow.call("GET", self._path)
            if task["state"] in FINAL:
                raise AssertionError(f"{self.dag_id}.{self.task_id} is {task['state']} instead of deferred")
            return task["state"] == "deferred" and task["triggerer_job"] is not None

        wait_for(waits, f"the deferral of {self.dag_id}.{self.task_id}")

    def running(self) -> None:
        """Wait until it is deferred and its script runs."""
        self.deferred()
        self.running_pods()

    def running_pods(self) -> list[str]:
        """The pods in which its script runs, as soon as it does."""
        return self.kubectl.running_pods(self.airflow.namespace, *self._selector)

    def tell_to_end(self) -> None:
        """Let its script go on to its end."""
        tell_all(self.kubectl, self.airflow.namespace, *self._selector)

    def end_deferral(self, try_number: int = 1) -> None:
        """Let the script of a deferred try end, once the scheduler has heard of the deferral.

        Airflow takes a task for lost that runs again before; then its scheduler fails it.
        """
        wait_for(lambda: self.has_been_noted(try_number), f"the scheduler's note of {self.task_id}")
        self.tell_to_end()

    def has_been_noted(self, try_number: int = 1) -> bool:
        """Whether the scheduler has noted that a worker of this try ended, as that of a deferral does."""
        return self.airflow.has_noted(self.dag_id, self.run_id, self.task_id, try_number)

    def mark(self, state: str) -> None:
        """Set its state, as a user does."""
        self.airflow.call("PATCH", self._path, {"new_state": state})

    def clear(self) -> None:
        """Let it run again, as a user does."""
        body = {"dry_run": False, "dag_run_id": self.run_id, "task_ids": [self.task_id], "only_failed": False}
        self.airflow.call("POST", f"dags/{self.dag_id}/clearTaskInstances", body)

    def log(self, try_number: int = 1) -> list[dict[str, Any]]:
        """The log of a try."""
        return self.airflow.log(self.dag_id, self.run_id, self.task_id, try_number)

    def lines(self, try_number: int = 1) -> list[str]:
        """Its lines."""
        return [str(entry["event"]) for entry in self.log(try_number)]

    def error(self) -> str:
        """Its one entry at ERROR, with all that belongs to it. It may be shown later than the state of the task."""

        def errors() -> list[str]:
            return [str(entry) for entry in self.log() if entry.get("level") == "error"]

        (found,) = wait_for(errors, f"the error of {self.dag_id}.{self.task_id}")
        return found

    def deferrals(self, try_number: int = 1) -> int:
        """How often it was deferred."""
        return sum("DEFERRED" in line for line in self.lines(try_number))

    def xcom(self, key: str = "return_value") -> Any:
        """What it pushed."""
        return self.airflow.xcom(self.dag_id, self.run_id, self.task_id, key)

    def jobs(self) -> list[dict[str, Any]]:
        """Its Jobs, those of all tries."""
        return self.kubectl.items("jobs", self.airflow.namespace, *self._selector)

    def pods(self, *words: str) -> list[dict[str, Any]]:
        """Its pods."""
        return self.kubectl.items("pods", self.airflow.namespace, *self._selector, *words)

    def objects(self) -> list[str]:
        """The names of all that it has."""
        return self.kubectl.names("jobs,pods,configmaps,secrets", self.airflow.namespace, *self._selector)

    def uids(self) -> set[str]:
        """The uids of its Jobs and pods."""
        return {thing["metadata"]["uid"] for thing in (*self.jobs(), *self.pods())}

    @property
    def _selector(self) -> tuple[str, str]:
        return ("-l", f"{TASK_INSTANCE_LABEL}={self._digest()}")

    def _digest(self) -> str:
        """As Airflow tells now, or told before the run was deleted."""
        ids = (self.dag_id, self.task_id, self.run_id)
        if (found := origin(self.airflow, *ids)) is not None:
            _digests[ids] = TaskIdentity(*ids, origin=found).digest
        return _digests.get(ids, "not-launched-yet")

    @property
    def _path(self) -> str:
        return f"dags/{self.dag_id}/dagRuns/{self.run_id}/taskInstances/{self.task_id}"


def origin(airflow: AirflowServer, dag_id: str, task_id: str, run_id: str, map_index: int = -1) -> str | None:
    """What keeps a task instance apart from those of equal ids; None before its first try has asked for it."""
    run = f"dags/{dag_id}/dagRuns/{run_id}"
    try:
        if has_task_state_store():
            path = f"{run}/taskInstances/{task_id}/state-store?map_index={map_index}"
            stored = airflow.call("GET", path)["task_state_store"]
            found = {entry["key"]: entry["value"] for entry in stored}
            return f"/{found[STORE_KEY]}" if STORE_KEY in found else None
        mark = airflow.call("GET", f"variables/{DEPLOYMENT_VARIABLE}")["value"]
        due = datetime.fromisoformat(airflow.call("GET", run)["run_after"])
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        return None
    return f"{mark}/{due.isoformat()}"


@dataclass(frozen=True)
class Run:
    """A run of a DAG; ``run["task"]`` is a task of it."""

    airflow: Airflow
    kubectl: Kubectl
    dag_id: str
    run_id: str

    def __getitem__(self, task_id: str) -> RunningTask:
        return RunningTask(self.airflow, self.kubectl, self.dag_id, self.run_id, task_id)

    def end_deferrals(self, *tries: tuple[str, int]) -> None:
        """``end_deferral`` of these tries, each a task and a number, in whatever order they come."""
        left = set(tries)

        def look() -> bool:
            for task_id, number in sorted(left):
                if self[task_id].has_been_noted(number):
                    self[task_id].tell_to_end()
                    left.remove((task_id, number))
            return not left

        wait_for(look, f"the scheduler's notes of {tries}")

    def start_again(self) -> None:
        """Make a run of the same id, after this one was deleted."""
        for ids in [ids for ids in _digests if ids[2] == self.run_id]:
            del _digests[ids]
        self.airflow.trigger(self.dag_id, self.run_id)

    def delete(self) -> None:
        """Delete it, as a user does, who has to mark it first: Airflow does not delete what is running."""
        path = f"dags/{self.dag_id}/dagRuns/{self.run_id}"
        self.airflow.call("PATCH", path, {"state": "failed"})
        self.airflow.call("DELETE", path)
