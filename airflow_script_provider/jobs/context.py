"""What every step of a launched Job's run needs: the API, the Job and the log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.kube.hiding import Hide, knows_values
from airflow_script_provider.kube.job.launched import LaunchedJob
from airflow_script_provider.run_log import RunLog


@dataclass(frozen=True)
class JobContext:
    """A launched Job, the API server that it is on, and the log for our lines and the script's.

    ``hide`` makes a line of the script safe for a message. Without it, as where the script's
    secrets are unknown, no line of the script stands in one.
    ``folds_groups`` says whether the log is shown on Airflow's page, which folds groups.
    ``created`` is the Job as it was when this process launched it.
    """

    api: KubernetesApi
    job: LaunchedJob
    log: RunLog
    hide: Hide | None = None
    folds_groups: bool = True
    created: Mapping[str, Any] | None = None

    @property
    def has_values(self) -> bool:
        """Whether the values that the Job was launched with are known, and so can be hidden."""
        return knows_values(self.hide)
