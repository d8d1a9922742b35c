"""How far a run is, and whether it is over: decisions from the observed Job and pods.

``View`` is everything seen so far. ``decide`` says what it means. Times are seconds of one
monotonic clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from airflow_script_provider.kube.causes import cluster_messages
from airflow_script_provider.kube.job import pod_state, pod_status
from airflow_script_provider.kube.job.pod_status import Pod
from airflow_script_provider.kube.wording import one_line

OTHERS_GRACE = 2.0
"""Seconds that other containers may run on after the script's container has ended."""
IMAGE_GRACE = 20.0
"""Seconds that an image may be unpullable for a permanent reason before the run fails."""
REFUSAL_GRACE = 10.0
"""Seconds for which admission may refuse the Job's pods for good before the run fails."""
MAX_DISRUPTIONS = 10
"""Pods of a run that the cluster may end. Each begins the script again, and is no attempt."""
SILENCE_GRACE = 120.0
"""Seconds after deadline and grace period in which the API server may still report the end."""


SUCCEEDED = ("Complete", "SuccessCriteriaMet")
FAILED = ("Failed", "FailureTarget")
"""Conditions of a Job after which no pod of it starts.

The early ones are as final as the late ones.
"""


class Cause(Enum):
    """Why a run is over."""

    SCRIPT_SUCCEEDED = "script succeeded"
    SCRIPT_FAILED = "script failed"
    JOB_SUCCEEDED = "job succeeded"
    JOB_FAILED = "job failed"
    DEADLINE = "deadline"
    STARTUP_TIMEOUT = "startup timeout"
    IMAGE = "image"
    NOT_EXECUTABLE = "not executable"
    STOPPED = "stopped"
    REFUSED = "refused"
    DISRUPTED = "disrupted"
    JOB_DELETED = "job deleted"
    SILENCE = "silence"


@dataclass(frozen=True)
class Limits:
    """The bounds of a run, in seconds.

    ``deadline`` is the Job's. ``deadline_name`` is the argument that sets it.
    """

    startup_timeout: float
    deadline: float | None = None
    deadline_name: str = "timeout"
    grace_period: float = 30
    backoff_limit: int = 3
    final_codes: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Verdict:
    """The run is over.

    ``pod_uid`` is the attempt that decided it. ``delete_job`` stops what Kubernetes would
    continue.
    """

    cause: Cause
    pod_uid: str | None = None
    reason: str | None = None
    message: str = ""
    delete_job: bool = False

    @property
    def is_success(self) -> bool:
        """Whether the script succeeded."""
        return self.cause in (Cause.SCRIPT_SUCCEEDED, Cause.JOB_SUCCEEDED)

    @property
    def is_of_the_job(self) -> bool:
        """Whether the Job controller decided; it may know more pods than were observed."""
        return self.cause in (Cause.JOB_SUCCEEDED, Cause.JOB_FAILED, Cause.DEADLINE)

    @property
    def is_by_time(self) -> bool:
        """Whether it rests on something that did not happen in time."""
        return self.cause in (Cause.STARTUP_TIMEOUT, Cause.IMAGE, Cause.REFUSED, Cause.SILENCE)

    @property
    def ends_pods(self) -> bool:
        """Whether pods may still run; Kubernetes then deletes them with their logs."""
        return self.cause in (Cause.DEADLINE, Cause.JOB_FAILED, Cause.JOB_DELETED, Cause.SILENCE, Cause.DISRUPTED)

    @property
    def is_unknown(self) -> bool:
        """Whether it is unknown how the script ended."""
        return self.cause in (Cause.JOB_DELETED, Cause.SILENCE, Cause.STOPPED)


@dataclass(frozen=True)
class Wait:
    """Nothing is to be decided before ``until``, unless something changes."""

    until: float | None = None


