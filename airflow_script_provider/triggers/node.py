"""``NodeScriptTrigger``: run a script on all its nodes from the triggerer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from airflow_script_provider.jobs.context import JobContext
from airflow_script_provider.jobs.nodes.runs import NodeRuns
from airflow_script_provider.jobs.nodes.task import NodesTask
from airflow_script_provider.triggers._base import LOG_SILENCE, JobTrigger
from airflow_script_provider.triggers.shared_cluster import SharedCluster


class NodeScriptTrigger(JobTrigger):
    """
    Start the runs of a script on its nodes, and follow them until all are over.

    Their logs go into the task's.

    ``job`` is the Job that owns the runs. Nodes, plan and outcomes are stored with it in the
    cluster, so one row is enough for any number of nodes. The event has ``job``, and ``reason``
    where a worker must go on.
    """

    async def _follow(self, cluster: SharedCluster) -> dict[str, Any]:
        log = self._open_log()
        nodes = NodesTask(cluster.api, log)
        owner = await nodes.owner(self._launched)
        runs = NodeRuns(
            JobContext(cluster.api, replace(self._launched, get_logs=self._shows_lines), log),
            owner,
            keeps_output=False,
            slots=cluster.slots,
            log_silence=LOG_SILENCE,
        )
        async with self._saving_at_the_end(runs.save_positions):
            await runs.follow()
            await runs.write_again(is_retried=True)
        await nodes.complete(self._launched)
        return self._handed_back("")

    def _handed_back(self, reason: str) -> dict[str, Any]:
        return {"job": self.job, "reason": reason}
