"""Running a script on nodes from any Python code."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from airflow_script_provider._airflow import AirflowTaskTimeout
from airflow_script_provider.clusters.access import ClusterAccess, ClusterRef
from airflow_script_provider.exceptions import NodesFailedError
from airflow_script_provider.hooks.node import NodesTaskRun
from tests.builders import a_launched_job


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
