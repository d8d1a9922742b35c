"""Show a process' output, keep it, and make the result."""

from __future__ import annotations

import time
from dataclasses import dataclass

from airflow_script_provider.kube.exec.ends import Termination
from airflow_script_provider.kube.exec.protocol import Channel
from airflow_script_provider.kube.logs.output import Output
from airflow_script_provider.kube.logs.stream_lines import Lines
from airflow_script_provider.kube.request import provenance
from airflow_script_provider.result import RunEnd, RunLocation, ScriptResult, Status
from airflow_script_provider.runners.script_run import Screen, ScriptRun
from airflow_script_provider.script import Script


@dataclass(frozen=True)
class ProcessEnd:
    """How a process ended.

    ``cause`` says why the process has no exit code of its own, or why it was not started. With
    ``is_unknown`` it may still run.
    """

    exit_code: int | None
    timed_out: bool = False
    cause: str | None = None
    is_unknown: bool = False


def end_at_deadline(found: ProcessEnd | None, termination: Termination) -> ProcessEnd:
    """The end of a script whose timeout was over before its end was known.

    ``found`` is the end that was known afterwards, None without one. Its exit code counts if the
    script had ended by itself, before any signal of ours. Any exit code shows that it has ended.
    """
    has_ended = found is not None and found.exit_code is not None
    if found is not None and has_ended and not termination.was_signalled:
        return found
    if has_ended or not termination.may_still_run:
        return ProcessEnd(None, timed_out=True)
    return ProcessEnd(None, timed_out=True, cause=termination.description, is_unknown=True)


class Recording:
    """Shows output at once, as bytes, and keeps it as whole lines in the order of their ends."""

    def __init__(self, script_run: ScriptRun, screen: Screen) -> None:
        self._script_run = script_run
        self._show = {Channel.STDOUT: screen.stdout, Channel.STDERR: screen.stderr}
        self._lines = {channel: Lines() for channel in self._show}
        self._streams = {channel: Output(script_run.max_output_bytes) for channel in self._show}
        self._both = Output(script_run.max_output_bytes)
        self._started = time.monotonic()

    def add(self, channel: Channel, data: bytes) -> None:
        """Take output of the process."""
        self._show[channel](data)
        self._keep(channel, self._lines[channel].feed(data))

    def result(self, end: ProcessEnd, script: Script, location: RunLocation) -> ScriptResult:
        """The result, after the last output. The value is read from stdout only."""
        for channel, lines in self._lines.items():
            self._keep(channel, lines.finish())
        stdout, stderr = self._streams[Channel.STDOUT], self._streams[Channel.STDERR]
        return ScriptResult.of_run(
            _run_end(end, self._script_run),
            location,
            self._both,
            time.monotonic() - self._started,
            script=script.facts,
            files=provenance.of_files(self._script_run.file_contents),
            value=stdout.value().value,
            stdout_tail=stdout.tail(),
            stderr_tail=None if self._script_run.terminal else stderr.tail(),
        )

    def _keep(self, channel: Channel, lines: list[bytes]) -> None:
        if lines:
            self._streams[channel].add(lines)
            self._both.add(lines)


def _run_end(end: ProcessEnd, script_run: ScriptRun) -> RunEnd:
    if end.timed_out:
        timeout = f"its timeout of {script_run.timeout:g} s"
        error = f"script was ended after {timeout}"
        if end.is_unknown:
            error = f"script ran longer than {timeout}, and may still be running: {end.cause}"
        return RunEnd(Status.TIMEOUT, end.exit_code, error, "Timeout")
    if end.exit_code == 0:
        return RunEnd(Status.COMPLETED, end.exit_code)
    return RunEnd(Status.FAILED, end.exit_code, end.cause or f"script failed: exit code {end.exit_code}", "Error")
