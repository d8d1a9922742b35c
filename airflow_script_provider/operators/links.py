"""Links of a task in Airflow's web interface."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from airflow_script_provider._airflow import BaseOperatorLink, job_url_setting
from airflow_script_provider.kube.job_url import job_url

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey


class KubernetesJobLink(BaseOperatorLink):
    """
    A link from a task to a page about its Job.

    The setting ``[script_provider] job_url`` has the address of these pages; without it, tasks
    have no link. The link appears as soon as the Job exists, and leads to that of the latest try.
    """

    name = "Kubernetes Job"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        """The address for Airflow, which asks for it when the task is over; empty without one."""
        with contextlib.suppress(ValueError):  # the launch has said so
            return self.address(operator)
        return ""

    def address(self, operator: Any) -> str:
        """The address of the page about the Job of this try, empty for a task without a Job.

        Raises ``ValueError`` for a setting that is not a valid address.
        """
        template, job = job_url_setting(), getattr(operator, "launched_job", None)
        return job_url(template, job.namespace, job.name) if template and job is not None else ""
