"""The end of a run's pods after the verdict: how long it is waited for, and what if it stays away.

No other try may begin beside a script that still runs. Times are seconds of one monotonic clock.
"""

from __future__ import annotations

import math
from dataclasses import replace

from airflow_script_provider.kube.job import progress
from airflow_script_provider.kube.job.diagnosis import Case, Diagnosis
from airflow_script_provider.kube.job.observed import unseen
from airflow_script_provider.kube.job.observed.view import View
from airflow_script_provider.kube.job.verdict import Cause, Limits, Verdict
from airflow_script_provider.kube.pods import pod_stages, pod_status
from airflow_script_provider.kube.pods.pod_status import Pod
from airflow_script_provider.kube.wording import headline_of

MARGIN = progress.CONFIRMATION + 2.0
"""Seconds beyond the grace period in which the pods of a run that is over may run and print.
After them it is known whether the kubelet reports the pods' end."""
_OF_AN_END = (Cause.SCRIPT_FAILED, Cause.NOT_EXECUTABLE, Cause.STOPPED)
"""Causes that an end of the script already decided."""
_BEFORE_AN_END = (Cause.SCHEDULE_TIMEOUT, Cause.STARTUP_TIMEOUT, Cause.IMAGE, Cause.NOT_CREATED, Cause.SILENCE)
"""Causes that rest on a report that did not come, and that an end of the script refutes."""
_OF_NO_END = frozenset(_BEFORE_AN_END) - {Cause.SCHEDULE_TIMEOUT}
"""Causes by which the script has not ended; an attempt may have, before another got no node."""
_BEFORE_THE_START = (Cause.SCHEDULE_TIMEOUT, Cause.STARTUP_TIMEOUT, Cause.IMAGE, Cause.NOT_CREATED, Cause.REFUSED)
"""Causes that say why the script has not begun. A node that does not answer is not why."""


def wait_until(view: View, verdict: Verdict, limits: Limits, since: float) -> float | None:
    """Until when the ends of the run's pods are waited for, None if all of them are known.

    ``since`` is the moment of the verdict. A pod that is asked to end later has its grace period
    from then on. After ``UNREACHABLE``, the wait for the end is over.
    """
    if verdict.is_success or verdict.cause is Cause.UNREACHABLE:
        return None
    if unseen.may_run(view):
        return since + limits.grace_period + MARGIN
    if not view.unended_pods:
        return None
    return max(_last_moment(view, verdict, limits, uid, since) for uid in view.unended_pods)


def may_be_refuted(view: View, verdict: Verdict) -> bool:
    """Whether the script may yet begin or end against a verdict: its Job is still there."""
    is_by_silence = verdict.cause in (*_BEFORE_AN_END, *_BEFORE_THE_START)
    return is_by_silence and verdict.delete_job and not view.job_deleted


def settled(view: View, verdict: Verdict, limits: Limits, now: float) -> Verdict:
    """What a verdict becomes by the ends that were reported since, or were not.

    The script may have ended by itself before anything ended its pod.
    """
    uid = view.running_pod
    if uid is not None and not verdict.is_success:
        if verdict.cause in _BEFORE_THE_START and not pod_status.script_has_started(view.pods[uid]):
            return verdict
        within = _grace_period(view, verdict, limits, uid) + progress.CONFIRMATION
        return progress.unreachable(view, now, within) or verdict
    if own := _own_end(view, verdict, limits):
        return own
    if verdict.cause not in (Cause.JOB_DELETED, Cause.UNREACHABLE):
        return verdict
    again = progress.decide(view, limits, now)
    # After UNREACHABLE, the follower itself has deleted the Job.
    return again if isinstance(again, Verdict) and again.cause is not Cause.JOB_DELETED else verdict


def _own_end(view: View, verdict: Verdict, limits: Limits) -> Verdict | None:
    """What an end means that only the script caused, None if it does not change the verdict.

    Other containers of the pod no longer matter. A failure counts if its code is final, if no
    attempt was left after it, or if the verdict says that the script has not ended.
    """
    if verdict.is_success or verdict.cause in _OF_AN_END:
        return None
    if found := progress.succeeded(view, math.inf):
        return found
    uid = view.last_pod
    if uid is None or verdict.cause is Cause.JOB_FAILED or not view.ended_by_itself(uid):
        return None
    is_last = progress.other_failures(view, uid) >= view.backoff_limit(limits.backoff_limit)
    counts = is_last or verdict.cause in _OF_NO_END or progress.is_final(view, uid, limits)
    end = pod_status.failed_end(view.pods[uid])
    if end is None or not counts:
        return None
    return Verdict(Cause.SCRIPT_FAILED, uid, end.reason, delete_job=verdict.delete_job)


def running_pod(view: View, verdict: Verdict) -> Pod | None:
    """The pod in which the script may still run after the verdict, None if there is none."""
    return None if verdict.is_success else view.pods.get(view.running_pod or "")


def not_beside(job: str, pod: Pod) -> str:
    """Why a Job was not created: a script of an earlier try may still run in this pod."""
    does, (namespace, _, _) = "begin" if _is_waiting(pod) else "run", job.partition("/")
    why = f"the script of an earlier try may still {does} in {pod_status.name(pod)}"
    return "\n".join(filter(None, headline_of(f"Job {job} was not created: {why}.", _how_to_end(pod, namespace))))


def may_run_on(view: View, verdict: Verdict) -> bool:
    """Whether the script may still run after the verdict, so that another try must not begin."""
    if verdict.is_success:
        return False
    return view.running_pod is not None or unseen.may_run(view) or verdict.cause is Cause.UNREACHABLE


