"""Run a script or a command in a running pod: choose the pod, start, read, end, and conclude."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from airflow_script_provider import exceptions
from airflow_script_provider._event_loop import raise_interruption_behind
from airflow_script_provider._shielded import ABANDON_TIMEOUT, shielded
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.execs.choose import ChosenPod, choose_pod, read_again, why_gone
from airflow_script_provider.execs.look import CHECK_PAUSE, CHECKS, UNREAD, look
from airflow_script_provider.execs.program import OutputRecorder, Program
from airflow_script_provider.kube import refusal
from airflow_script_provider.kube.durations import Deadline
from airflow_script_provider.kube.exec import ends
from airflow_script_provider.kube.exec import outcome as exec_outcome
from airflow_script_provider.kube.exec.ends import (
    SIGTERM_CHECKS,
    ConnectionBroken,
    ExecEnd,
    Exited,
    NotStarted,
    PodEnded,
    ShellKilled,
    Termination,
    TimedOut,
)
from airflow_script_provider.kube.exec.outcome import ExecCase, ExecOutput
from airflow_script_provider.kube.exec.request import ExecRequest
from airflow_script_provider.kube.exec.workloads import Gone
from airflow_script_provider.kube.hiding import Hide, hider, values_in
from airflow_script_provider.kube.job.outcomes import Outcome
from airflow_script_provider.kube.request.interpreters import Interpreter
from airflow_script_provider.kube.wording import signal_name
from airflow_script_provider.run_log import StreamsLog

DRAIN_TIMEOUT = 5.0
"""Seconds for the last output of a process that was ended."""
TERMINATION_MARGIN = 10.0
"""Seconds beyond the grace period for ending a process."""
POLL = 2.0
"""Seconds between two looks at a process that is being ended."""


@dataclass
class _Begun:
    """What a run has begun, and how its process was ended early, None if it was not."""

    program: Program
    chosen: ChosenPod
    since: float
    started_at: str
    termination: Termination | None = None


class ExecRun:
    """One run of a request; ``outcome`` may be awaited once.

    ``mask`` hides the secrets that it knows in a line. The values of the request are hidden, too.
    """

    def __init__(
        self, api: KubernetesApi, request: ExecRequest, log: StreamsLog, max_output_bytes: int, mask: Hide = str
    ) -> None:
        self.api = api
        self.request = request
        self.log = log
        self.output = ExecOutput.of(max_output_bytes)
        inputs = request.inputs
        self._hide = hider(values_in(inputs.env, inputs.args, inputs.arguments), mask)
        self._begun: _Begun | None = None
        self._outcome: Outcome | None = None

    async def outcome(self) -> Outcome:
        """Run and wait. An interruption ends the process, and gets a note that says how that went.

        ``TargetError`` says that there is no pod to run in. ``KubernetesApiError`` says what the
        API server refuses.
        """
        since, started_at = time.monotonic(), _now()
        chosen = await choose_pod(self.api, self.request.workload, self.request.options.container)
        begun = _Begun(self._program(chosen), chosen, since, started_at)
        self._log_choice(chosen, begun.program.invocation.interpreter)
        self._begun = begun
        try:
            end = await self._run(begun)
        except exceptions.ApiForbiddenError as error:
            raise _with_exec_rights(error, chosen.location.namespace) from None
        self._outcome = self._concluded(begun, end)
        return self._outcome

    @property
    def may_still_run(self) -> bool:
        """Whether the process of a run that was interrupted is not known to have ended."""
        begun = self._begun if self._outcome is None else None
        return begun is not None and (begun.termination is None or begun.termination.may_still_run)

    async def outlast_timeout(self, api: KubernetesApi) -> None:
        """Wait for the end of a process that the task's own time has interrupted.

        A helper in the pod sends SIGKILL after the grace period. ``api`` is a new session.
        """
        begun, within = self._begun, self.request.options.grace + TERMINATION_MARGIN
        if begun is None:
            return
        self.api = begun.program.api = api
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                if begun.termination is None or not begun.termination.is_certain:
                    begun.termination = await begun.program.end(self.request.options.grace, within)
                while begun.termination.may_still_run:
                    seen = await look(api, begun.chosen, begun.program.is_running)
                    is_gone = seen.pod_end is not None or seen.is_running is False
                    begun.termination = begun.termination._replace(may_still_run=not is_gone)
                    await asyncio.sleep(0 if is_gone else POLL)

    def own_outcome(self, interruption: str) -> Outcome | None:
        """The outcome that an interruption, a clause in the past, does not undo; None without one.

        It was known before, or the script had ended by itself before any signal of ours: then its
        own exit code counts.
        """
        begun = self._begun
        if self._outcome is not None or begun is None:
            return self._outcome
        own_end, termination = begun.program.reported_end, begun.termination
        if own_end is None or termination is None or termination.was_signalled:
            return None
        if own_end.got_sigterm:
            unlooked = f"{interruption} before the pod was looked at"
            return self._concluded(begun, ends.end_with_pod(own_end.code, unlooked, None))
        self._note_own_end()
        return self._concluded(begun, own_end)

    def outcome_of_timeout(self, deadline: Deadline) -> Outcome | None:
        """The outcome of a run that the task's own time has interrupted.

        None if the process is gone, unless there is an ``own_outcome``.
        """
        own = self.own_outcome(f"{deadline.argument} was over")
        if own is not None or self._begun is None or not self.may_still_run:
            return own
        self.request = replace(self.request, deadline=deadline)
        not_ended = self._begun.program.not_ended.description
        return self._concluded(self._begun, TimedOut(not_ended, may_still_run=True))

    def _concluded(self, begun: _Begun, end: ExecEnd) -> Outcome:
        times = {"started_at": begun.started_at, "finished_at": _now()}
        executed, seconds = begun.program.invocation.argv[0], time.monotonic() - begun.since
        location = begun.chosen.location
        case = ExecCase(self.request, executed, location, end, self.output, seconds, times, self._hide)
        concluded = exec_outcome.conclude(case)
        self.log.note(exec_outcome.summary(case, concluded.result))
        for warning in concluded.value.warnings:
            self.log.note(warning, logging.WARNING)
        return concluded

    def _program(self, chosen: ChosenPod) -> Program:
        invocation = self.request.invocation(chosen.location.image)
        recorder = OutputRecorder(self.log, self.output)
        return Program(self.api, chosen.target, invocation, recorder, self._read_pod_again)

    async def _read_pod_again(self) -> None:
        if self._begun is not None:
            self._begun.chosen = await read_again(self.api, self._begun.chosen)

    async def _run(self, begun: _Begun) -> ExecEnd:
        program, image = begun.program, begun.chosen.location.image
        end = await self._run_until_deadline(program, program.run)
        if isinstance(end, NotStarted) and end.failed_step == "sh" and self.request.is_bare:
            self.log.note(
                f"Image {image} has no sh, so the command runs without a shell: the API server's "
                "audit log shows the command's arguments, and neither a timeout nor a kill can end the command",
                logging.WARNING,
            )
            end = await self._run_until_deadline(program, program.run_without_shell)
        if isinstance(end, NotStarted):
            return await self._with_reason(end, program, begun.chosen)
        async with self._ended_if_interrupted(program):
            return await self._with_reason(end, program, begun.chosen)

    async def _run_until_deadline(self, program: Program, run: Callable[[], Coroutine[Any, Any, ExecEnd]]) -> ExecEnd:
        """Run to the end or to the deadline. An interruption ends the process first."""
        running = asyncio.ensure_future(run())
        try:
            async with self._ended_if_interrupted(program):
                began = time.monotonic()
                await asyncio.wait({running}, timeout=self.request.deadline.seconds)
                if not running.done():
                    return await self._time_out(program, running)
                fault = running.exception()
                if isinstance(fault, Exception) and not isinstance(fault, exceptions.ScriptProviderError):
                    return await self._end_after_fault(program, fault, time.monotonic() - began)
                return running.result()
        finally:
            running.cancel()
            await asyncio.wait({running})

    @contextlib.asynccontextmanager
    async def _ended_if_interrupted(self, program: Program) -> AsyncIterator[None]:
        """End the process if the block is interrupted; a note of the interruption says how."""
        try:
            yield
        except exceptions.ScriptProviderError:
            raise
        except BaseException as interruption:
            note = await shielded(self._end_quickly(program))
            interruption.add_note(note)
            self.log.note(note, logging.WARNING)
            raise

    async def _time_out(self, program: Program, running: asyncio.Future[ExecEnd]) -> ExecEnd:
        """End the process. If it had just ended by itself, its own exit code counts."""
        grace = self.request.options.grace
        self.log.note(f"{self.request.deadline.argument} is over: {self.request.noun} gets SIGTERM", logging.WARNING)
        termination = await program.end(grace, grace + TERMINATION_MARGIN)
        await asyncio.wait({running}, timeout=DRAIN_TIMEOUT)
        timed_out = TimedOut(termination.description, termination.may_still_run)
        found = running.result() if running.done() and running.exception() is None else program.reported_end
        end = ends.end_at_deadline(found, timed_out, was_signalled=termination.was_signalled)
        if isinstance(end, Exited):
            self._note_own_end()
        return end

    async def _end_after_fault(self, program: Program, fault: Exception, seconds: float) -> ExecEnd:
        """End the process after an error that is not foreseen; a known exit code counts."""
        raise_interruption_behind(fault)
        if end := program.reported_end:
            return end
        trace = "".join(traceback.format_tb(fault.__traceback__))
        self.log.note(f"{type(fault).__name__}: {self.request.noun} gets SIGTERM\n{trace}", logging.ERROR)
        await program.end(self.request.options.grace, self.request.options.grace + TERMINATION_MARGIN)
        return ConnectionBroken(f"{type(fault).__name__} in the worker", seconds)

    async def _end_quickly(self, program: Program) -> str:
        """End the process in the few seconds that Airflow leaves; return how that went."""
        termination = await program.end(self.request.options.grace, ABANDON_TIMEOUT)
        if self._begun is not None:
            self._begun.termination = termination
        return f"In pod {program.target} {termination.description}."

    async def _with_reason(self, end: ExecEnd, program: Program, chosen: ChosenPod) -> ExecEnd:
        """The end, completed by the state of pod and process where the end itself is unclear."""
        match end:
            case Exited(code, got_sigterm) if got_sigterm or signal_name(code):
                checks, if_unread = (SIGTERM_CHECKS, None if code else UNREAD) if got_sigterm else (CHECKS, None)
                why = await self._why_gone(chosen, checks, if_unread)
                return ends.end_with_pod(code, why.why, why.reason) if why else end
            case NotStarted("killed"):
                why = await self._why_gone(chosen)
                return PodEnded(why.why, reason=why.reason) if why else end
            case ConnectionBroken():
                return await self._with_look(end, program, chosen)
            case ShellKilled():
                await self._why_gone(chosen)
                return await self._with_look(end, program, chosen)
            case _:
                return end

    async def _with_look(self, end: ConnectionBroken | ShellKilled, program: Program, chosen: ChosenPod) -> ExecEnd:
        """The end, with whether the process still runs; or that of the pod, which has ended it."""
        seen = await look(self.api, chosen, program.is_running)
        if over := seen.pod_end:
            return PodEnded(over.why, end.code if isinstance(end, ShellKilled) else None, over.reason)
        if seen.why:
            word = f" ({seen.why.reason})" if seen.why.reason else ""
            self.log.note(f"The pod is being deleted{word}, but its end was not reported", logging.WARNING)
        process = program.own_lines.process
        return replace(end, is_running=seen.is_running, process_group=process.group if process else None)

    async def _why_gone(self, chosen: ChosenPod, checks: int = CHECKS, if_unread: Gone | None = None) -> Gone | None:
        """Why the pod or container ended. Kubelet reports a container's end a moment later."""
        for check in range(checks):
            await asyncio.sleep(CHECK_PAUSE if check else 0)
            if why := await why_gone(self.api, chosen, if_unread):
                return why
        return None

    def _note_own_end(self) -> None:
        self.log.note(f"{self.request.noun} had ended by itself before that, so its exit code counts")

    def _log_choice(self, chosen: ChosenPod, interpreter: Interpreter | None) -> None:
        location = chosen.location
        reason = f", {location.chosen_as}" if location.chosen_as else ""
        self.log.note(f"Pod {location}, container {location.container} (image {location.image}){reason}")
        if interpreter is not None:
            self.log.note(f"Interpreter: {' '.join(interpreter.argv)} (by {interpreter.chosen_by})")


def _with_exec_rights(error: exceptions.ApiForbiddenError, namespace: str) -> exceptions.ApiForbiddenError:
    """The refusal with both rights that an exec needs.

    A GET opens a websocket, and newer API servers also check the right to create.
    """
    return error.with_message(refusal.with_exec_rights(error.message, namespace))


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
