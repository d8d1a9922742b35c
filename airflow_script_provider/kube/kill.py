"""What it means that a run ends before its Job: that is deleted, or left to the next try."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EarlyEnd:
    """Why a run ends before its Job with tries left, and whether the next try gets the Job.

    ``reason`` and ``fate``, of a Job that is left, are clauses.
    """

    reason: str
    leaves_job: bool
    fate: str = "is left to the next try, which reattaches to it"

    def left(self, job: str) -> str:
        """What becomes of a Job that is left, as a note."""
        return f"{self.reason}: Job {job} {self.fate}."


_OF_LATER_TRIES = frozenset({"up_for_retry", "scheduled", "queued", "deferred"})
"""States that a task with a running try gets from Airflow, not from a user: Airflow has not heard
of that try for too long, and counts it as failed. A deferred task has them before it resumes, and
after a clear as well."""


NO_STATE = "without a state"
"""What stands for the state of a task instance that has none: its scheduler has reset it, after
its executor was lost, or a user has cleared it before it ran. A running task that a user clears
gets another state."""

NOT_FOLLOWED = EarlyEnd("The Job cannot be followed", leaves_job=True)
"""What an error of the API server means: the Job is as healthy as it was."""


HANDED_OVER = EarlyEnd("Airflow has its outcome already", leaves_job=False)
"""What a kill means for the Job of an outcome with which the task ends in any case."""

TIMED_OUT = EarlyEnd(
    "The task has no time left", leaves_job=True, fate="is ended, unless its script has ended by itself"
)
"""What ``execution_timeout`` means in a worker that then concludes the Job, or ends it."""


def meaning_of_kill(state: str | None, *, is_deferred: bool = False) -> EarlyEnd:
    """Why a run was killed, by the state of its task instance; None if Airflow does not answer.

    A user's action changes the state. If the task is still running, or Airflow does not answer,
    the worker goes away. If Airflow has given the try up, the next one needs the Job. A task that
    a trigger waits for (``is_deferred``) has no state after a user's clear.
    """
    if state is None:
        return EarlyEnd("Airflow does not answer what the state of the task is", leaves_job=True)
    if state == "running":
        return EarlyEnd("For Airflow the task is still running, so its worker is ending", leaves_job=True)
    if state in _OF_LATER_TRIES or (state == NO_STATE and not is_deferred):
        return EarlyEnd(f"For Airflow the task is {state}, so it has given this try up", leaves_job=True)
    return EarlyEnd(f"For Airflow the task is {state}", leaves_job=False)
