"""Run a script as a Kubernetes Job, as the operator does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_script_provider import _event_loop
from airflow_script_provider.clusters.access import ClusterRef
from airflow_script_provider.result import ScriptResult
from airflow_script_provider.runners.script_run import Screen, ScriptRun

if TYPE_CHECKING:
    from airflow_script_provider.kube.request.request import JobRequest


class JobRunner:
    """Creates a Job, follows it, and deletes it at Ctrl+C."""

    def why_unavailable(self, script_run: ScriptRun) -> str | None:
        """Always None: a Job needs no application.

        A refusal of the API server is an error of the run.
        """
        return None

    def run(self, script_run: ScriptRun, screen: Screen) -> ScriptResult:
        """Run one Job with one attempt, unless the step sets another number of attempts."""
        return _event_loop.run(_run(request_of(script_run), script_run, _ScreenLog(screen)))


def request_of(script_run: ScriptRun) -> JobRequest:
    """Read the script and check everything; nothing is created."""
    from airflow_script_provider.hooks._request import job_request
    from airflow_script_provider.kube.request.inputs import ScriptInputs, split
    from airflow_script_provider.kube.request.options import JobOptions

    inputs, options = split(_arguments(script_run), ScriptInputs, JobOptions)
    access = _cluster(script_run).resolve()
    return job_request(access, inputs, options.checked(), folder=script_run.folder, task=None)


def _arguments(script_run: ScriptRun) -> dict[str, Any]:
    """The operator's arguments. Those of the run replace those of the step."""
    values = {
        "args": script_run.args,
        "arguments": script_run.arguments,
        "env": script_run.env or None,
        "files": script_run.files or None,
        "interpreter": script_run.interpreter,
        "image": script_run.target.image,
        "namespace": script_run.target.namespace,
        "timeout": script_run.timeout,
        "max_output_bytes": script_run.max_output_bytes,
    }
    given = {name: value for name, value in values.items() if value is not None}
    return {"backoff_limit": 0} | dict(script_run.job_arguments) | given | {"script": script_run.source}


def _cluster(script_run: ScriptRun) -> ClusterRef:
    return ClusterRef(script_run.target.conn_id, cluster_context=script_run.target.context)


async def _run(request: JobRequest, script_run: ScriptRun, log: _ScreenLog) -> ScriptResult:
    from airflow_script_provider.clusters.credentials import open_api
    from airflow_script_provider.jobs.begin import begin
    from airflow_script_provider.jobs.conclude import conclude

    access = await asyncio.to_thread(_cluster(script_run).resolve)
    async with open_api(access) as api:
        context, start = await begin(api, request, log)
        outcome = await conclude(replace(context, folds_groups=False), start)
    if outcome.diagnosis is not None:
        advice = [outcome.diagnosis.advice] if outcome.diagnosis.advice else []
        for line in (*advice, *outcome.warnings):
            log.note(line, logging.WARNING)
    return outcome.result


class _ScreenLog:
    """Shows a Job's log on the screen: the script's lines unchanged, and our own notes."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def note(self, text: str, level: int = logging.INFO) -> None:
        """Show a line of our own."""
        self._screen.note(text, important=level >= logging.WARNING)

    def output(self, lines: Sequence[str], level: int = logging.INFO) -> None:
        """Show lines of the script as stdout; a pod's log does not separate stdout and stderr."""
        for line in lines:
            self._screen.stdout(line.encode() + b"\n")
