"""A Kubernetes Job: the operator's own path."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_script_provider import _event_loop
from airflow_script_provider.result import ScriptResult
from airflow_script_provider.runners.script_run import Screen, ScriptRun

if TYPE_CHECKING:
    from airflow_script_provider.kube.request.request import JobRequest


class JobRunner:
    """Creates a Job, follows it, and deletes it at Ctrl+C."""

    def unavailable(self, task: ScriptRun) -> str | None:
        """A Job needs nothing to be there before it; what the API server refuses is an error of the run."""
        return None

    def run(self, task: ScriptRun, screen: Screen) -> ScriptResult:
        """One Job with one attempt, unless the step says otherwise."""
        return _event_loop.run(_run(request_of(task), task, _ScreenLog(screen)))


def request_of(task: ScriptRun) -> JobRequest:
    """The script read and everything checked; nothing is created."""
    from airflow_script_provider.hooks.script import KubernetesScriptHook, split_arguments

    hook = KubernetesScriptHook(task.place.conn_id, cluster_context=task.place.context)
    return hook.prepare(*split_arguments(**_arguments(task)), folder=task.folder)


def _arguments(task: ScriptRun) -> dict[str, Any]:
    said = {
        "args": task.args,
        "arguments": task.arguments,
        "env": task.env or None,
        "files": task.files or None,
        "interpreter": task.interpreter,
        "image": task.place.image,
        "namespace": task.place.namespace,
        "timeout": task.timeout,
        "max_output_bytes": task.max_output_bytes,
    }
    ours = {name: value for name, value in said.items() if value is not None}
    return {"backoff_limit": 0} | dict(task.job_arguments) | ours | {"script": task.source}


async def _run(request: JobRequest, task: ScriptRun, log: _ScreenLog) -> ScriptResult:
    from airflow_script_provider.clusters.access import ClusterRef
    from airflow_script_provider.clusters.credentials import open_api
    from airflow_script_provider.jobs.begin import Run

    access = await asyncio.to_thread(ClusterRef(task.place.conn_id, cluster_context=task.place.context).resolve)
    async with open_api(access) as api:
        outcome = await Run(api, request, log, task.max_output_bytes).run()
    if outcome.diagnosis is not None:
        advice = [outcome.diagnosis.advice] if outcome.diagnosis.advice else []
        for line in (*advice, *outcome.warnings):
            log.note(line, logging.WARNING)
    return outcome.result


class _ScreenLog:
    """A Job's log on the screen: its lines as they were printed, and ours beside them."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def note(self, text: str, level: int = logging.INFO) -> None:
        """A line of ours."""
        self._screen.note(text, important=level >= logging.WARNING)

    def output(self, lines: Sequence[str], level: int = logging.INFO) -> None:
        """Lines of the script, of stdout and stderr alike: a pod's log does not tell them apart."""
        for line in lines:
            self._screen.stdout(line.encode() + b"\n")
