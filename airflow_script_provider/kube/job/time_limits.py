"""Which of its time limits ended a run, in words. A policy may have set another one."""

from __future__ import annotations

from airflow_script_provider.kube.job.observed.view import View
from airflow_script_provider.kube.job.verdict import Cause, Limits, Verdict
from airflow_script_provider.kube.wording import changed_limit_in_words, limit_in_words
from airflow_script_provider.result import Category

_FIND_OUT = "Find out what sets activeDeadlineSeconds in this namespace."
_SUM = "schedule_timeout + startup_timeout + timeout"
"""The arguments whose sum is the deadline of a Job without a follower."""


def limit_that_ended(view: View, limits: Limits, verdict: Verdict, *, is_rest: bool) -> tuple[str, str]:
    """The limit that ended a run as a clause, and what to do about it.

    ``is_rest`` says that the deadline was what other runs had left of a time.
    """
    name, asked, is_guard = limits.deadline_name, limits.deadline, limits.is_guarded
    if verdict.cause is Cause.TIMEOUT or view.timed_out_after is not None:
        after = float(view.timed_out_after or 0) if limits.timeout is None else limits.timeout
        return limit_in_words("timeout", after, is_rest=False), "Raise timeout."
    if verdict.reason == Category.DEADLINE_EXCEEDED and (own := _changed_deadline(view, asked)) is not None:
        return changed_limit_in_words(name, limits.timeout if is_guard else asked, own), _FIND_OUT
    if is_guard and asked is not None:
        return f"{_SUM} of {asked:g} s", "Raise timeout."
    return limit_in_words(name, asked, is_rest=is_rest), f"Raise {name}."


def _changed_deadline(view: View, asked: float | None) -> float | None:
    """The Job's own deadline if another has set it, None otherwise."""
    own = view.own_deadline(asked)
    return None if own == asked or view.timed_out_after is not None else own