@dataclass(frozen=True)
class View:
    """Everything observed of a run: the newest state of the Job and of each pod.

    ``pods`` are in the order of their creation, in which the last one is the last attempt: lists
    and watches bring them in the order of their names. ``pods_known`` is False while there may be
    pods of which nothing was seen yet. ``done`` are the pods whose script was seen to end with 0
    while nothing ended the pod: what happens to the pod afterwards does not matter. ``stopped``
    says by uid why the kubelet stopped a script that then ended with 0. ``pull_errors`` are the
    last messages by uid that say why an image cannot be pulled; the one of a back-off need not.
    ``refused_since`` is when admission first refused a pod for good, with ``refusal``.
    ``disruptions`` say by uid which pods the cluster ended and why, those of earlier followers
    too.
    """

    job: Mapping[str, Any] = field(default_factory=dict)
    job_deleted: bool = False
    pods: Mapping[str, Pod] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()
    started_at: float | None = None
    ended_at: Mapping[str, float] = field(default_factory=dict)
    stuck_since: Mapping[str, float] = field(default_factory=dict)
    pods_known: bool = True
    done: frozenset[str] = frozenset()
    stopped: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    pull_errors: Mapping[str, str] = field(default_factory=dict)
    refused_since: float | None = None
    refusal: str = ""
    disruptions: Mapping[str, str] = field(default_factory=dict)

    def with_job(self, job: Mapping[str, Any], now: float, *, deleted: bool = False) -> View:
        """The view after a change of the Job. While it is suspended its clock does not run."""
        suspended = bool(job.get("spec", {}).get("suspend"))
        started_at = None if suspended else self.started_at if self.started_at is not None else now
        return replace(self, job=job, job_deleted=self.job_deleted or deleted, started_at=started_at)

    def with_pod(self, pod: Pod, now: float, *, deleted: bool = False) -> View:
        """The view after a change of a pod, or its disappearance."""
        uid = pod_status.uid(pod)
        ended, stuck = dict(self.ended_at), dict(self.stuck_since)
        if pod_status.script_end(pod):
            ended.setdefault(uid, now)
        if pod_status.script_has_started(pod):
            stuck.pop(uid, None)
        elif pod_state.has_hopeless_image(pod):
            stuck.setdefault(uid, now)
        elif (waiting := pod_state.waiting(pod)) is None or waiting.reason not in pod_state.IMAGE_TROUBLE:
            stuck.pop(uid, None)
        changes: dict[str, Any] = {"pods": {**self.pods, uid: pod}, "ended_at": ended, "stuck_since": stuck}
        if uid not in self.pods:
            in_order = sorted(changes["pods"].items(), key=lambda entry: pod_status.created_at(entry[1]))
            changes |= {"pods": dict(in_order), "refused_since": None}
        if deleted:
            changes["gone"] = self.gone | {uid}
        if _is_done(pod):
            changes["done"] = self.done | {uid}
        if (why := pod_status.disruption(pod)) and uid not in self.done:
            changes["disruptions"] = {
                **self.disruptions,
                uid: f"{pod_status.name(pod)}{pod_status.where(pod)}: {one_line(str(why))}",
            }
        if error := pod_state.pull_error(pod):
            changes["pull_errors"] = {**self.pull_errors, uid: error}
        return replace(self, **changes)

    def with_event(self, event: Mapping[str, Any], now: float) -> View:
        """The view after a Warning event: it may say that admission refuses the Job's pods."""
        refusal = cluster_messages.refusal(event)
        if refusal is None or not self.is_without_a_pod:
            return self
        return replace(self, refused_since=now if self.refused_since is None else self.refused_since, refusal=refusal)

    def with_stopped(self, uid: str, reason: str, message: str) -> View:
        """The view after a message of the kubelet that it stopped the pod's script."""
        return replace(self, stopped={**self.stopped, uid: (reason, message)})

    @property
    def has_begun(self) -> bool:
        """Whether a container of the run has ever started."""
        return any(pod_status.has_begun(pod) for pod in self.pods.values())

    @property
    def failures(self) -> int:
        """The number of failed attempts.

        It is the larger of two counts: the Job's own, and the observed failures that the Job will
        count. The Job counts a deleted pod, but not a pod that ended because the Job was
        suspended.
        """
        own = [uid for uid, pod in self.pods.items() if uid not in self.gone and _failed_by_itself(pod)]
        return max(len(own), int(self.job.get("status", {}).get("failed") or 0))

    @property
    def has_unseen_pods(self) -> bool:
        """Whether the Job had pods that were never observed, because they were gone before."""
        status = self.job.get("status", {})
        counts = ("failed", "succeeded", "active", "terminating", "uncountedTerminatedPods")
        return not self.pods and any(status.get(count) for count in counts)

    @property
    def is_without_a_pod(self) -> bool:
        """Whether the run has no pod that waits or runs."""
        ended = {uid for uid, pod in self.pods.items() if pod_status.script_end(pod) or pod_status.has_failed(pod)}
        return not self.pods.keys() - ended - self.gone


