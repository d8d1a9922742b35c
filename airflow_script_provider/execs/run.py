"""A run in a pod that is there: choose it, start, read, end, tell."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from airflow_script_provider import exceptions
from airflow_script_provider._shielded import ABANDON_TIMEOUT, shielded
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.execs.choose import Chosen, choose, why_gone
from airflow_script_provider.execs.program import Program, Streams
from airflow_script_provider.kube import refusal
from airflow_script_provider.kube.exec import outcome as exec_outcome
from airflow_script_provider.kube.exec.outcome import (
    Broken,
    End,
    ExecCase,
    Exited,
    NotStarted,
    PodEnded,
    Printed,
    TimedOut,
)
from airflow_script_provider.kube.exec.request import ExecRequest
from airflow_script_provider.kube.job.outcomes import Outcome
from airflow_script_provider.kube.wording import signal_name
from airflow_script_provider.run_log import StreamsLog

LAST_WORDS = 5.0
"""Seconds for what a process has printed before it was ended."""
MARGIN = 10.0
"""Seconds beyond the grace period for ending a process."""
_LOOKS, _PAUSE = 3, 1.0


class ExecRun:
    """One run of a request; ``outcome`` may be awaited once."""

    def __init__(self, api: KubernetesApi, request: ExecRequest, log: StreamsLog, max_output_bytes: int) -> None:
        self.api = api
        self.request = request
        self.log = log
        self.printed = Printed.of(max_output_bytes)

    async def outcome(self) -> Outcome:
        """Run and wait. An interruption ends the process and bears a note of what became of it.

        Raises ``TargetError`` where there is no pod to run in, ``KubernetesApiError`` where the API server refuses.
        """
        began, started_at = time.monotonic(), _now()
        chosen = await choose(self.api, self.request.workload, self.request.options.container)
        self._say_chosen(chosen)
        program = self._program(chosen)
        try:
            end = await self._run(program, chosen)
        except exceptions.ApiForbiddenError as error:
            raise _both_rights(error, chosen.place.namespace) from None
        times = {"started_at": started_at, "finished_at": _now()}
        case = ExecCase(self.request, chosen.place, end, self.printed, time.monotonic() - began, times)
        concluded = exec_outcome.conclude(case)
        self.log.note(exec_outcome.summary(case, concluded.result))
        for warning in concluded.value.warnings:
            self.log.note(warning, logging.WARNING)
        return concluded

    def _program(self, chosen: Chosen) -> Program:
        invocation = self.request.invocation(chosen.place.image)
        return Program(self.api, chosen.target, invocation, Streams(self.log, self.printed))

    async def _run(self, program: Program, chosen: Chosen) -> End:
        end = await self._until_deadline(program, program.run)
        if isinstance(end, NotStarted) and end.what == "sh" and self.request.is_bare:
            self.log.note(
                f"Image {chosen.place.image} has no sh, so the command runs without it: its words stand in the API "
                "server's audit log, and a timeout or kill cannot end it",
                logging.WARNING,
            )
            end = await self._until_deadline(program, program.run_without_shell)
        return await self._with_reason(end, program, chosen)

    async def _until_deadline(self, program: Program, run: Callable[[], Coroutine[Any, Any, End]]) -> End:
        """Run to the end or to the deadline; whatever interrupts, the process is ended first."""
        running = asyncio.ensure_future(run())
        try:
            await asyncio.wait({running}, timeout=self.request.deadline.seconds)
            if running.done():
                return running.result()
            return await self._time_out(program, running)
        except exceptions.ScriptProviderError:
            raise
        except BaseException as interruption:
            fate = await shielded(self._abandon(program))
            interruption.add_note(fate)
            self.log.note(fate, logging.WARNING)
            raise
        finally:
            running.cancel()
            await asyncio.wait({running})

    async def _time_out(self, program: Program, running: asyncio.Future[End]) -> TimedOut:
        grace = self.request.options.grace
        self.log.note(f"{self.request.deadline.argument} is over: {self.request.noun} gets SIGTERM", logging.WARNING)
        ending = await program.end(grace, grace + MARGIN)
        await asyncio.wait({running}, timeout=LAST_WORDS)
        return TimedOut(ending.words, ending.may_run)

    async def _abandon(self, program: Program) -> str:
        """End the process in the few seconds that Airflow leaves; what came of it."""
        ending = await program.end(self.request.options.grace, ABANDON_TIMEOUT)
        return f"In pod {program.target} {ending.words}."

    async def _with_reason(self, end: End, program: Program, chosen: Chosen) -> End:
        """The end with what became of pod or process, where the end itself does not tell."""
        if isinstance(end, Exited) and signal_name(end.code):
            why = await self._why_gone(chosen)
            return PodEnded(why, end.code) if why else end
        if not isinstance(end, Broken):
            return end
        runs, why = None, None
        for _ in range(_LOOKS):
            why, runs = await why_gone(self.api, chosen), await program.runs()
            if why or runs is not None:
                break
            await asyncio.sleep(_PAUSE)
        if why and not runs:
            return PodEnded(why)
        process = program.preamble.process
        return replace(end, runs=runs, process=process.group if process else None)

    async def _why_gone(self, chosen: Chosen) -> str | None:
        """Why the pod or container ended; kubelet tells of a container a moment later."""
        for look in range(_LOOKS):
            await asyncio.sleep(_PAUSE if look else 0)
            if why := await why_gone(self.api, chosen):
                return why
        return None

    def _say_chosen(self, chosen: Chosen) -> None:
        place = chosen.place
        owner = f", {place.owner}" if place.owner else ""
        self.log.note(f"Pod {place}, container {place.container} (image {place.image}){owner}")
        interpreter = self.request.interpreter(place.image)
        if interpreter is not None:
            self.log.note(f"Interpreter: {' '.join(interpreter.argv)} (by {interpreter.chosen_by})")


def _both_rights(error: exceptions.ApiForbiddenError, namespace: str) -> exceptions.ApiForbiddenError:
    """A websocket is opened by a GET, and newer API servers ask for the right to create as well."""
    return error.with_message(refusal.with_exec_rights(error.message, namespace))


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
