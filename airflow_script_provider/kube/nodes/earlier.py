"""What earlier tries of a task came to on each node, by the Jobs that they have left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_script_provider.kube.job import earlier_tries
from airflow_script_provider.kube.job.earlier_tries import Job
from airflow_script_provider.kube.labels import (
    MAX_TRIES_ANNOTATION,
    NODES_LABEL,
    REQUEST_LABEL,
    TASK_INSTANCE_LABEL,
    TRY_NUMBER_ANNOTATION,
)
from airflow_script_provider.kube.names import TaskIdentity
from airflow_script_provider.kube.nodes import manifest, record
from airflow_script_provider.kube.nodes.plan import NodePlan
from airflow_script_provider.kube.nodes.record import RunRecord
from airflow_script_provider.kube.nodes.selection import Selection
from airflow_script_provider.kube.pods import pod_stages, pod_status
from airflow_script_provider.kube.pods.pod_status import Pod

MISSING = "gone or no longer selected"
"""Why a node is left out that an earlier try had chosen, and that the cluster no longer lists."""


@dataclass(frozen=True)
class EarlierNodes:
    """Nodes on which all runs of an earlier try went well, and ``others`` that one had chosen.

    ``running`` are nodes on which the script may still run, and why no other run may follow.
    """

    succeeded: frozenset[str] = frozenset()
    others: frozenset[str] = frozenset()
    running: Mapping[str, str] = field(default_factory=dict)


def nodes_of(jobs: Iterable[Mapping[str, Any]], plan: NodePlan) -> EarlierNodes:
    """The nodes of these Jobs, owners and runs alike, which have the runs of this plan.

    A node succeeded if a try has a record of its last run that knows of no failure, and no earlier
    run of that try is unknown.
    """
    others: set[str] = set()
    ended: dict[tuple[str, str], dict[int, bool]] = {}
    for job in jobs:
        node = manifest.node_of(job)
        others |= _planned(job) if node is None else {node}
        for of_node, outcome in records_of(job):
            runs = ended.setdefault((_owner_id(job), of_node), {})
            runs[outcome.index] = runs.get(outcome.index, False) or not outcome.failures
    succeeded = {node for (_, node), runs in ended.items() if runs.get(plan.runs - 1) and not plan.unknown(runs)}
    return EarlierNodes(frozenset(succeeded), frozenset(others - succeeded))


def records_of(job: Mapping[str, Any]) -> Iterator[tuple[str, RunRecord]]:
    """The records on a Job, each with its node: of its own run, or of an owner's without a Job."""
    node, outcome = manifest.node_of(job), record.of_job(job)
    if node is None:
        yield from record.of_owner(job)
    elif outcome is not None:
        yield node, outcome


def unended(jobs: Iterable[Job], task: TaskIdentity) -> list[Job]:
    """The Jobs of runs of earlier tries with which Kubernetes may go on, and which no try follows.

    They have neither a record nor an end: they could not be ended, or were created too late. An
    owner that was not read is followed, and its runs with it.
    """
    given = list(jobs)
    followed = {_owner_id(job) for job in given if manifest.index_of(job) is None and not earlier_tries.is_read(job)}
    return [
        job
        for job in given
        if manifest.index_of(job) is not None and _owner_id(job) not in followed
        if earlier_tries.is_of_an_earlier_try(job, task)
        if record.of_job(job) is None and not earlier_tries.has_ended(job)
    ]


def still_running(pods: Iterable[Pod]) -> dict[str, str]:
    """The nodes on which a pod of an earlier try may still run its script, and why."""
    return {
        node: f"the script of try {_try_of(pod)} may still run in pod {pod_status.name(pod)}"
        for pod in pods
        if (node := manifest.node_of(pod)) is not None and pod_stages.may_run(pod)
    }


def plan_of_try(plan: NodePlan, selection: Selection, earlier: EarlierNodes) -> NodePlan:
    """The plan of a try for the selected nodes, after what earlier tries came to.

    A node that an earlier try has not succeeded on is owed a success, also where it is gone. Where
    the script may still run, it is left out.
    """
    names = [name for name in selection.names if name not in earlier.running]
    owed = (earlier.others - set(names)) | earlier.running.keys()
    return replace(
        plan,
        nodes=tuple(name for name in names if name not in earlier.succeeded),
        earlier=tuple(name for name in names if name in earlier.succeeded),
        skipped=dict(sorted((dict.fromkeys(owed, MISSING) | dict(selection.skipped) | dict(earlier.running)).items())),
        owed=tuple(sorted(owed)),
    )


def is_bare(pod: Mapping[str, Any], request: str) -> bool:
    """Whether a pod of this request lacks its try, because a webhook has replaced annotations."""
    return earlier_tries.is_bare(pod) and (pod["metadata"].get("labels") or {}).get(REQUEST_LABEL) == request


def is_of_launch(job: Mapping[str, Any], owner: Mapping[str, Any]) -> bool:
    """Whether a Job is of a try of the launch that an owner is of, and not of another series."""
    return _series(job) == _series(owner) and not earlier_tries.has_other_values(job, earlier_tries.call_digest(owner))


def task_instance_of(owner: Mapping[str, Any]) -> str:
    """The digest of an owner's task instance; empty if the owner has lost that label."""
    return str((owner["metadata"].get("labels") or {}).get(TASK_INSTANCE_LABEL, ""))


def _series(job: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """What is the same of all tries of a launch; a clear begins another series."""
    labels, annotations = (job["metadata"].get(kind) or {} for kind in ("labels", "annotations"))
    return labels.get(REQUEST_LABEL), annotations.get(MAX_TRIES_ANNOTATION)


def _try_of(pod: Pod) -> str:
    return str((pod["metadata"].get("annotations") or {}).get(TRY_NUMBER_ANNOTATION, "?"))


def _owner_id(job: Mapping[str, Any]) -> str:
    return str((job["metadata"].get("labels") or {}).get(NODES_LABEL, ""))


def _planned(owner: Mapping[str, Any]) -> Set[str]:
    """Where an owner was to run the script; nothing if another program has changed its plan."""
    try:
        plan = manifest.plan_of(owner)
    except ValueError:
        return frozenset()
    return {*plan.nodes, *plan.owed}