def _is_done(pod: Pod) -> bool:
    end = pod_status.script_end(pod)
    return end is not None and end.exit_code == 0 and not pod_status.was_stopped(pod)


def _failed_by_itself(pod: Pod) -> bool:
    return pod_status.has_failed(pod) and not pod_status.is_being_deleted(pod) and not pod_status.disruption(pod)


def decide(view: View, limits: Limits, now: float) -> Wait | Verdict:
    """Decide what the view means now: the run is over, or how long to wait."""
    if verdict := _succeeded(view, now) or _job_condition(view) or _failed_for_good(view, limits, now):
        return verdict
    if view.job_deleted:
        return _after_deletion(view)
    if len(view.disruptions) > MAX_DISRUPTIONS:
        uid, message = list(view.disruptions.items())[-1]
        return Verdict(Cause.DISRUPTED, uid, message=message, delete_job=True)
    return _overdue(view, limits, now) or Wait(_next_look(view, limits, now))


def _job_condition(view: View) -> Verdict | None:
    """The Job controller's decision."""
    for condition in view.job.get("status", {}).get("conditions") or []:
        if condition["status"] != "True":
            continue
        if condition["type"] in SUCCEEDED:
            uid = _succeeded_pod(view) or _last_pod(view)
            return _stopped(view, uid) if uid and uid in view.stopped else Verdict(Cause.JOB_SUCCEEDED, uid)
        if condition["type"] in FAILED:
            reason, message = condition.get("reason", ""), condition.get("message", "")
            cause = Cause.DEADLINE if reason == "DeadlineExceeded" else Cause.JOB_FAILED
            return Verdict(cause, _last_pod(view), reason, message)
    return None


def _succeeded(view: View, now: float) -> Verdict | None:
    """What a script that ended with 0 means, whatever the Job controller decides.

    Other containers get a moment to end. Whether and how they end does not matter.
    """
    for uid in (uid for uid in view.pods if uid in view.done):
        pod = view.pods[uid]
        others = pod_status.running_others(pod) and uid not in view.gone and now < view.ended_at[uid] + OTHERS_GRACE
        if others:
            continue
        if uid not in view.stopped:
            return Verdict(Cause.SCRIPT_SUCCEEDED, uid, delete_job=bool(pod_status.unfinished_others(pod)))
        if pod_status.phase(pod) == "Succeeded" or pod_status.running_others(pod):
            return _stopped(view, uid)
    return None


def _stopped(view: View, uid: str) -> Verdict:
    """The kubelet stopped the script, which then ended with 0: it may have done only a part."""
    reason, message = view.stopped[uid]
    return Verdict(Cause.STOPPED, uid, reason, message, delete_job=bool(pod_status.unfinished_others(view.pods[uid])))


