"""How far a run is, and whether it is over: decisions from the observed Job and pods.

``decide`` says what a view means. Times are seconds of one monotonic clock.
"""

from __future__ import annotations

import math

from airflow_script_provider.kube.causes import cluster_messages
from airflow_script_provider.kube.job.observed import clocks, unseen
from airflow_script_provider.kube.job.observed.job_status import FAILED, SUCCEEDED
from airflow_script_provider.kube.job.observed.view import View
from airflow_script_provider.kube.job.verdict import Cause, Limits, Verdict, Wait
from airflow_script_provider.kube.pods import pod_stages, pod_state, pod_status
from airflow_script_provider.kube.pods.pod_status import Pod
from airflow_script_provider.kube.wording import signal_name

OTHERS_GRACE = 2.0
"""Seconds that other containers may run on after the script's container has ended."""
IMAGE_GRACE = 20.0
"""Seconds that an image may be missing for a permanent reason, or lack the program, before the
run fails."""
REFUSAL_GRACE = 10.0
"""Seconds for which admission may refuse the Job's pods for good before the run fails."""
MAX_DISRUPTIONS = 10
"""Pods of a run that the cluster may end. Each begins the script again, and is no attempt."""
CONFIRMATION = 10.0
"""Seconds beyond the grace period: by then a live kubelet has reported a deleted pod's end."""
NODE_PATIENCE = 300.0
"""Seconds beyond the grace period in which a node may come back and report the end of its pod."""
SILENCE_GRACE = 120.0
"""Seconds after deadline and grace period in which the API server may still report the end."""


def other_failures(view: View, uid: str | None) -> int:
    """How many pods of a Job have failed besides this one, as its back-off limit counts them.

    The Job counts a pod only when nothing of it runs any more, or when it is gone.
    """
    failed = [one for one, pod in view.pods.items() if pod_status.has_failed(pod) and not pod_status.disruption(pod)]
    counted = int(view.job.get("status", {}).get("failed") or 0)
    is_counted = uid in failed and (uid in view.gone or pod_status.is_terminal(view.pods[uid]))
    return max(len({*failed} - {uid}), counted - is_counted)


def may_be_stopped(view: View, verdict: Verdict, limits: Limits) -> bool:
    """Whether the kubelet may have stopped the script without a trace in the pod's status.

    Only an event then says so. It matters for a success, also if the script's end was not seen,
    for an exit code that would be final, and for a signal, which needs a cause.
    """
    end = pod_status.script_end(view.pods.get(verdict.pod_uid or "", {}))
    if end is None or verdict.is_success:
        return verdict.is_success and verdict.pod_uid in view.pods
    is_failure = verdict.cause in (Cause.SCRIPT_FAILED, Cause.JOB_FAILED) and end.reason != "OOMKilled"
    is_doubtful = end.exit_code in limits.final_codes or signal_name(end.exit_code) is not None
    return is_failure and is_doubtful and view.ended_by_itself(verdict.pod_uid)


def is_unseen_success(view: View, verdict: Verdict) -> bool:
    """Whether a Job has succeeded here by a script whose end was not seen."""
    return verdict.cause is Cause.JOB_SUCCEEDED and _has_unseen_end(view, verdict)


def pod_of_unseen_code(view: View, verdict: Verdict) -> str | None:
    """The name of the pod whose exit code only the Job's condition tells, None without one."""
    has_code = verdict.cause is Cause.JOB_FAILED and cluster_messages.final_code(verdict.message) is not None
    return cluster_messages.failed_pod(verdict.message) if has_code and _has_unseen_end(view, verdict) else None


def _has_unseen_end(view: View, verdict: Verdict) -> bool:
    """Whether the deciding script ran here and was not seen to end."""
    return view.elsewhere is None and pod_status.script_end(view.pods.get(verdict.pod_uid or "", {})) is None


def decide(view: View, limits: Limits, now: float) -> Wait | Verdict:
    """Decide what the view means now: the run is over, or how long to wait."""
    if verdict := succeeded(view, now) or _job_condition(view, limits, now) or _failed_for_good(view, limits, now):
        return verdict
    if view.job_deleted:
        return _after_deletion(view)
    if len(view.disruptions) > MAX_DISRUPTIONS:
        uid, message = list(view.disruptions.items())[-1]
        return Verdict(Cause.DISRUPTED, uid, message=message, delete_job=True)
    return _overdue(view, limits, now) or Wait(_next_look(view, limits, now))


def is_work_over(view: View, limits: Limits, now: float) -> bool:
    """Whether the work has taken its time, so that its follower is to end the Job.

    What is decided by then counts.
    """
    over_at = clocks.work_over_at(view, limits)
    return over_at is not None and now >= over_at and isinstance(decide(view, limits, now), Wait)


