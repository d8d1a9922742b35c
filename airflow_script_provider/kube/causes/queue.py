"""Why a queue of Kueue does not admit a Job, by the Job's Workload.

The messages are those of Kueue 0.17: https://kueue.sigs.k8s.io/docs/concepts/workload/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_script_provider.kube.causes import events
from airflow_script_provider.kube.causes.events import NotStarted
from airflow_script_provider.kube.causes.patterns import compiled_later
from airflow_script_provider.kube.labels import WORKLOAD_JOB_LABEL
from airflow_script_provider.kube.wording import one_line

WORKLOAD = "Workload"
_ASSIGNING = compiled_later(r"couldn't assign flavors to pod set \S+: ")
_SHORT = compiled_later(
    r"insufficient unused quota for (?P<resource>\S+) in flavor (?P<flavor>[^\s,]+), (?P<amount>\S+) more needed"
)


@dataclass(frozen=True)
class Pending:
    """A Job that a queue does not admit: Kueue's reason, and its message in short."""

    queue: str
    reason: str
    text: str


def as_event(workload: Mapping[str, Any]) -> dict[str, Any]:
    """A Workload in the form of an event about its Job; it has no reason once it has quota."""
    metadata, conditions = workload["metadata"], workload.get("status", {}).get("conditions") or []
    uid = (metadata.get("labels") or {}).get(WORKLOAD_JOB_LABEL, "")
    reserved = next((one for one in conditions if one["type"] == "QuotaReserved"), {"status": ""})
    waits = reserved if reserved["status"] == "False" else {}
    return {
        "metadata": {"uid": metadata["uid"]},
        "involvedObject": {"kind": WORKLOAD, "name": metadata["name"], "uid": uid},
        "queue": workload.get("spec", {}).get("queueName", ""),
        "reason": waits.get("reason", ""),
        "message": waits.get("message", ""),
    }


def is_workload(event: Mapping[str, Any]) -> bool:
    """Whether an event is a Workload in this form."""
    return event.get("involvedObject", {}).get("kind") == WORKLOAD and "queue" in event


def pending(event: Mapping[str, Any]) -> Pending | None:
    """Why the queue does not admit the Job of a Workload in this form, None if it does."""
    reason, message = event["reason"], _ASSIGNING.sub("", one_line(event["message"]))
    if not reason:
        return None
    shown = _SHORT.sub(r"\g<amount> \g<resource> short in flavor \g<flavor>", message)
    return Pending(event["queue"], reason, shown)


def warning(event: Mapping[str, Any]) -> str | None:
    """The warning of a Workload in this form, as that of an event; None if the Job is admitted."""
    found = pending(event)
    return f"{WORKLOAD} {event['involvedObject']['name']}: {found.reason}: {found.text}" if found else None


def why_suspended(warnings: Sequence[str]) -> NotStarted:
    """Why a Job that is suspended does not start, by the warnings of its run."""
    reported = [line.partition(": ")[2] for line in events.about(WORKLOAD, warnings)]
    why = ": ".join(["the Job is suspended", *reported[-1:]])
    return NotStarted(why, "Look at what admits it, such as its queue, or raise schedule_timeout.")
