"""``NodeScriptTrigger``: see to a script on all its nodes in the triggerer, whatever their number."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from airflow_script_provider import exceptions
from airflow_script_provider._airflow import AirflowNotFoundException, output_logger
from airflow_script_provider._airflow_triggers import TriggerEvent
from airflow_script_provider.jobs.nodes.runs import NodeRuns
from airflow_script_provider.jobs.nodes.task import NodesTask
from airflow_script_provider.run_log import OUTPUT_LOGGER, LoggerRunLog
from airflow_script_provider.triggers import script as of_script
from airflow_script_provider.triggers.shared_cluster import shared_cluster


class NodeScriptTrigger(of_script.ScriptTrigger):
    """
    Start the runs of a script on its nodes and follow them until all are over; their logs go into the task's.

    The arguments are those of ``ScriptTrigger``, ``job`` is the one that owns the runs: nodes, plan and outcomes stand
    with it in the cluster, so one row is enough for any number of nodes. The event has ``job``, and ``reason`` where
    a worker must go on.
    """

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        return "airflow_script_provider.triggers.node.NodeScriptTrigger", super().serialize()[1]

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """One event, when all runs are over or cannot be followed here."""
        await self._leave_to_the_task()
        reason = ""
        try:
            await self._see_to_all()
        except Exception as error:  # healthy work must not fail for what goes wrong here
            if not isinstance(error, exceptions.ScriptProviderError | AirflowNotFoundException | ValueError):
                self.log.exception("Following the runs failed in an unexpected way; a worker goes on with them")
            reason = str(error) or type(error).__name__
        self._is_over = True
        yield of_script.JobEvent({"job": self.job, "server": self.server, "reason": reason})

    async def _see_to_all(self) -> None:
        async with shared_cluster(await self._access()) as cluster:
            lines = output_logger(OUTPUT_LOGGER) if self._launched.get_logs else None
            log = LoggerRunLog(self.log, lines)
            nodes = NodesTask(cluster.api, log)
            owner = await nodes.owner(self._launched)
            runs = NodeRuns(
                cluster.api,
                self._launched,
                owner,
                log,
                keeps_output=False,
                slots=cluster.slots,
                log_silence=of_script.LOG_SILENCE,
            )
            self._has_begun = True
            try:
                await runs.follow()
            except asyncio.CancelledError as cancelled:
                if not cancelled.args:  # Airflow gives a reason where it is not the triggerer that ends
                    await self._save_positions(runs)
                raise
            await nodes.complete(self._launched)

    async def _save_positions(self, runs: NodeRuns) -> None:
        """Save how far live lines were shown, for the triggerer that takes over."""
        with contextlib.suppress(TimeoutError, exceptions.ScriptProviderError):
            async with asyncio.timeout(of_script.SAVE_TIMEOUT):
                await runs.save_positions()