def _job_condition(view: View, limits: Limits, now: float) -> Verdict | None:
    """The Job controller's decision. It says nothing about a script whose node does not answer."""
    for condition in view.true_conditions:
        if condition["type"] in SUCCEEDED:
            uid = unseen.pod_of_success(view)
            return _stopped(view, uid) if uid and uid in view.stopped else Verdict(Cause.JOB_SUCCEEDED, uid)
        # Only the last condition says that no script runs any more where its pod is not seen.
        if condition["type"] in FAILED and not (view.elsewhere and condition["type"] != "Failed"):
            reason, message = condition.get("reason", ""), condition.get("message", "")
            cause = Cause.DEADLINE if reason == "DeadlineExceeded" else Cause.JOB_FAILED
            # A drain may give the script more time, but the follower does not wait for longer now.
            within = limits.grace_period + CONFIRMATION
            uid = unseen.pod_of_failure(view, message)
            return unreachable(view, now, within) or Verdict(cause, uid, reason, message)
    return None


def _is_over(view: View) -> bool:
    """Whether Kubernetes has ended the Job, or is about to."""
    return view.job_deleted or view.is_decided


def succeeded(view: View, now: float) -> Verdict | None:
    """What a script that ended with 0 means, whatever the Job controller decides.

    While the Job goes on, other containers get a moment to end. Whether and how they end does not
    matter.
    """
    for uid in (uid for uid in view.pods if uid in view.done):
        pod = view.pods[uid]
        others = pod_status.running_others(pod) and uid not in view.gone and now < view.ended_at[uid] + OTHERS_GRACE
        if others and not _is_over(view):
            continue
        if uid not in view.stopped:
            return Verdict(Cause.SCRIPT_SUCCEEDED, uid, delete_job=pod_status.lacks_success(pod))
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
        if others and now >= (_end_of_others(view, uid, limits) or math.inf):
            return Verdict(Cause.SCRIPT_FAILED, uid, end.reason, delete_job=True, by_silence=True)
        is_last = view.failures > view.backoff_limit(limits.backoff_limit) and uid == view.last_pod
        is_last = is_last or is_final(view, uid, limits) or pod_status.has_hopeless_installation(pod)
        if is_last and not others and not pod_status.is_being_deleted(pod):
            until = _end_of_pod(view, uid, limits, CONFIRMATION)
            if until is None or now >= until:
                is_silent = until is not None
                return Verdict(Cause.SCRIPT_FAILED, uid, end.reason, delete_job=is_silent, by_silence=is_silent)
    return None


def _end_of_others(view: View, uid: str, limits: Limits) -> float | None:
    """The moment at which other containers that still run no longer matter, None without one.

    If the pod's deletion ended its script, they get the pod's grace period, and the Job controller
    decides whether another attempt follows.
    """
    pod, ended_at = view.pods[uid], view.ended_at[uid]
    if uid in view.own_ends or not pod_status.is_being_deleted(pod):
        return ended_at + OTHERS_GRACE
    return None if uid in view.gone else ended_at + grace_period_of(pod, limits) + CONFIRMATION


def is_final(view: View, uid: str, limits: Limits) -> bool:
    """Whether the exit code of a script that ended by itself ends the Job."""
    return pod_status.own_exit_code(view.pods[uid]) in limits.final_codes and view.ended_by_itself(uid)


def _is_not_executable(end: pod_status.ContainerEnd) -> bool:
    return end.reason in pod_status.START_ERRORS and cluster_messages.program_fault(end.message) is not None


def _after_deletion(view: View) -> Verdict:
    """The Job is gone without a condition: only the end of the last attempt shows an outcome.

    An end that another caused does not.
    """
    uid = view.last_pod
    pod = view.pods.get(uid or "")
    end = pod_status.failed_end(pod) if pod else None
    if end is None or not view.ended_by_itself(uid):
        return Verdict(Cause.JOB_DELETED, uid)
    return Verdict(Cause.SCRIPT_FAILED, uid, end.reason)


def _overdue(view: View, limits: Limits, now: float) -> Verdict | None:
    for uid, since in view.stuck_since.items():
        if now >= since + IMAGE_GRACE and uid not in view.gone:
            return _stuck(view, uid)
    refused = view.admission
    if refused.refused_since is not None and now >= refused.refused_since + REFUSAL_GRACE:
        return Verdict(Cause.REFUSED, view.last_pod, "FailedCreate", refused.refusal, delete_job=True)
    last_pod = view.pods.get(view.last_pod or "", {})
    within = grace_period_of(last_pod, limits) + NODE_PATIENCE
    if verdict := unreachable(view, now, within) or _unfinished(view, limits, now):
        return verdict
    if view.pods_known and (late := _late_to_begin(view, limits, now)):
        return late
    silence = _silence(view, limits)
    if silence is not None and now >= silence:
        return Verdict(Cause.SILENCE, view.last_pod, delete_job=True)
    return None