def _failed_for_good(view: View, limits: Limits, now: float) -> Verdict | None:
    """Failure before the Job controller reports it.

    No attempt is left, or another attempt cannot help.
    """
    for uid, pod in view.pods.items():
        end = pod_status.failed_end(pod)
        if end is None or pod_status.disruption(pod) or view.job_deleted:
            continue
        if _is_not_executable(end):
            return Verdict(Cause.NOT_EXECUTABLE, uid, end.reason, end.message, delete_job=True)
        others = pod_status.running_others(pod) if pod_status.script_end(pod) else []
        if others and now >= view.ended_at[uid] + OTHERS_GRACE:
            return Verdict(Cause.SCRIPT_FAILED, uid, end.reason, delete_job=True)
        is_last = view.failures > limits.backoff_limit and uid == _last_pod(view)
        is_last = is_last or end.exit_code in limits.final_codes or pod_status.has_hopeless_installation(pod)
        if is_last and not others and not pod_status.is_being_deleted(pod):
            return Verdict(Cause.SCRIPT_FAILED, uid, end.reason)
    return None


def _is_not_executable(end: pod_status.ContainerEnd) -> bool:
    return end.reason in pod_status.START_ERRORS and cluster_messages.program_fault(end.message) is not None


def _after_deletion(view: View) -> Verdict:
    """The Job is gone without a condition: only a pod that ended by itself shows an outcome."""
    for uid, pod in reversed(list(view.pods.items())):
        end = pod_status.failed_end(pod)
        if end and not pod_status.is_being_deleted(pod) and not pod_status.disruption(pod):
            return Verdict(Cause.SCRIPT_FAILED, uid, end.reason)
    return Verdict(Cause.JOB_DELETED, _last_pod(view))


def _overdue(view: View, limits: Limits, now: float) -> Verdict | None:
    for uid, since in view.stuck_since.items():
        if now >= since + IMAGE_GRACE and uid not in view.gone:
            waiting = pod_state.waiting(view.pods[uid]) or pod_state.Waiting()
            message = view.pull_errors.get(uid) or waiting.message
            return Verdict(Cause.IMAGE, uid, waiting.reason, message, delete_job=True)
    if view.refused_since is not None and now >= view.refused_since + REFUSAL_GRACE:
        return Verdict(Cause.REFUSED, _last_pod(view), "FailedCreate", view.refusal, delete_job=True)
    if view.started_at is None:
        return None
    if view.pods_known and not view.has_begun and now >= view.started_at + limits.startup_timeout:
        last = _last_pod(view)
        why = view.pull_errors.get(last or "", "")
        return Verdict(Cause.STARTUP_TIMEOUT, last, message=why, delete_job=True)
    silence = _silence(view, limits)
    if silence is not None and now >= silence:
        return Verdict(Cause.SILENCE, _last_pod(view), delete_job=True)
    return None


def _next_look(view: View, limits: Limits, now: float) -> float | None:
    """When time alone can change the decision."""
    moments = [ended + OTHERS_GRACE for ended in view.ended_at.values()]
    moments += [since + IMAGE_GRACE for uid, since in view.stuck_since.items() if uid not in view.gone]
    if view.refused_since is not None:
        moments.append(view.refused_since + REFUSAL_GRACE)
    if view.started_at is not None:
        if not view.has_begun:
            moments.append(view.started_at + limits.startup_timeout)
        if (silence := _silence(view, limits)) is not None:
            moments.append(silence)
    return min((moment for moment in moments if moment > now), default=None)


def _silence(view: View, limits: Limits) -> float | None:
    if view.started_at is None or limits.deadline is None:
        return None
    return view.started_at + limits.deadline + limits.grace_period + SILENCE_GRACE


def _succeeded_pod(view: View) -> str | None:
    ends = {uid: pod_status.script_end(pod) for uid, pod in view.pods.items()}
    ended_with_0 = [uid for uid, end in ends.items() if end is not None and end.exit_code == 0]
    return next((uid for uid in ended_with_0 if uid not in view.stopped), next(iter(ended_with_0), None))


def _last_pod(view: View) -> str | None:
    return next(reversed(list(view.pods)), None)
