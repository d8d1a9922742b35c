"""What a run waits for before it gets a node, as a line for the log."""

from __future__ import annotations

from airflow_script_provider.kube.causes.queue import Pending
from airflow_script_provider.kube.job.observed.job_status import is_suspended
from airflow_script_provider.kube.job.observed.view import View
from airflow_script_provider.kube.pods import pod_state, pod_status
from airflow_script_provider.kube.pods.pod_status import Pod
from airflow_script_provider.kube.wording import one_line


def awaited(view: View, pending: Pending | None = None) -> str | None:
    """What keeps the run from a node: a queue, a quota, gates or the scheduler.

    ``pending`` is why a queue does not admit the Job. None if nothing says what it waits for.
    """
    if not view.job or view.job_deleted or view.is_decided:
        return None
    if is_suspended(view.job):
        name = view.job["metadata"]["name"]
        return f"Job {name} is waiting in queue {pending.queue}: {pending.text}" if pending else None
    if view.unended_pods:
        return _awaited_by_pod(view.pods[view.unended_pods[0]])
    if (shortage := view.admission.shortage) is None:
        return None
    return f"Job {view.job['metadata']['name']} is waiting for quota {shortage.quota}: {shortage.text}".rstrip(": ")


def has_a_node(view: View) -> bool:
    """Whether a pod that runs, or may run, has its node."""
    return any(pod_status.node(view.pods[uid]) for uid in view.unended_pods)


def _awaited_by_pod(pod: Pod) -> str | None:
    if (unscheduled := pod_state.unscheduled(pod)) is None:
        return None
    reason, message = unscheduled
    gates = ", ".join(gate["name"] for gate in pod.get("spec", {}).get("schedulingGates") or [])
    what = f"scheduling gates: {gates}" if gates else f"a node: {reason}: {one_line(message)}"
    return f"Pod {pod_status.name(pod)} is waiting for {what}".rstrip(": ")