def _stuck(view: View, uid: str) -> Verdict:
    """The pod does not start because of an image: it is missing, or lacks the program."""
    pod = view.pods[uid]
    waiting = pod_state.waiting(pod) or pod_state.Waiting()
    if pod_state.lacks_program(pod):
        return Verdict(Cause.NOT_CREATED, uid, waiting.reason, waiting.message, delete_job=True)
    message = view.pull_errors.get(uid) or waiting.message
    return Verdict(Cause.IMAGE, uid, waiting.reason, message, delete_job=True)


def _late_to_begin(view: View, limits: Limits, now: float) -> Verdict | None:
    """No node, or no start on the node, within the time for it."""
    last, (node_by, start_by) = view.last_pod, _latest_begin(view, limits)
    if node_by is not None and now >= node_by:
        return Verdict(Cause.SCHEDULE_TIMEOUT, last, delete_job=True)
    if start_by is not None and now >= start_by:
        why = view.pull_errors.get(last or "", "")
        return Verdict(Cause.STARTUP_TIMEOUT, last, message=why, delete_job=True)
    return None


def _latest_begin(view: View, limits: Limits) -> tuple[float | None, float | None]:
    """By when the run must have a node, and by when its script must begin there."""
    node, start = clocks.node_awaited_since(view), clocks.start_awaited_since(view)
    node_by = None if node is None else node + limits.schedule_timeout
    has_begun = view.had_begun or any(map(pod_stages.has_run, view.pods.values())) or view.elsewhere
    return node_by, None if start is None or has_begun else start + limits.startup_timeout


def unreachable(view: View, now: float, within: float) -> Verdict | None:
    """The kubelet does not report the end of a pod: Kubernetes starts no other one until it does.

    ``within`` are the seconds in which the report must come.
    """
    uid = view.last_pod
    if uid is None or uid in view.gone or uid not in view.leaving_since:
        return None
    pod = view.pods[uid]
    if now < view.leaving_since[uid] + within:
        return None
    why = pod_status.disruption(pod)
    return Verdict(Cause.UNREACHABLE, uid, why.reason if why else None, str(why or ""), delete_job=True)


def _unfinished(view: View, limits: Limits, now: float) -> Verdict | None:
    """The kubelet does not report the end of a pod whose script has ended, or never begins.

    Kubernetes starts no other one until it does, for example because a sidecar may still stop.
    """
    uid = view.last_pod
    if uid is None or now < (_end_of_pod(view, uid, limits, NODE_PATIENCE) or math.inf):
        return None
    end = pod_status.script_end(view.pods[uid])
    if end is None or end.exit_code != 0:
        reason = None if end is None else end.reason
        return Verdict(Cause.SCRIPT_FAILED, uid, reason, delete_job=True, by_silence=True)
    reason, message = view.stopped.get(uid) or view.suspected_stop(uid) or ("", "")
    return Verdict(Cause.STOPPED, uid, reason, message, delete_job=True, by_silence=True)


def _end_of_pod(view: View, uid: str, limits: Limits, patience: float) -> float | None:
    """The moment by which the kubelet has reported the end of a pod whose script has ended.

    None if the script has not, or the pod has. Until then, for example while a sidecar is stopped,
    the cluster may still end the pod: for the Job it is then no failure, and another pod begins.
    """
    pod = view.pods[uid]
    if uid not in view.ended_at or uid in view.gone or pod_status.phase(pod) not in ("Pending", "Running"):
        return None
    return view.ended_at[uid] + grace_period_of(pod, limits) + patience


def grace_period_of(pod: Pod, limits: Limits) -> float:
    """The seconds that a script has for its end: ``kubectl drain`` may give it more than the run.

    A delete with less does not prove that the kubelet ends the script earlier.
    """
    return max(limits.grace_period, pod_status.deletion_grace_period(pod))


def _next_look(view: View, limits: Limits, now: float) -> float | None:
    """When time alone can change the decision."""
    ends = [_end_of_others(view, uid, limits) for uid in view.ended_at]
    ends += [_end_of_pod(view, uid, limits, after) for uid in view.ended_at for after in (CONFIRMATION, NODE_PATIENCE)]
    moments = [moment for moment in ends if moment is not None]
    moments += [since + IMAGE_GRACE for uid, since in view.stuck_since.items() if uid not in view.gone]
    if view.admission.refused_since is not None:
        moments.append(view.admission.refused_since + REFUSAL_GRACE)
    for uid, since in view.leaving_since.items():
        moments.append(since + grace_period_of(view.pods[uid], limits) + NODE_PATIENCE)
    limited = (*_latest_begin(view, limits), clocks.work_over_at(view, limits))
    moments += [moment for moment in limited if moment is not None]
    if (silence := _silence(view, limits)) is not None:
        moments.append(silence)
    return min((moment for moment in moments if moment > now), default=None)


def _silence(view: View, limits: Limits) -> float | None:
    deadline = view.deadline(limits.deadline)
    if view.started_at is None or deadline is None:
        return None
    return view.started_at + deadline + limits.grace_period + SILENCE_GRACE