def may_be_repeated(view: View, verdict: Verdict) -> bool:
    """Whether Kubernetes may run the deciding script again while the Job exists.

    A pod that the cluster disrupts counts neither as a success nor as a failure. As long as other
    containers of the pod run, this may still happen.
    """
    pod = view.pods.get(verdict.pod_uid or "")
    if pod is None or pod_status.script_end(pod) is None or not verdict.delete_job:
        return False
    return bool(pod_status.running_others(pod)) or pod_status.disruption(pod) is not None


def takes_log(view: View, verdict: Verdict) -> bool:
    """Whether the log of the deciding pod goes with it, before another process can read it."""
    pod = view.pods.get(verdict.pod_uid or "")
    is_deleted = pod is not None and (view.job_deleted or pod_status.is_being_deleted(pod))
    return verdict.ends_pods or is_deleted or may_be_repeated(view, verdict)


def ended_pod(view: View, verdict: Verdict) -> Pod | None:
    """The deciding pod whose script has ended, None if there is none any more."""
    pod = view.pods.get(verdict.pod_uid or "")
    if pod is None or verdict.pod_uid in view.gone or pod_status.script_end(pod) is None:
        return None
    return pod


def may_be_left(view: View, verdict: Verdict) -> bool:
    """Whether the Job may stay as it is until another process has read the deciding pod's log.

    Only other containers of the pod run, and nothing has asked the pod to end.
    """
    pod = view.pods.get(verdict.pod_uid or "", {"metadata": {}})
    is_ending = pod_status.is_being_deleted(pod) or pod_status.disruption(pod) is not None
    is_of_the_script = verdict.cause in (Cause.SCRIPT_SUCCEEDED, Cause.SCRIPT_FAILED)
    return is_of_the_script and bool(pod_status.running_others(pod)) and not is_ending


def moment_of_end(view: View, now: float) -> float | None:
    """When a script's end becomes a verdict, whatever runs beside it; None if that is not soon."""
    moments = [
        view.ended_at[uid] + progress.OTHERS_GRACE
        for uid in view.own_ends - view.gone
        if pod_status.script_end(view.pods[uid]) and pod_status.running_others(view.pods[uid])
    ]
    return min((moment for moment in moments if moment > now), default=None)


def ends_the_tries(view: View, verdict: Verdict, limits: Limits) -> bool:
    """Whether no other try is to run the script again: it has succeeded, or its code is final."""
    is_of_the_script = verdict.cause is Cause.SCRIPT_FAILED and verdict.pod_uid in view.pods
    return verdict.is_success or (is_of_the_script and progress.is_final(view, verdict.pod_uid or "", limits))


def has_running_sidecar(view: View, verdict: Verdict) -> bool:
    """Whether a native sidecar of a success is still being stopped.

    If the node dies meanwhile, this counts as a disruption, and Kubernetes runs the script again.
    """
    pod = view.pods.get(verdict.pod_uid or "", {})
    return verdict.is_success and not pod_status.is_terminal(pod) and bool(pod_stages.running_sidecars(pod))


def diagnosed(case: Case, found: Diagnosis, *, hence: str = "so it is not retried") -> Diagnosis:
    """The cause of a run that failed; its outcome is unknown while its script may still run.

    ``hence`` is what follows from that.
    """
    if case.verdict.cause is Cause.UNREACHABLE or not may_run_on(case.view, case.verdict):
        return found
    where, hint = _where(case)
    does = "begin" if _is_waiting(running_pod(case.view, case.verdict)) else "run"
    why = found.cause.removeprefix("outcome unknown: ").rstrip(".").removesuffix(f"; {unseen.in_words(case.view)}")
    cause = f"outcome unknown: {why}; the script may still {does} in {where}, {hence}"
    headline, advice = headline_of(f"Job {case.job}: {cause}.", hint)
    return replace(found, cause=cause, headline=headline, advice=advice, hint=hint)


def _is_waiting(pod: Pod | None) -> bool:
    """Whether the script of a pod has not begun, and nothing has told the pod to end."""
    return pod is not None and not (pod_status.script_has_started(pod) or pod_status.is_being_deleted(pod))


def _where(case: Case) -> tuple[str, str]:
    """Where the script may still run, and what to do about it."""
    namespace, _, name = case.job.partition("/")
    pod = running_pod(case.view, case.verdict)
    if pod is None and case.view.elsewhere:
        return f"the cluster that {case.view.elsewhere} chose", f"Look there for pods of Job {name}."
    if pod is None:
        return "a pod that could not be listed", f"Run kubectl -n {namespace} get pods -l job-name={name}."
    return pod_status.name(pod), _how_to_end(pod, namespace)


def _how_to_end(pod: Pod, namespace: str) -> str:
    if pod_status.is_being_deleted(pod) and pod_status.node(pod):
        return f"Run kubectl describe node {pod_status.node(pod)}."
    return f"Run kubectl -n {namespace} delete pod {pod_status.name(pod)}."


def _last_moment(view: View, verdict: Verdict, limits: Limits, uid: str, since: float) -> float:
    return view.leaving_since.get(uid, since) + _grace_period(view, verdict, limits, uid) + MARGIN


def _grace_period(view: View, verdict: Verdict, limits: Limits, uid: str) -> float:
    """The seconds that a script has for its end; no drain gives more than the run's own time."""
    return limits.grace_period if verdict.is_of_the_job else progress.grace_period_of(view.pods[uid], limits)
