"""The ways to run a script on Kubernetes that are compared, each as a function that returns when the run is over."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

from benchmarks import cluster

if TYPE_CHECKING:
    from airflow.sdk import Context

T = TypeVar("T")

OURS = "KubernetesScriptOperator"
POD_OPERATOR = "KubernetesPodOperator"
JOB_OPERATOR = "KubernetesJobOperator"
POD_OPERATOR_TUNED = f"{POD_OPERATOR}, all intervals at 0.1 s"
JOB_OPERATOR_TUNED = f"{JOB_OPERATOR}, all intervals at 0.1 s"
OURS_DEFERRED = f"{OURS}, deferrable"
POD_OPERATOR_DEFERRED = f"{POD_OPERATOR}, deferrable"
JOB_OPERATOR_DEFERRED = f"{JOB_OPERATOR}, deferrable"
BARE_JOB = "bare Job, Complete seen"

_DEFERRABLE = {"deferrable": True}
_TUNED_POD = dict.fromkeys(
    ("startup_check_interval_seconds", "base_container_status_polling_interval", "poll_interval"), 0.1
)
_TUNED_JOB = {"job_poll_interval": 0.1}
OPERATORS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    OURS: (OURS, {}),
    POD_OPERATOR: (POD_OPERATOR, {}),
    POD_OPERATOR_TUNED: (POD_OPERATOR, _TUNED_POD),
    JOB_OPERATOR: (JOB_OPERATOR, {}),
    JOB_OPERATOR_TUNED: (JOB_OPERATOR, _TUNED_POD | _TUNED_JOB),
    OURS_DEFERRED: (OURS, _DEFERRABLE),
    POD_OPERATOR_DEFERRED: (POD_OPERATOR, _DEFERRABLE),
    JOB_OPERATOR_DEFERRED: (JOB_OPERATOR, _DEFERRABLE),
}
"""The contenders that are operators: the class, and what is not as its defaults are."""


@dataclass(frozen=True)
class Task:
    """What every contender is given."""

    script: str
    namespace: str
    node: str | None = None

    @property
    def node_selector(self) -> Mapping[str, str] | None:
        """The labels that pin the pod to the node."""
        return {"kubernetes.io/hostname": self.node} if self.node else None


def in_turns(names: Iterable[str], rounds: int, measure: Callable[[str], T]) -> dict[str, list[T]]:
    """What was measured of each in every round; a first round, in which much is loaded, does not count."""
    found: dict[str, list[T]] = {name: [] for name in names}
    for _ in range(rounds + 1):
        for name, measured in found.items():
            measured.append(measure(name))
    return {name: measured[1:] for name, measured in found.items()}


@contextmanager
def own_airflow_home() -> Iterator[None]:
    """An Airflow without database and DAGs; to be entered before Airflow is imported."""
    with tempfile.TemporaryDirectory(prefix="benchmark-airflow-") as home:
        os.environ |= {
            "AIRFLOW_HOME": home,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW_CONN_KUBERNETES_DEFAULT": '{"conn_type": "kubernetes"}',
        }
        yield


def own_environment() -> dict[str, str]:
    """The environment of a fresh process that is measured: it finds its modules compiled, as in an image."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def log_as_a_task(to: str | int) -> None:
    """Write all logs as a task does, as JSON without a buffer, into a file or to the socket of a supervisor."""
    from airflow.sdk.log import configure_logging

    output = open(to, "wb", buffering=0)  # noqa: SIM115  # open until the process ends
    configure_logging(json_output=True, output=output, sending_to_supervisor=True)
    sys.excepthook = sys.__excepthook__  # which Airflow has replaced by one that writes into the log


def contenders() -> dict[str, Callable[[Task], None]]:
    """All of them by name. Each imports what it needs when it runs."""
    return {name: partial(_execute, name) for name in OPERATORS} | {BARE_JOB: run_bare_job}


def operator(name: str, task: Task) -> Any:
    """The operator of a contender, new; ours, deferrable, defers at once."""
    class_name, differing = OPERATORS[name]
    shared: dict[str, Any] = {
        "task_id": "benchmark",
        "image": cluster.IMAGE,
        "namespace": task.namespace,
        "node_selector": task.node_selector,
    }
    if class_name == OURS:
        from airflow_script_provider.operators.script import KubernetesScriptOperator

        return KubernetesScriptOperator(script=task.script, backoff_limit=0, defer_after=0, **shared, **differing)
    return _peer(class_name)(
        name="benchmark",
        cmds=["python3", "-u", "-c", task.script],
        get_logs=True,
        do_xcom_push=False,
        **shared,
        **differing,
    )


def _peer(class_name: str) -> Callable[..., Any]:
    """An operator of the cncf.kubernetes provider."""
    if class_name == POD_OPERATOR:
        from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator

        return KubernetesPodOperator
    from airflow.providers.cncf.kubernetes.operators.job import KubernetesJobOperator

    return partial(KubernetesJobOperator, wait_until_job_complete=True, ttl_seconds_after_finished=300)


def _execute(name: str, task: Task) -> None:
    """Execute an operator; what it defers is run at once and resumed by another one, as ``airflow dags test`` does."""
    from airflow.sdk.exceptions import TaskDeferred

    context = _context()
    try:
        operator(name, task).execute(context)
    except TaskDeferred as deferred:
        _, arguments = deferred.trigger.serialize()
        event = asyncio.run(_first_event(type(deferred.trigger)(**arguments)))
        resumed = getattr(operator(name, task), deferred.method_name)
        resumed(context, event=event, **(deferred.kwargs or {}))


async def _first_event(trigger: Any) -> Any:
    try:
        async with aclosing(trigger.run()) as events:
            return (await anext(events)).payload
    finally:
        await trigger.cleanup()


def run_bare_job(task: Task) -> None:
    """A Job created and watched with the ``kubernetes`` client until its Complete condition."""
    from kubernetes.watch import Watch

    batch, name = batch_client(), new_name()
    batch.create_namespaced_job(task.namespace, cluster.bare_job(name, task.script, task.node))
    stream = Watch()
    selector = f"metadata.name={name}"
    for event in stream.stream(batch.list_namespaced_job, task.namespace, field_selector=selector):
        conditions = event["object"].status.conditions or []
        if any(condition.type == "Complete" for condition in conditions):
            stream.stop()


def batch_client() -> Any:
    """A new client, as each run of an operator makes one."""
    return cluster.batch_api()


def new_name() -> str:
    """A name that no other run has."""
    return f"bare-{secrets.token_hex(5)}"


def _context() -> Context:
    """The least that the operators read of a task's context, in a run of its own; no database is behind it."""
    run_id = f"manual-{secrets.token_hex(4)}"
    instance = SimpleNamespace(
        id=str(uuid.uuid4()),
        dag_id="benchmark",
        task_id="benchmark",
        run_id=run_id,
        map_index=-1,
        try_number=1,
        start_date=datetime.now(UTC),
        xcom_push=lambda *_, **__: None,
    )
    dag = SimpleNamespace(dag_id="benchmark", parent_dag=None, folder=None)
    context: Any = {"ti": instance, "task_instance": instance, "dag": dag, "run_id": run_id}
    return context  # type: ignore[no-any-return]  # a TypedDict with far more keys
