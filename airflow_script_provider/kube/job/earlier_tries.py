"""Which Job of an earlier try a retry reattaches to, and how long that Job has run."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum
from typing import Any

from airflow_script_provider.kube import labels
from airflow_script_provider.kube.durations import Deadline
from airflow_script_provider.kube.job.observed.job_status import FAILED, SUCCEEDED, is_suspended
from airflow_script_provider.kube.job.observed.pruning import controller_of
from airflow_script_provider.kube.names import LaunchIdentity, TaskIdentity
from airflow_script_provider.kube.pods import pod_stages
from airflow_script_provider.kube.pods.pod_status import Pod
from airflow_script_provider.kube.times import parse_time

Job = Mapping[str, Any]

_FINAL = (*SUCCEEDED, *FAILED)


class Likeness(IntEnum):
    """How surely a launch repeats the Job of an earlier try; the surest is the largest."""

    NONE = 0
    SAME_NUMBER = 1
    SAME_VALUES = 2
    SAME_LAUNCH = 3


_OF_THIS_NUMBER = (Likeness.SAME_NUMBER, Likeness.SAME_LAUNCH)


@dataclass(frozen=True)
class EarlierJobs:
    """Jobs of earlier tries: follow ``wanted`` instead of a new Job, delete ``obsolete``.

    ``kept`` are the uids of those that a launch of this try follows, or may follow later.
    """

    wanted: Job | None = None
    obsolete: tuple[Job, ...] = ()
    kept: frozenset[str] = frozenset()


def earlier_jobs(
    jobs: Sequence[Job], identity: LaunchIdentity, *, alone: bool, claimed: Collection[str] = ()
) -> EarlierJobs:
    """What to do with the Jobs of a task instance before the next try launches its own.

    Jobs of this try and Jobs that were read are left out, and so are those that other launches of
    this try have ``claimed``, by uid. ``alone`` means that the task launches nothing more, so that
    no later launch of this try can ask for a Job that this one does not follow.
    """
    if identity.task is None:
        return EarlierJobs()
    unread = [job for job in jobs if is_of_an_earlier_try(job, identity.task) and not is_read(job)]
    in_series = [job for job in unread if _is_repeated_by(job, identity.task)]
    free = [job for job in unread if job["metadata"].get("uid") not in claimed]
    likeness = [(_likeness(job, identity), job) for job in free if job in in_series]
    matching = sorted((pair for pair in likeness if pair[0]), key=lambda pair: (pair[0], _age_key(pair[1])))
    best, wanted = matching[-1] if matching else (Likeness.NONE, None)
    # Another launch of this try may ask for a Job of the same series that is not like this launch.
    replaced = _OF_THIS_NUMBER if best in _OF_THIS_NUMBER else ()
    others = [job for like, job in likeness if not alone and like not in replaced]
    obsolete = tuple(job for job in free if job is not wanted and job not in others)
    kept = frozenset(job["metadata"]["uid"] for job in unread if job not in obsolete)
    return EarlierJobs(wanted, obsolete, kept)


def read_but_not_ended(jobs: Sequence[Job], task: TaskIdentity) -> list[Job]:
    """The Jobs of earlier tries whose outcome was read, but which have not ended.

    They could not be deleted, or their end is not reported yet: see ``may_start``. The owner of
    runs on nodes starts nothing itself.
    """
    return [
        job
        for job in jobs
        if is_of_an_earlier_try(job, task) and is_read(job) and not has_ended(job)
        if labels.NODES_LABEL not in (job["metadata"].get("labels") or {})
        if job.get("spec", {}).get("parallelism") != 0
    ]


def may_start(job: Job, pods: Sequence[Pod]) -> bool:
    """Whether a script of a Job that has not ended may begin or run, by the pods of all Jobs.

    Where all its pods have ended, only its own end is not reported yet.
    """
    own = [pod for pod in pods if controller_of(pod) == job["metadata"]["uid"]]
    return not own or any(map(pod_stages.may_run, own))


def pods_left_over(pods: Sequence[Pod], jobs: EarlierJobs, task: TaskIdentity) -> list[Pod]:
    """The pods of earlier tries whose Jobs no launch of this try follows.

    Their Jobs are deleted, or their outcomes were read.
    """
    earlier = [pod for pod in pods if (number := try_number(pod)) is not None and number < task.try_number]
    return [pod for pod in earlier if controller_of(pod) not in jobs.kept]


def try_number(thing: Job | Pod) -> int | None:
    """The try that launched a Job or its pod; None without such a label and annotation.

    Objects of earlier versions have only the annotation, which a webhook may have replaced.
    """
    label = (thing["metadata"].get("labels") or {}).get(labels.TRY_NUMBER_LABEL, "")
    texts = (label, _annotations(thing).get(labels.TRY_NUMBER_ANNOTATION, ""))
    return next((int(text) for text in texts if re.fullmatch("[0-9]{1,9}", text)), None)


def is_bare(thing: Job | Pod) -> bool:
    """Whether a Job or pod lacks our annotations, because a webhook has replaced them."""
    return labels.TRY_NUMBER_ANNOTATION not in (thing["metadata"].get("annotations") or {})


def has_ended(job: Job) -> bool:
    """Whether the Job has ended for good."""
    return _ended_at(job) is not None


def seconds_since_launch(job: Job, now: datetime) -> float:
    """Seconds from the launch to ``now`` or to the Job's end, by the API server's clock."""
    created = parse_time(job["metadata"]["creationTimestamp"])
    return max(0.0, ((_ended_at(job) or now) - created).total_seconds())


def seconds_until(moment: float, launched_at: float, job: Job, now: datetime) -> float:
    """Seconds from ``now`` until a moment that the worker gave which launched the Job.

    ``moment`` and ``launched_at`` are times of day of that worker, ``now`` is the API server's.
    What has passed since the launch is measured by the API server's clock alone: the clocks of
    worker, triggerer and API server may differ.
    """
    created = parse_time(job["metadata"]["creationTimestamp"])
    return moment - launched_at - (now - created).total_seconds()


def seconds_on_the_clock(job: Job, now: datetime) -> float | None:
    """Seconds that the Job's clock has run.

    None while the Job is suspended. A suspension resets the clock.
    """
    if is_suspended(job):
        return None
    started = job.get("status", {}).get("startTime") or job["metadata"]["creationTimestamp"]
    return max(0.0, (now - parse_time(started)).total_seconds())


def deadline_of(job: Job, asked: Deadline, timeout: int | None) -> Deadline:
    """The deadline of a Job that was launched with the same ``timeout`` as this try asks for.

    What is left of ``execution_timeout`` differs from try to try. The ``timeout`` itself is the
    deadline of a Job of an earlier version.
    """
    own = job.get("spec", {}).get("activeDeadlineSeconds")
    if own is None or own == timeout:
        return Deadline(own)
    return replace(asked, seconds=own) if asked.argument == "execution_timeout" else asked


def is_read(job: Job) -> bool:
    """Whether the Job's outcome was read.

    A webhook that has replaced the annotations may also have removed the mark.
    """
    return labels.READ_ANNOTATION in _annotations(job) or (is_bare(job) and has_ended(job))


def is_of_an_earlier_try(job: Job, task: TaskIdentity) -> bool:
    """Whether an earlier try launched a Job that is not being deleted."""
    number = try_number(job)
    return number is not None and number < task.try_number and "deletionTimestamp" not in job["metadata"]


def is_repeated_by_launch(job: Job, identity: LaunchIdentity) -> bool:
    """Whether this launch would repeat the Job of an earlier try, by its number.

    False if the task was cleared since, or if the Job is known to have other values.
    """
    return _is_repeated_by(job, identity.task) and _likeness(job, identity) in _OF_THIS_NUMBER


def has_other_values(job: Job, call: str | None) -> bool:
    """Whether a Job is known to have other values than a call with this digest."""
    theirs = call_digest(job)
    return bool(call and theirs) and call != theirs


def call_digest(job: Job) -> str | None:
    """The digest of the request and the values of a Job, None if it was launched without one."""
    return _annotations(job).get(labels.CALL_ANNOTATION)


def _likeness(job: Job, identity: LaunchIdentity) -> Likeness:
    """How surely a launch repeats a Job of the same series of tries.

    The label has the number of a launch among those of the same request. If a try skips a launch
    that an earlier try made, or if threads start in another order, that number means another call.
    A Job with other values is not repeated: its success would say nothing about these values.
    """
    is_same_number = _request(job) == identity.request
    if has_other_values(job, identity.call):
        return Likeness.NONE
    if identity.call and call_digest(job):
        return Likeness.SAME_LAUNCH if is_same_number else Likeness.SAME_VALUES
    return Likeness.SAME_NUMBER if is_same_number else Likeness.NONE


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


def _annotations(thing: Job | Pod) -> Mapping[str, str]:
    """The annotations. A webhook may have replaced a Job's, which its pods' template also has.

    An owner that lacks its own cannot be followed, because its plan is only there.
    """
    metadata = thing["metadata"]
    own: dict[str, str] = metadata.get("annotations") or {}
    if labels.NODES_LABEL in (metadata.get("labels") or {}):
        return own
    template = thing.get("spec", {}).get("template", {}).get("metadata", {})
    return (template.get("annotations") or {}) | own


def _age_key(job: Job) -> tuple[str, int]:
    return str(job["metadata"]["creationTimestamp"]), try_number(job) or 0


def _ended_at(job: Job) -> datetime | None:
    conditions = job.get("status", {}).get("conditions") or []
    final = [condition for condition in conditions if condition["type"] in _FINAL and condition["status"] == "True"]
    return min((parse_time(condition["lastTransitionTime"]) for condition in final), default=None)
