"""Pods of a Job that were not seen: whether one may run the script, and which pod has decided.

A pod may be gone before it is seen, or run in another cluster, and lists of pods may fail.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_script_provider.kube.causes import cluster_messages
from airflow_script_provider.kube.job.observed.view import View
from airflow_script_provider.kube.pods import pod_status

_BY_ITS_LAST_POD = ("BackoffLimitExceeded", "PodFailurePolicy")
"""Reasons for which a Job fails only after the end of its last pod."""


def may_run(view: View) -> bool:
    """Whether the script may run in a pod that was not seen.

    The pods could not be listed, while none was seen that has not ended; or the last status of a
    Job elsewhere counts a pod.
    """
    if view.unended_pods or any(map(_is_after_the_pods, view.true_conditions)):
        return False
    status = view.job.get("status", {})
    counts_one = bool(status.get("active") or status.get("terminating"))
    return not view.pods_known or (not view.pods and counts_one and view.elsewhere is not None)


def in_words(view: View) -> str:
    """Where pods are that were never seen, as a clause; empty if there are none."""
    if view.elsewhere:
        return f"{view.elsewhere} ran it in another cluster, where its pods and logs are"
    return "its pods and their logs are gone" if view.has_unseen_pods else ""


def pod_of_success(view: View) -> str | None:
    """The uid of the pod by which the Job has succeeded, None if it was not seen.

    That pod has not failed. Without a pod that ended with 0, it is the last one, because
    Kubernetes has replaced those before.
    """
    unfailed = [uid for uid, pod in view.pods.items() if not pod_status.has_failed(pod)]
    ended = [uid for uid in unfailed if pod_status.script_end(view.pods[uid]) is not None]
    own = [uid for uid in ended if uid not in view.stopped]
    last = view.last_pod
    return next(iter([*own, *ended]), last if last in unfailed else None)


def pod_of_failure(view: View, message: str) -> str | None:
    """The uid of the pod by which the Job has failed, None if it was not seen.

    This is the pod that the condition's message names, otherwise the last one.
    """
    named = cluster_messages.failed_pod(message)
    if named is None:
        return view.last_pod
    return next((uid for uid, pod in view.pods.items() if pod_status.name(pod) == named), None)


def _is_after_the_pods(condition: Mapping[str, Any]) -> bool:
    """Whether a condition of a Job says that none of its pods runs any more."""
    return condition["type"] in ("Complete", "Failed") or condition.get("reason") in _BY_ITS_LAST_POD
