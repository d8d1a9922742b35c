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
    From a task to a page about its Job, where the setting ``[script_provider] job_url`` says that such pages are.

    It is shown as soon as the Job is there, with the Job of the latest try.
    """

    name = "Kubernetes Job"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        """The address as Airflow asks for it, in the worker when the task is over; nothing if there is none."""
        with contextlib.suppress(ValueError):  # the launch has said so
            return self.address(operator)
        return ""

    def address(self, operator: Any) -> str:
        """The address of the page about the Job of this try, nothing for a task that has none.

        ``ValueError`` for a setting that cannot lead there.
        """
        template, job = job_url_setting(), getattr(operator, "launched_job", None)
        return job_url(template, job.namespace, job.name) if template and job is not None else ""
