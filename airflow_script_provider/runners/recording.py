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

_UNLOOKED = "its timeout was over before it was known whether its pod or container ended as well"


@dataclass(frozen=True)
class ProcessEnd:
    """How a process ended.

    ``cause`` says why the process has no exit code of its own, or why it was not started. With
    ``is_unknown`` its outcome is unknown, and without an exit code it may still run.
    ``got_sigterm`` says that its shell also got SIGTERM, and that nothing has looked yet whether
    its pod or container has ended with it.
    """

    exit_code: int | None
    timed_out: bool = False
    cause: str | None = None
    is_unknown: bool = False
    got_sigterm: bool = False


def ended_with_container(end: ProcessEnd, why: str) -> ProcessEnd:
    """The end of a script whose pod or container has ended as well, for this reason.

    After a SIGTERM, a script that ends with 0 may have stopped half-way.
    """
    if end.exit_code == 0:
        cause = f"outcome unknown: script ended with exit code 0 after a SIGTERM; {why}"
        return ProcessEnd(0, cause=cause, is_unknown=True)
    return ProcessEnd(end.exit_code, cause=f"script failed: {why}")


def end_at_deadline(found: ProcessEnd | None, termination: Termination) -> ProcessEnd:
    """The end of a script whose timeout was over before its end was known.

    ``found`` is the end that was known afterwards, None without one. Its exit code counts if the
    script had ended by itself, before any signal of ours. Any exit code shows that it has ended.
    But 0 after a SIGTERM is not a success as long as nothing has looked at pod or container.
    """
    has_ended = found is not None and found.exit_code is not None
    if found is not None and has_ended and not termination.was_signalled:
        is_stopped = found.got_sigterm and found.exit_code == 0
        return ended_with_container(found, _UNLOOKED) if is_stopped else found
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
    if end.exit_code == 0 and not end.is_unknown:
        return RunEnd(Status.COMPLETED, end.exit_code)
    return RunEnd(Status.FAILED, end.exit_code, end.cause or f"script failed: exit code {end.exit_code}", "Error")
