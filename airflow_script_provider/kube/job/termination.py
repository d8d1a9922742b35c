"""The end of a run's pods after the verdict: how long it is waited for, and what if it stays away.

No other try may begin beside a script that still runs. Times are seconds of one monotonic clock.
"""

from __future__ import annotations

from dataclasses import replace

from airflow_script_provider.kube.job import progress
from airflow_script_provider.kube.job.diagnosis import Case, Diagnosis
from airflow_script_provider.kube.job.progress import Cause, Limits, Verdict
from airflow_script_provider.kube.job.view import View
from airflow_script_provider.kube.pods import pod_status
from airflow_script_provider.kube.pods.pod_status import Pod
from airflow_script_provider.kube.wording import headline_of

MARGIN = progress.CONFIRMATION + 2.0
"""Seconds beyond the grace period in which the pods of a run that is over may run and print.
After them it is known whether the kubelet reports the pods' end."""

_BEFORE_THE_START = (Cause.STARTUP_TIMEOUT, Cause.IMAGE, Cause.NOT_CREATED, Cause.REFUSED)
"""Causes that say why the script has not begun. A node that does not answer is not why."""


def wait_until(view: View, verdict: Verdict, limits: Limits, since: float) -> float | None:
    """Until when the ends of the run's pods are waited for, None if all of them are known.

    ``since`` is the moment of the verdict. A pod that is asked to end later has its grace period
    from then on.
    """
    if verdict.is_success or not view.unended_pods:
        return None
    return max(_last_moment(view, verdict, limits, uid, since) for uid in view.unended_pods)


def settled(view: View, verdict: Verdict, limits: Limits, now: float) -> Verdict:
    """What a verdict becomes by the ends that were reported since, or were not.

    The last pod of a deleted Job may have ended by itself.
    """
    uid = view.running_pod
    if uid is not None and not verdict.is_success:
        if verdict.cause in _BEFORE_THE_START and not pod_status.script_has_started(view.pods[uid]):
            return verdict
        within = _grace_period(view, verdict, limits, uid) + progress.CONFIRMATION
        return progress.unreachable(view, now, within) or verdict
    again = progress.decide(view, limits, now) if verdict.cause is Cause.JOB_DELETED else verdict
    return again if isinstance(again, Verdict) else verdict


def running_pod(view: View, verdict: Verdict) -> Pod | None:
    """The pod in which the script may still run after the verdict, None if there is none."""
    return None if verdict.is_success else view.pods.get(view.running_pod or "")


def may_be_repeated(view: View, verdict: Verdict) -> bool:
    """Whether Kubernetes may run the deciding script again while the Job exists.

    A pod that the cluster disrupts counts neither as a success nor as a failure. As long as other
    containers of the pod run, this may still happen.
    """
    pod = view.pods.get(verdict.pod_uid or "")
    if pod is None or pod_status.script_end(pod) is None or not verdict.delete_job:
        return False
    return bool(pod_status.running_others(pod)) or pod_status.disruption(pod) is not None


def diagnosed(case: Case, found: Diagnosis) -> Diagnosis:
    """The cause of a run that failed; its outcome is unknown while its script may still run."""
    pod = running_pod(case.view, case.verdict)
    if pod is None or case.verdict.cause is Cause.UNREACHABLE:
        return found
    name, why = pod_status.name(pod), found.cause.removeprefix("outcome unknown: ").rstrip(".")
    does = "run" if pod_status.script_has_started(pod) or pod_status.is_being_deleted(pod) else "begin"
    cause = f"outcome unknown: {why}; the script may still {does} in {name}, so it is not retried"
    hint = f"Run kubectl -n {case.job.partition('/')[0]} delete pod {name}."
    if pod_status.is_being_deleted(pod):
        hint = f"Run kubectl describe node {pod_status.node(pod)}."
    headline, advice = headline_of(f"Job {case.job}: {cause}.", hint)
    return replace(found, cause=cause, headline=headline, advice=advice, hint=hint)


def _last_moment(view: View, verdict: Verdict, limits: Limits, uid: str, since: float) -> float:
    return view.leaving_since.get(uid, since) + _grace_period(view, verdict, limits, uid) + MARGIN


def _grace_period(view: View, verdict: Verdict, limits: Limits, uid: str) -> float:
    """The seconds that a script has for its end; no drain gives more than the run's own time."""
    return limits.grace_period if verdict.is_of_the_job else progress.grace_period_of(view.pods[uid], limits)
