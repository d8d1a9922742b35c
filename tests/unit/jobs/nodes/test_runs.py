"""Runs on nodes under way: when the task's own time ends them."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import pytest

from airflow_script_provider.jobs.context import JobContext
from airflow_script_provider.jobs.nodes.runs import RUNS_EXPIRY_MARGIN, NodeRuns
from airflow_script_provider.kube.job.manifest import job
from airflow_script_provider.kube.nodes.plan import Mode, OnNodes
from tests.builders import a_launched_job, a_plan, a_request, some_limits


class NoLog:
    """A log of nothing."""

    def note(self, text: str, level: int = logging.INFO) -> None:
        """Drop a line."""

    def output(self, lines: Sequence[str]) -> None:
        """Drop lines."""


async def test_a_script_keeps_its_grace_period_at_the_end_of_the_tasks_time() -> None:
    """The deadline of its Job is the same moment, and its end is waited for (R5)."""
    plan = a_plan("node-1", expires_at=time.time() + 100)
    launched = a_launched_job(limits=some_limits(grace_period=900))
    api: Any = None
    runs = NodeRuns(JobContext(api, launched, NoLog()), job(a_request(on_nodes=OnNodes(Mode.NORMAL, plan))))
    now = time.monotonic()
    assert runs._expiry == pytest.approx(now + 100 + 900 + RUNS_EXPIRY_MARGIN, abs=5)
    assert runs._next_expiry(now) == pytest.approx(now + 100, abs=5)
