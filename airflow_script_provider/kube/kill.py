"""What a kill of a run means: its Job is deleted, or left to the next try."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kill:
    """Why a run with tries left was killed, and whether its Job is left to the next try.

    ``reason`` is a clause.
    """

    reason: str
    leaves_job: bool


def meaning_of_kill(state: str | None) -> Kill:
    """Why a run was killed, by the state of its task instance; None if Airflow does not answer.

    A user's action changes the state. If the task is still running, or Airflow does not answer,
    the worker goes away.
    """
    if state is None:
        return Kill("Airflow does not answer what the state of the task is", leaves_job=True)
    if state == "running":
        return Kill("For Airflow the task is still running, so its worker is ending", leaves_job=True)
    return Kill(f"For Airflow the task is {state}", leaves_job=False)
