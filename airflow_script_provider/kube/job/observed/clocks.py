"""How long a run has waited, for a node and for its start there, and when its work is over."""

from __future__ import annotations

from airflow_script_provider.kube.job.observed.view import View
from airflow_script_provider.kube.job.verdict import Limits
from airflow_script_provider.kube.pods import pod_stages, pod_status


def node_awaited_since(view: View) -> float | None:
    """The moment from which ``schedule_timeout`` counts, None while the run waits for no node.

    A pod has waited since its creation. Without one, seconds in which earlier followers saw the
    same wait count, and the time between two followers does not.
    """
    if view.waits_since is None:
        return None
    since = view.waits_since - view.waited
    pod = next(iter(view.unended_pods), None)
    created = None if pod is None else view.moment_of(pod_status.created_at(view.pods[pod]))
    return since if created is None else min(since, created)


def seconds_for_a_node(view: View, now: float) -> float:
    """How long this follower and earlier ones have seen that the run waits for a node."""
    if not view.job or not view.pods_known:
        return view.waited
    since = node_awaited_since(view)
    return 0.0 if since is None else now - since


def start_awaited_since(view: View) -> float | None:
    """The moment from which ``startup_timeout`` counts, None while the run waits for a node.

    It is None between two attempts as well. This is when the last pod got its node. The clocks of
    the cluster's programs may differ, so it is not before this follower saw that.
    """
    if view.started_at is None or view.waits_since is not None:
        return None
    pod = next((pod for pod in reversed([*view.pods.values()]) if not pod_stages.has_run(pod)), None)
    if pod is None and view.has_run:
        return None
    scheduled = None if pod is None else view.moment_of(pod_status.scheduled_at(pod))
    since = view.started_at if scheduled is None else scheduled
    seen = since if pod is None else view.scheduled_at.get(pod_status.uid(pod), since)
    return max(since, seen)


def work_over_at(view: View, limits: Limits) -> float | None:
    """When the work has taken its time, None while that does not come nearer.

    It does not while there is no work or a wait for a node, nor after the Job was ended for it.
    """
    if not view.pods_known or view.timed_out_after is not None:
        return None
    return view.work.over_at(limits.time_for_work(view.own_deadline(limits.deadline)))
