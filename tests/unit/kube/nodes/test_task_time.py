"""When the task's own time is over for its runs."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow_script_provider.kube.nodes.task_time import RUNS_EXPIRY_MARGIN, TaskTime
from tests.builders import a_launched_job, some_limits

OWNER = {"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}}
NOW = datetime(2026, 1, 1, 0, 10, tzinfo=UTC)


def test_a_script_keeps_its_grace_period_at_the_end_of_the_tasks_time() -> None:
    """The deadline of its Job is the same moment, and its end is waited for (R5)."""
    job = a_launched_job(limits=some_limits(grace_period=900), launched_at=5000.0)
    of_task = TaskTime.of(5700.0, job, OWNER, NOW, 40.0)
    moments = 140.0, 140.0 + 900 + RUNS_EXPIRY_MARGIN
    assert (of_task.ends_at, of_task.ends_runs_at) == moments
    assert [of_task.next_moment(now) for now in (40.0, *moments)] == [*moments, None]
    assert [of_task.is_over(now) for now in (139.0, 140.0)] == [False, True]
    assert of_task.left(100.0) == 40.0


def test_without_a_timeout_the_tasks_time_has_no_end() -> None:
    """No moment is awaited for it."""
    of_task = TaskTime.of(None, a_launched_job(), {}, NOW, 40.0)
    assert (of_task.ends_runs_at, of_task.next_moment(0.0), of_task.left(1e9), of_task.is_over(1e9)) == (None,) * 3 + (
        False,
    )
