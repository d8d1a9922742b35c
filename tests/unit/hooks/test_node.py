"""Running a script on nodes from any Python code."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from airflow_script_provider._airflow import AirflowTaskTimeout
from airflow_script_provider.clusters.access import ClusterAccess, ClusterRef
from airflow_script_provider.exceptions import NodesFailedError
from airflow_script_provider.hooks.node import NodesTaskRun
from airflow_script_provider.jobs.nodes.task import NodesTask
from tests.builders import a_launched_job
from tests.stand_in_api import access_to, stand_in


class TimedOut(NodesTaskRun):
    """A run that ``execution_timeout`` ends, and what it does then."""

    asked = 0
    after: Exception | None = None

    def run(self, *_: Any) -> Any:
        """Raise the first time, then wait for the scripts."""
        self.asked += 1
        if self.asked == 1:
            raise AirflowTaskTimeout
        if self.after is not None:
            raise self.after


@pytest.mark.parametrize("after", [None, NodesFailedError("may still run", retryable=False)])
def test_a_timeout_in_a_worker_is_no_retry_beside_the_scripts(after: Exception | None) -> None:
    """Their ends are waited for, as that of a single script is (R5, R10)."""
    run = TimedOut(ClusterRef(None, config_file="/none"), logging.getLogger(__name__))
    run.after = after
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClusterRef, "resolve", lambda _: ClusterAccess(config={}))
        with pytest.raises(AirflowTaskTimeout if after is None else NodesFailedError):
            run.resume({"job": a_launched_job().to_dict(), "reason": ""})
    assert run.asked == 2


def test_a_result_that_was_handed_over_is_the_end_of_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """``execution_timeout`` while the owner is marked or deleted: the XComs are there (R1, R2, R5)."""
    given: Any = object()

    async def interrupted(nodes: NodesTask, *_: Any) -> None:
        nodes.known.outcome, nodes.known.is_handed_over = given, True
        raise AirflowTaskTimeout

    run = NodesTaskRun(ClusterRef(None, config_file="/none"), logging.getLogger(__name__))
    monkeypatch.setattr(NodesTask, "see_through", interrupted)
    with stand_in() as server:
        monkeypatch.setattr(ClusterRef, "resolve", lambda _: access_to(server))
        assert run.resume({"job": a_launched_job().to_dict(), "reason": ""}) is given
