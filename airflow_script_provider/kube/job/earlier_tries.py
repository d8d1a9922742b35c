"""Which Job of an earlier try a retry reattaches to, and how long that Job has run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_script_provider.kube import labels
from airflow_script_provider.kube.job import progress
from airflow_script_provider.kube.names import LaunchIdentity, TaskIdentity

Job = Mapping[str, Any]

_FINAL = (*progress.SUCCEEDED, *progress.FAILED)


@dataclass(frozen=True)
class EarlierJobs:
    """Jobs of earlier tries: follow ``wanted`` instead of a new Job, delete ``obsolete``."""

    wanted: Job | None = None
    obsolete: tuple[Job, ...] = ()


def earlier_jobs(jobs: Sequence[Job], identity: LaunchIdentity, *, alone: bool) -> EarlierJobs:
    """What to do with the Jobs of a task instance before the next try launches its own.

    Jobs of this try and Jobs that were read stay. ``alone`` means that the task launches nothing
    more, so that no later launch of this try can ask for a Job that this one does not follow.
    """
    if identity.task is None:
        return EarlierJobs()
    unread = [job for job in jobs if _is_unread_of_an_earlier_try(job, identity.task)]
    matching = sorted((job for job in unread if is_repeated_by_launch(job, identity)), key=_age_key)
    wanted = matching[-1] if matching else None
    others = [job for job in unread if job is not wanted]
    return EarlierJobs(wanted, tuple(job for job in others if alone or not _may_be_asked_for(job, identity)))


def try_number(job: Job) -> int | None:
    """The try that launched a Job; None if the Job has no such annotation."""
    text = _annotations(job).get(labels.TRY_NUMBER_ANNOTATION, "")
    return int(text) if text.isdigit() else None


def has_ended(job: Job) -> bool:
    """Whether the Job has ended for good."""
    return _ended_at(job) is not None


def seconds_since_launch(job: Job, now: datetime) -> float:
    """Seconds from the launch to ``now`` or to the Job's end, by the API server's clock."""
    created = _time(job["metadata"]["creationTimestamp"])
    return max(0.0, ((_ended_at(job) or now) - created).total_seconds())


def seconds_on_the_clock(job: Job, now: datetime) -> float | None:
    """Seconds that the Job's clock has run.

    None while the Job is suspended. A suspension resets the clock.
    """
    if job.get("spec", {}).get("suspend"):
        return None
    started = job.get("status", {}).get("startTime") or job["metadata"]["creationTimestamp"]
    return max(0.0, (now - _time(started)).total_seconds())


def _is_unread_of_an_earlier_try(job: Job, task: TaskIdentity) -> bool:
    metadata, number = job["metadata"], try_number(job)
    is_read = labels.READ_ANNOTATION in _annotations(job)
    return number is not None and number < task.try_number and not is_read and "deletionTimestamp" not in metadata


def is_repeated_by_launch(job: Job, identity: LaunchIdentity) -> bool:
    """Whether this launch would repeat the Job of an earlier try.

    False if the task was cleared since.
    """
    return _is_repeated_by(job, identity.task) and _request(job) == identity.request


def _may_be_asked_for(job: Job, identity: LaunchIdentity) -> bool:
    """Whether another launch of this try may repeat it."""
    return _is_repeated_by(job, identity.task) and _request(job) != identity.request


def _is_repeated_by(job: Job, task: TaskIdentity | None) -> bool:
    """Whether this try follows a failure of the Job's try, and not a clear of the task.

    A clear raises ``max_tries``, unless the task was running. A try after the last one also comes
    from a clear.
    """
    number, said = try_number(job), _annotations(job).get(labels.MAX_TRIES_ANNOTATION)
    if task is None or task.max_tries is None or number is None:
        return False
    return said == str(task.max_tries) and number <= task.max_tries


def _request(job: Job) -> str | None:
    label: str | None = job["metadata"].get("labels", {}).get(labels.REQUEST_LABEL)
    return label


def _annotations(job: Job) -> Mapping[str, str]:
    annotations: Mapping[str, str] = job["metadata"].get("annotations") or {}
    return annotations


def _age_key(job: Job) -> tuple[str, int]:
    return str(job["metadata"]["creationTimestamp"]), try_number(job) or 0


def _ended_at(job: Job) -> datetime | None:
    conditions = job.get("status", {}).get("conditions") or []
    final = [condition for condition in conditions if condition["type"] in _FINAL and condition["status"] == "True"]
    return min((_time(condition["lastTransitionTime"]) for condition in final), default=None)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
