"""What is kept of a process' output while it is shown, and the result that comes of it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from airflow_script_provider.kube.exec.protocol import Channel
from airflow_script_provider.kube.logs.lines import Lines
from airflow_script_provider.kube.logs.output import Output
from airflow_script_provider.kube.request import provenance
from airflow_script_provider.result import ScriptResult, Status
from airflow_script_provider.runners.script_run import Screen, ScriptRun
from airflow_script_provider.script import Script


@dataclass(frozen=True)
class End:
    """How a process ended. ``cause`` says why it has no exit code of its own, or did not come to run."""

    exit_code: int | None
    timed_out: bool = False
    cause: str | None = None


@dataclass(frozen=True, kw_only=True)
class Whereabouts:
    """Where it ran, for the result."""

    namespace: str | None = None
    pod_name: str | None = None
    container_name: str | None = None


class Recording:
    """Shows what comes at once, as bytes, and keeps it in whole lines, in the order in which they were complete."""

    def __init__(self, task: ScriptRun, screen: Screen) -> None:
        self._task = task
        self._show = {Channel.STDOUT: screen.stdout, Channel.STDERR: screen.stderr}
        self._lines = {channel: Lines() for channel in self._show}
        self._streams = {channel: Output(task.max_output_bytes) for channel in self._show}
        self._both = Output(task.max_output_bytes)
        self._started = time.monotonic()

    def take(self, channel: Channel, data: bytes) -> None:
        """Output of the process."""
        self._show[channel](data)
        self._keep(channel, self._lines[channel].feed(data))

    def result(self, end: End, script: Script, whereabouts: Whereabouts) -> ScriptResult:
        """The result, once nothing more comes. The value is sought in stdout only."""
        for channel, lines in self._lines.items():
            self._keep(channel, lines.finish())
        seconds = time.monotonic() - self._started
        succeeded = end.exit_code == 0 and not end.timed_out
        stdout, stderr = self._streams[Channel.STDOUT], self._streams[Channel.STDERR]
        return ScriptResult(
            status=_status(end),
            job_name=None,
            namespace=whereabouts.namespace,
            pod_name=whereabouts.pod_name,
            execution_time=round(seconds, 3),
            output=self._both.tail(),
            succeeded=int(succeeded),
            failed=int(not succeeded),
            exit_code=end.exit_code,
            value=stdout.value().value,
            error=_error(end, self._task),
            reason="Timeout" if end.timed_out else None if succeeded else "Error",
            duration_ms=round(seconds * 1000),
            output_bytes=self._both.size,
            output_truncated=self._both.truncated,
            script_sha256=script.sha256,
            script_origin=script.origin,
            script_bytes=script.size,
            files=provenance.of_files(self._task.file_contents),
            container_name=whereabouts.container_name,
            stdout_tail=stdout.tail(),
            stderr_tail=None if self._task.terminal else stderr.tail(),
        )

    def _keep(self, channel: Channel, lines: list[bytes]) -> None:
        if lines:
            self._streams[channel].add(lines)
            self._both.add(lines)


def _status(end: End) -> Status:
    if end.timed_out:
        return Status.TIMEOUT
    return Status.COMPLETED if end.exit_code == 0 else Status.FAILED


def _error(end: End, task: ScriptRun) -> str | None:
    if end.timed_out:
        return f"script was ended after {task.timeout:g} s, as its timeout says"
    if end.exit_code == 0:
        return None
    return end.cause or f"script failed: exit code {end.exit_code}"
