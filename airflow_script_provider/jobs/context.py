"""What every step of a launched Job's run needs: the API, the Job, the log, and what is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.kube.hiding import Hide, knows_values
from airflow_script_provider.kube.job.launched import LaunchedJob
from airflow_script_provider.run_log import RunLog

R = TypeVar("R")


@dataclass
class Known(Generic[R]):
    """The outcome of a run as soon as it is known, which an interruption does not undo.

    ``deletes_job`` says that the Job goes as well. ``is_handed_over`` says that Airflow has the
    outcome, so the task ends with it.
    """

    outcome: R | None = None
    deletes_job: bool = False
    is_handed_over: bool = False

    def hand_over(self, outcome: R, on_outcome: Callable[[R], None] | None) -> None:
        """Give Airflow the outcome, unless it has it already."""
        if on_outcome is not None and not self.is_handed_over:
            on_outcome(outcome)
            self.is_handed_over = True

    @property
    def handed_over(self) -> R | None:
        """The outcome that Airflow has, None without one."""
        return self.outcome if self.is_handed_over else None


@dataclass(frozen=True)
class JobContext:
    """A launched Job, the API server that it is on, and the log for our lines and the script's.

    ``hide`` makes a line of the script safe for a message. Without it, as where the script's
    secrets are unknown, no line of the script stands in one.
    ``folds_groups`` says whether the log is shown on Airflow's page, which folds groups.
    ``created`` is the Job as it was when this process launched it. ``known`` outlasts the session.
    """

    api: KubernetesApi
    job: LaunchedJob
    log: RunLog
    hide: Hide | None = None
    folds_groups: bool = True
    created: Mapping[str, Any] | None = None
    known: Known[Any] = field(default_factory=Known)

    @property
    def has_values(self) -> bool:
        """Whether the values that the Job was launched with are known, and so can be hidden."""
        return knows_values(self.hide)

    @property
    def may_quote(self) -> bool:
        """Whether a line of ours may quote what the script printed."""
        return may_quote(self.job, self.hide)


def may_quote(job: LaunchedJob, hide: Hide | None) -> bool:
    """Whether what a Job's script printed has no secret that ``hide`` leaves unmasked."""
    return knows_values(hide) or not job.holds_lines
