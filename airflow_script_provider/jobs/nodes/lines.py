"""The lines of runs on nodes in one log: live where one node runs at a time, else one group for each run, whole."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.api.stream_slots import StreamSlots
from airflow_script_provider.jobs.pod_log import SILENCE, PodLog
from airflow_script_provider.kube.job import pod_status
from airflow_script_provider.kube.job.follow_state import FollowState
from airflow_script_provider.kube.job.launched import LaunchedJob
from airflow_script_provider.kube.job.progress import View
from airflow_script_provider.kube.labels import INSTALL_CONTAINER, SCRIPT_CONTAINER
from airflow_script_provider.kube.logs.output import Output
from airflow_script_provider.kube.logs.prelude import Prelude
from airflow_script_provider.run_log import RunLog

BUFFER = 1024 * 1024
"""Bytes of a run's lines that wait for the lines of another; what is longer is read when its turn has come."""

_CONTAINERS = (INSTALL_CONTAINER, SCRIPT_CONTAINER)


@dataclass
class RunLines:
    """The logs of a run's pods, one container after the other. ``show`` gets the lines that are new since ``start``."""

    api: KubernetesApi
    job: LaunchedJob
    show: Callable[[list[str]], None]
    note: Callable[[str], None]
    start: FollowState = field(default_factory=FollowState)
    slots: StreamSlots | None = None
    silence: float = SILENCE
    output: Output = field(default_factory=Output)
    _view: View = field(default_factory=View)
    _read: dict[tuple[str, str], PodLog] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _is_over: bool = False

    def see(self, view: View, *, is_over: bool = False) -> None:
        """The run as it is now; ``is_over``: no other container will run."""
        self._view, self._is_over = view, self._is_over or is_over
        for (uid, container), log in self._read.items():
            if is_over or uid in view.gone or _has_ended(view.pods[uid], container):
                log.gone = uid in view.gone
                log.ended.set()
        self._changed.set()

    async def follow(self) -> None:
        """Show the lines until everything that was seen to run has ended."""
        while True:
            self._changed.clear()
            for uid, container in self._unread():
                await self._follow(uid, container)
            if self._is_over and not self._unread():
                return
            await self._changed.wait()

    @property
    def position(self) -> FollowState:
        """How far the lines were shown."""
        return FollowState({key: log.position for key, log in self._read.items()})

    def _unread(self) -> list[tuple[str, str]]:
        begun = [(uid, name) for uid, pod in self._view.pods.items() for name in _CONTAINERS if _has_begun(pod, name)]
        return [key for key in begun if key not in self._read]

    async def _follow(self, uid: str, container: str) -> None:
        prelude = Prelude(self.job.mark if container == SCRIPT_CONTAINER else None)

        def deliver(lines: Sequence[bytes], new: Sequence[bytes]) -> None:
            if container == SCRIPT_CONTAINER:
                self.output.add(prelude.of_script(lines))
            self.show([line.decode("utf-8", "replace").removesuffix("\n") for line in prelude.shown(new)])

        position = self.start.position(uid, container)
        log = PodLog(
            self.api,
            self.job.ref.namespace,
            pod_status.name(self._view.pods[uid]),
            deliver,
            self.note,
            container,
            start=position,
            again=bool(position.newest),
            slots=self.slots,
            silence=self.silence,
        )
        self._read[uid, container] = log
        self.see(self._view, is_over=self._is_over)
        await log.follow()


@dataclass
class NodeLines:
    """Shows the lines of all runs: ``live`` ones as they come, others when they have ended, never mixed."""

    api: KubernetesApi
    job: LaunchedJob
    log: RunLog
    slots: StreamSlots | None = None
    silence: float = SILENCE
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def live(self, start: FollowState) -> RunLines:
        """The lines of a run that no other runs beside."""
        return RunLines(self.api, self.job, self._show, self._note, start, self.slots, self.silence, Output(self._most))

    async def whole(self, view: View, title: str) -> Output:
        """Show a run that has ended, as one group."""
        waiting: list[str] = []
        is_too_long = asyncio.Event()
        size = 0

        def keep(lines: list[str]) -> None:
            nonlocal size
            size += sum(map(len, lines))
            waiting.extend(lines if size <= BUFFER else ())
            if size > BUFFER:
                is_too_long.set()

        output = await self._unless(is_too_long, self._ended(view, keep, self._note))
        async with self._turn:
            self.open(title)
            if output is None:
                waiting.clear()
                output = await self._ended(view, self._show, self._note)
            self._show(waiting)
            self.close()
        return output

    def open(self, title: str) -> None:
        """Begin a group."""
        self._show([f"::group::{title}"])

    def close(self) -> None:
        """End it."""
        self._show(["::endgroup::"])

    @property
    def _most(self) -> int:
        return self.job.max_output_bytes

    async def _ended(self, view: View, show: Callable[[list[str]], None], note: Callable[[str], None]) -> Output:
        """The output of a run whose containers have ended."""
        lines = RunLines(self.api, self.job, show, note, output=Output(self._most))
        lines.see(view, is_over=True)
        await lines.follow()
        return lines.output

    @staticmethod
    async def _unless(event: asyncio.Event, reading: Any) -> Output | None:
        """What is read, None if the event comes first."""
        read, stopped = asyncio.ensure_future(reading), asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait({read, stopped}, return_when=asyncio.FIRST_COMPLETED)
            return await read if read.done() and not event.is_set() else None
        finally:
            for task in (read, stopped):
                task.cancel()
            await asyncio.wait({read, stopped})

    def _show(self, lines: list[str]) -> None:
        if self.job.get_logs and lines:
            self.log.output(lines)

    def _note(self, text: str) -> None:
        self.log.note(text, logging.WARNING)


def _has_begun(pod: Mapping[str, Any], container: str) -> bool:
    if container == INSTALL_CONTAINER:
        return pod_status.installation_has_started(pod)
    return pod_status.script_has_started(pod)


def _has_ended(pod: Mapping[str, Any], container: str) -> bool:
    if container == INSTALL_CONTAINER:
        return pod_status.install_end(pod) is not None
    return pod_status.script_end(pod) is not None
