"""What was observed of a run: the newest state of its Job and of each of its pods.

``progress`` decides what it means. Times are seconds of one monotonic clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from airflow_script_provider.kube.causes import events
from airflow_script_provider.kube.job.observed.admission import Admission
from airflow_script_provider.kube.job.observed.job_status import FAILED, SUCCEEDED, is_suspended, manager_of
from airflow_script_provider.kube.job.observed.work import PodStart, Work
from airflow_script_provider.kube.labels import TIMEOUT_ANNOTATION
from airflow_script_provider.kube.pods import pod_stages, pod_state, pod_status
from airflow_script_provider.kube.pods.pod_status import Pod
from airflow_script_provider.kube.times import parse_optional_time
from airflow_script_provider.kube.wording import one_line

_OWN_REASONS = ("OOMKilled", *pod_status.START_ERRORS)
"""Reasons for which a container ends that the deletion of its pod does not cause."""


@dataclass(frozen=True, slots=True)
class View:
    """Everything observed of a run.

    ``pods`` are in the order of their creation, in which the last one is the last attempt: lists
    and watches bring them in the order of their names. ``pods_known`` is False while there may be
    pods of which nothing was seen yet. ``had_begun`` says whether this follower or an earlier one
    saw a script begin; None if no earlier follower has reported it, so that a pod which is gone
    may have run. ``ran_elsewhere`` says that the Job has had pods in another cluster.
    ``waits_since`` is when this follower first saw that the run waits for a node, None while it
    does not. ``waited`` are the seconds for which earlier followers saw the same wait. ``work`` is
    the time that the run has worked.
    ``own_ends`` are the pods whose script ended, or whose installation failed, before anything
    ended the pod: what happens to the pod afterwards does not matter. ``stopped`` says by
    uid why the kubelet stopped a script that seemed to end by itself. ``pull_errors`` are the last
    messages by uid that say why an image cannot be pulled; the one of a back-off need not.
    ``admission`` has the answers to the Job controller since the last pod was created.
    ``disruptions`` say by uid which pods the cluster ended and why, those of earlier followers
    too.

    By uid and since when: ``ended_at`` has the scripts that have ended or never begin,
    ``stuck_since`` the images that cannot be pulled for a permanent reason or lack the program,
    ``scheduled_at`` the pods that got their node while this follower watched,
    ``leaving_since`` the pods that are being deleted while the end of their script is unknown.
    """

    job: Mapping[str, Any] = field(default_factory=dict)
    job_deleted: bool = False
    pods: Mapping[str, Pod] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()
    started_at: float | None = None
    waits_since: float | None = None
    waited: float = 0.0
    work: Work = field(default_factory=Work)
    had_begun: bool | None = False
    ran_elsewhere: bool = False
    ended_at: Mapping[str, float] = field(default_factory=dict)
    stuck_since: Mapping[str, float] = field(default_factory=dict)
    scheduled_at: Mapping[str, float] = field(default_factory=dict)
    leaving_since: Mapping[str, float] = field(default_factory=dict)
    pods_known: bool = True
    own_ends: frozenset[str] = frozenset()
    stopped: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    pull_errors: Mapping[str, str] = field(default_factory=dict)
    admission: Admission = field(default_factory=Admission)
    disruptions: Mapping[str, str] = field(default_factory=dict)

    def with_job(self, job: Mapping[str, Any], now: float, *, deleted: bool = False) -> View:
        """The view after a change of the Job. While it is suspended its clock does not run.

        A Job that is being deleted gets no other pod and no condition. Another start time means
        that it was suspended and resumed unseen; the first one may come late.
        """
        known, new = (one.get("status", {}).get("startTime") for one in (self.job, job))
        is_new = self.started_at is None or (self.job and new and known != new)
        started_at = None if is_suspended(job) else now if is_new else self.started_at
        deleted = self.job_deleted or deleted or "deletionTimestamp" in job.get("metadata", {})
        seen = replace(self, job=job, job_deleted=deleted, started_at=started_at)
        return (replace(seen, ran_elsewhere=True) if seen.elsewhere else seen)._waiting_at(now)

    def with_pod(self, pod: Pod, now: float, *, deleted: bool = False) -> View:
        """The view after a change of a pod, or its disappearance.

        A script's end is final: a look may bring it before a watch brings an older state. A pod
        that is found again was not deleted: a watch by labels says so of what has lost its label.
        """
        uid = pod_status.uid(pod)
        known = self.pods.get(uid)
        is_older = known is not None and pod_status.script_end(known) and not pod_status.script_end(pod)
        if known is not None and is_older and not pod_status.is_terminal(pod):
            pod = known
        pod = pod_stages.with_reasons_of(known, pod) if known is not None else pod
        is_hopeless = pod_state.has_hopeless_image(pod) or pod_state.lacks_program(pod)
        is_stuck = is_hopeless or (uid in self.stuck_since and pod_state.has_image_trouble(pod))
        is_stuck = is_stuck and not pod_status.script_has_started(pod)
        has_got_a_node = uid in self.scheduled_at or (known is not None and pod_stages.gets_node(known, pod))
        changes: dict[str, Any] = {
            "pods": {**self.pods, uid: pod},
            "ended_at": _since(self.ended_at, uid, now, holds=pod_stages.has_ended(pod)),
            "stuck_since": _since(self.stuck_since, uid, now, holds=is_stuck),
            "scheduled_at": _since(self.scheduled_at, uid, now, holds=has_got_a_node),
            "leaving_since": _since(self.leaving_since, uid, now, holds=pod_stages.is_leaving(pod)),
        }
        if uid not in self.pods:
            in_order = sorted(changes["pods"].items(), key=lambda entry: pod_status.created_at(entry[1]))
            changes |= {"pods": dict(in_order), "admission": Admission()}
        changes["gone"] = self.gone | {uid} if deleted else self.gone - {uid}
        if pod_stages.has_run(pod) or (self._is_new_end(pod) and self.had_begun is None):
            changes["had_begun"] = True
        if pod_status.ends_by_itself(pod):
            changes["own_ends"] = self.own_ends | {uid}
        if error := pod_state.pull_error(pod):
            changes["pull_errors"] = {**self.pull_errors, uid: error}
        seen = replace(self, **changes)
        if (why := pod_status.disruption(pod)) and uid not in seen.done:
            text = f"{pod_status.name(pod)}{pod_status.where(pod)}: {one_line(str(why))}"
            seen = replace(seen, disruptions={**self.disruptions, uid: text})
        return seen._waiting_at(now, None if uid in self.pods else pod)

    def with_event(self, event: Mapping[str, Any], now: float) -> View:
        """The view after a Warning event: it may say why the Job's pods are not created.

        An event from before the last pod, or from before the Job was resumed, is settled.
        """
        if not self.is_without_a_pod or self._is_settled(event):
            return self
        return replace(self, admission=self.admission.after(event, now))

    def without_a_list(self) -> View:
        """The view after the pods could not be listed.

        There may be a newer one, unless the last one is not known to have ended.
        """
        return replace(self, pods_known=bool(self.unended_pods))

    def with_all_pods(self, now: float) -> View:
        """The view after all pods that there are have been seen."""
        return replace(self, pods_known=True)._waiting_at(now)

    def with_stopped(self, uid: str, reason: str, message: str) -> View:
        """The view after a message of the kubelet that it stopped the pod's script."""
        return replace(self, stopped={**self.stopped, uid: (reason, message)})

    @property
    def done(self) -> Set[str]:
        """The pods whose script ended by itself with 0, unless the kubelet says otherwise."""
        return {uid for uid in self.own_ends if pod_status.failed_end(self.pods[uid]) is None}

    def ended_by_itself(self, uid: str | None) -> bool:
        """Whether nothing ended the pod's script or installation, as far as the cluster says."""
        if uid not in self.own_ends or uid in self.stopped:
            return False
        return pod_status.failure(self.pods[uid]) is None

    def suspected_stop(self, uid: str) -> tuple[str, str] | None:
        """Reason and message of what may have stopped the pod's script, by the pod's status.

        None if its status says that the script ended before anything ended the pod, or nothing.
        Kubernetes has no word for the deletion of a pod.
        """
        pod = self.pods[uid]
        if uid in self.own_ends:
            return None
        if why := pod_status.disruption(pod):
            return why.reason, why.message
        is_deleted = pod_status.is_being_deleted(pod) or (uid in self.gone and pod_status.script_end(pod) is None)
        return ("", f"pod {pod_status.name(pod)} was deleted") if is_deleted else None

    def ended_by_deletion(self, uid: str) -> bool:
        """Whether the pod's deletion ended its script or installation.

        An end before the deletion has its own cause, and so has one that a deletion cannot cause.
        """
        pod = self.pods[uid]
        end = pod_status.failed_end(pod)
        is_telling = pod_status.has_hopeless_installation(pod) or (end is not None and end.reason in _OWN_REASONS)
        return pod_status.is_being_deleted(pod) and not is_telling and uid not in self.own_ends

    @property
    def elsewhere(self) -> str | None:
        """The controller that runs the Job's pods where they are not seen.

        None if Kubernetes itself runs them, if there are pods here, or if none was ever reported.
        Between two pods, the Job's status counts none.
        """
        return manager_of(self.job) if self.has_unseen_pods or (self.ran_elsewhere and not self.pods) else None

    @property
    def is_suspended(self) -> bool:
        """Whether the Job is suspended, until the Job controller reports its resumption."""
        return any(one["type"] == "Suspended" for one in self.true_conditions)

    @property
    def is_decided(self) -> bool:
        """Whether the Job controller has decided how the run ends: no pod starts after that."""
        return any(one["type"] in (*SUCCEEDED, *FAILED) for one in self.true_conditions)

    @property
    def true_conditions(self) -> list[Mapping[str, Any]]:
        """The conditions of the Job that hold."""
        return [one for one in self.job.get("status", {}).get("conditions") or [] if one["status"] == "True"]

    @property
    def last_pod(self) -> str | None:
        """The uid of the last attempt."""
        return next(reversed(list(self.pods)), None)

    @property
    def unended_pods(self) -> list[str]:
        """The uids of the pods in which the script runs, or may begin, the newest first."""
        if any(one["type"] in SUCCEEDED for one in self.true_conditions):
            return []  # a pod starts after the one before has ended
        return [uid for uid, pod in reversed([*self.pods.items()]) if uid not in self.gone and pod_stages.may_run(pod)]

    @property
    def running_pod(self) -> str | None:
        """The uid of the pod in which the script may still run, None if there is none.

        This holds once the ends of the pods were waited for. Without a report, a pod may also have
        begun its script since, or may still begin it.
        """
        return next(iter(self.unended_pods), None)

    @property
    def has_run(self) -> bool:
        """Whether an attempt has ever come as far as its script, or failed before it.

        A pod that ended before this follower could see it counts as one that has run.
        """
        has_run = self.had_begun or any(pod_stages.has_run(pod) for pod in self.pods.values())
        return has_run or self._had_other_pods

    @property
    def has_begun(self) -> bool:
        """Whether an attempt has run, or is at work in an init container."""
        pods = (pod for uid, pod in self.pods.items() if uid not in self.gone)
        return bool(self.has_run or self.elsewhere) or any(pod_stages.is_initializing(pod) for pod in pods)

    @property
    def waits_for_a_node(self) -> bool:
        """Whether nothing of the run is on a node, and nothing has ended it.

        Its Job is suspended, a pod has no node yet, or no pod that has run was ever created, for
        example because of a quota. The time between two attempts is the Job controller's.
        """
        if not self.job or self.job_deleted or self.is_decided:
            return False
        if self.elsewhere:
            return is_suspended(self.job)
        pods = [self.pods[uid] for uid in self.unended_pods]
        is_on_a_node = any(pod_status.node(pod) for pod in pods)
        return not is_on_a_node and (bool(pods) or is_suspended(self.job) or not self.has_run)

    def _waiting_at(self, now: float, new: Pod | None = None) -> View:
        """The view with the moment since which the run waits for a node, and with its work."""
        seen = replace(self, work=self._work_at(now, new)) if self.pods_known else self
        if not self.waits_for_a_node:
            return replace(seen, waits_since=None, waited=0.0 if self.pods_known else self.waited)
        return seen if self.waits_since is not None else replace(seen, waits_since=now)

    def _work_at(self, now: float, new: Pod | None) -> Work:
        """The work as it is now. A wait without a pod is a suspension, maybe an older one."""
        starts = [self._start_of(pod, now) for pod in self.pods.values() if pod is new or self.work.is_first_look]
        if self.has_run and not self.elsewhere and all(start.began is None for start in starts):
            starts.append(PodStart(None, None, now))
        work = self.work.looked_at(starts, self.started_at)
        if not self.waits_for_a_node:
            pod: Pod = next((self.pods[uid] for uid in self.unended_pods), {"metadata": {}})
            return work.going_on(self._passed(now, pod_status.scheduled_at(pod)))
        created = [self._passed(now, pod_status.created_at(self.pods[uid])) for uid in self.unended_pods]
        return work.paused(next(iter(created), now if work.seen_until is None else work.seen_until))

    def _start_of(self, pod: Pod, now: float) -> PodStart:
        """The start of a pod. No script begins before its pod has a node, by whatever clock."""
        node, began = pod_status.scheduled_at(pod), None
        created, scheduled = (self.moment_of(time) for time in (pod_status.created_at(pod), node))
        if pod_stages.has_run(pod):
            end = pod_status.failed_end(pod)
            failed = "" if end is None or pod_stages.script_has_begun(pod) else end.finished_at or ""
            began = self._passed(now, pod_status.script_started_at(pod), node, failed)
        return PodStart(created, None if scheduled is None else min(now, scheduled), began)

    def _passed(self, now: float, *times: str) -> float:
        """The last of these times, of the past; now if the cluster says nothing else."""
        moments = [moment for time in times if (moment := self.moment_of(time)) is not None]
        return min(now, max(moments, default=now))

    @property
    def failures(self) -> int:
        """The number of failed attempts.

        It is the larger of two counts: the Job's own, and the observed failures that the Job will
        count. The Job counts a deleted pod, but not a pod that ended because the Job was
        suspended.
        """
        own = [uid for uid, pod in self.pods.items() if uid not in self.gone and _failed_by_itself(pod)]
        return max(len(own), int(self.job.get("status", {}).get("failed") or 0))

    def backoff_limit(self, asked: int) -> int:
        """The Job's own back-off limit: a policy or a user may have changed the one asked for."""
        return int(self.job.get("spec", {}).get("backoffLimit", asked))

    def deadline(self, asked: float | None) -> float | None:
        """The seconds on the Job's clock by which the Job must be reported to end, None for never.

        A policy or a user may have given the Job more time than was asked for. With less, the
        report comes earlier.
        """
        own = self.own_deadline(asked)
        if own is None or asked is None:
            return None
        return own if self.timed_out_after is not None else max(own, asked)

    def own_deadline(self, asked: float | None) -> float | None:
        """The Job's own deadline, None if it has none; the one asked for if no Job was seen."""
        own: float | None = self.job["spec"].get("activeDeadlineSeconds") if "spec" in self.job else asked
        return own

    @property
    def timed_out_after(self) -> str | None:
        """The seconds of work after which a follower has ended the Job, None if none has."""
        return (self.job.get("metadata", {}).get("annotations") or {}).get(TIMEOUT_ANNOTATION)

    @property
    def has_unseen_pods(self) -> bool:
        """Whether the Job had pods that were never observed, because they were gone before."""
        status = self.job.get("status", {})
        counts = ("failed", "succeeded", "active", "terminating", "uncountedTerminatedPods")
        return not self.pods and any(status.get(count) for count in counts)

    @property
    def is_without_a_pod(self) -> bool:
        """Whether the run has no pod that waits or runs."""
        return not self.pods.keys() - self._ended_pods

    @property
    def _had_other_pods(self) -> bool:
        """Whether pods of the Job ended that this follower has never seen."""
        if self.had_begun is not None:
            return False
        status = self.job.get("status", {})
        uncounted = status.get("uncountedTerminatedPods") or {}
        ended = {uid for uids in uncounted.values() for uid in uids or ()} | self.disruptions.keys()
        counted = (status.get("failed") or 0) + (status.get("succeeded") or 0)
        return bool(ended - self.pods.keys()) or counted > len(self._ended_pods)

    @property
    def _ended_pods(self) -> Set[str]:
        """The uids of the pods that have failed, ended or gone."""
        ended = {uid for uid, pod in self.pods.items() if pod_status.script_end(pod) or pod_status.has_failed(pod)}
        return ended | self.gone

    @property
    def start_time(self) -> datetime | None:
        """When the Job's clock started, by the cluster's clock."""
        return parse_optional_time(self.job.get("status", {}).get("startTime"))

    def moment_of(self, time: str) -> float | None:
        """The moment of a time by the cluster's clock, None if that is unknown.

        It is never before the start of the Job's clock.
        """
        began = self.start_time or parse_optional_time(self.job.get("metadata", {}).get("creationTimestamp"))
        happened = parse_optional_time(time)
        if self.started_at is None or began is None or happened is None:
            return None
        return self.started_at + max(0.0, (happened - began).total_seconds())

    def _is_new_end(self, pod: Pod) -> bool:
        """Whether the script of a pod that was not seen before has ended."""
        return pod_status.uid(pod) not in self.pods and pod_status.script_end(pod) is not None

    def _is_settled(self, event: Mapping[str, Any]) -> bool:
        """Whether the Job has got a pod, or was resumed, after the event was last repeated.

        All these times are the cluster's.
        """
        happened, began = events.last_time(event), self.start_time
        created = [parse_optional_time(pod_status.created_at(pod)) for pod in self.pods.values()]
        if happened is None:
            return False
        is_before_the_start = began is not None and happened < began
        return is_before_the_start or any(moment is not None and happened <= moment for moment in created)


def _since(times: Mapping[str, float], uid: str, now: float, *, holds: bool) -> Mapping[str, float]:
    """The times, with a pod's first moment for as long as something holds for the pod."""
    if holds:
        return {**times, uid: times.get(uid, now)}
    return {other: moment for other, moment in times.items() if other != uid}


def _failed_by_itself(pod: Pod) -> bool:
    return pod_status.has_failed(pod) and not pod_status.is_being_deleted(pod) and not pod_status.disruption(pod)
