"""What the status of a Job says: its conditions, and which controller runs its pods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SUCCEEDED = ("Complete", "SuccessCriteriaMet")
"""Conditions of a Job that has succeeded: of its pods none runs any more."""
FAILED = ("Failed", "FailureTarget")
"""Conditions of a Job after which no pod of it starts.

The early ones are as final as the late ones.
"""
JOB_CONTROLLER = "kubernetes.io/job-controller"
"""The name of Kubernetes' own controller in a Job's ``spec.managedBy``."""


def manager_of(job: Mapping[str, Any]) -> str | None:
    """The controller that manages the Job in place of Kubernetes' own, None if there is none.

    Kueue's MultiKueue runs such a Job in another cluster, and copies that Job's status:
    https://kueue.sigs.k8s.io/docs/concepts/multikueue/
    """
    manager: str | None = job.get("spec", {}).get("managedBy")
    return None if manager == JOB_CONTROLLER else manager


def is_suspended(job: Mapping[str, Any]) -> bool:
    """Whether the Job is to have no pods for now, here or where another controller runs it."""
    conditions = job.get("status", {}).get("conditions") or []
    is_paused = any(one["type"] == "Suspended" and one["status"] == "True" for one in conditions)
    return bool(job.get("spec", {}).get("suspend")) or (is_paused and manager_of(job) is not None)
