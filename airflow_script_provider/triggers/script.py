"""``ScriptTrigger``: follow a script's Job in the triggerer, with its log, until it is over."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import time
from collections.abc import AsyncIterator, Container, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from airflow_script_provider import exceptions
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.jobs import launching
from airflow_script_provider.jobs.answers import saved_progress
from airflow_script_provider.jobs.context import JobContext
from airflow_script_provider.jobs.follow import Followed, Follower
from airflow_script_provider.jobs.job_logs import read_once_more
from airflow_script_provider.kube.job import earlier_tries, termination
from airflow_script_provider.kube.job.follow_state import FollowState, JobEnd, saved_end, to_event
from airflow_script_provider.kube.job.observed.view import View
from airflow_script_provider.kube.job.verdict import Cause, Verdict
from airflow_script_provider.kube.labels import FOLLOW_STATE_ANNOTATION, SCRIPT_CONTAINER
from airflow_script_provider.kube.logs.container_logs import LogKey
from airflow_script_provider.kube.pods import pod_status
from airflow_script_provider.run_log import LinesOnly
from airflow_script_provider.triggers._base import LOG_SILENCE, JobTrigger
from airflow_script_provider.triggers.shared_cluster import SharedCluster

JOB_EXPIRY_MARGIN = 5.0
"""Seconds after the task's own time in which its Job may end by its own deadline."""
SAVE_INTERVAL = 30.0
"""Seconds between two savings of the log position of a script that prints."""
SAVED_WAITS = 5
"""How often at most a wait for a node is saved until its ``schedule_timeout``."""
UNREAD_TIMEOUT = 3600
"""Seconds for a worker, after which a Job ends that has no deadline of its own."""


class ScriptTrigger(JobTrigger):
    """
    Follow a launched Job until it is over; its log goes live into the task's.

    The event has the Job and either ``ended``, what the result is made of, or ``handed_back``, why
    the triggerer could not follow it: then a worker does.
    """

    _follower: Follower | None = None
    _has_waited = False
    """Whether the state that is saved on the Job may have a wait for a node."""

    async def _follow(self, cluster: SharedCluster) -> dict[str, Any]:
        ref = self._launched.ref
        found = await cluster.changes_in(ref.namespace).job(ref)
        if found is None:  # deleted, or this is another cluster, which may have the same address
            raise launching.not_found(ref, cluster.api.host, self.server)
        if (end := saved_end(found)) is not None:  # the triggerer that saw it was lost before its event
            return to_event(self.job, end)
        log = self._open_log()
        now = cluster.api.now()
        start, until = self._start(found, now), self._time_is_over_at(found, now)
        self._follower, self._has_waited = self._new_follower(cluster, start), start.waited > 0
        save_at_the_end = partial(self._save, cluster.api, is_final=True)
        savings = [self._save_waits(cluster.api, self._follower)]
        savings += [self._save_along(cluster.api)] if log.lines is not None else []
        async with self._saving_at_the_end(save_at_the_end):
            async with _in_the_background(savings):
                followed = await self._followed(self._follower, until)
            end = await self._ended(cluster.api, self._follower, followed)
        is_kept = _is_kept_for_its_output(end.verdict, end.view)
        if termination.may_be_refuted(end.view, end.verdict) and not is_kept:
            return self._handed_back(f"{end.verdict.cause.value}: Job {ref} could not be deleted")
        return to_event(self.job, end)

    def _handed_back(self, reason: str) -> dict[str, Any]:
        return to_event(self.job, self._position(), reason)

    def _new_follower(self, cluster: SharedCluster, start: FollowState) -> Follower:
        return Follower(
            JobContext(cluster.api, self._launched, self._run_log),
            cluster.changes_in(self._launched.ref.namespace),
            start,
            keeps_output=False,
            slots=cluster.slots,
            log_silence=LOG_SILENCE,
        )

    def _start(self, job: Mapping[str, Any], now: datetime) -> FollowState:
        """Where the last triggerer stopped, else the worker; ``now`` is the API server's time."""
        given, holds_lines = FollowState.from_dict(self.handover), self._launched.holds_lines
        return saved_progress.resumed(job, given, self._run_log, now, holds_lines=holds_lines)

    def _position(self) -> FollowState:
        """How far this follower came; lines that are held are still to be shown.

        Without a follower, what an earlier triggerer saved on the Job may be further.
        """
        if self._follower is None:
            return replace(FollowState.from_dict(self.handover), is_final=False)
        state = self._follower.state
        return replace(state, logs=FollowState.from_dict(self.handover).logs) if self._launched.holds_lines else state

    def _time_is_over_at(self, job: Mapping[str, Any], now: datetime) -> float | None:
        """When to end the Job, by the monotonic clock; ``now`` is the API server's time."""
        if self.expires_at is None:
            return None
        left = earlier_tries.seconds_until(self.expires_at, self._launched.launched_at, job, now)
        return time.monotonic() + max(0.0, left) + JOB_EXPIRY_MARGIN

    async def _followed(self, follower: Follower, until: float | None) -> Followed:
        """The Job followed to its end, or to the end of the task's own time."""
        return await (follower.follow() if until is None else follower.follow_or_end(until))

    async def _ended(self, api: KubernetesApi, follower: Follower, followed: Followed) -> JobEnd:
        seconds, verdict = time.time() - self._launched.launched_at, followed.verdict
        if verdict.cause is Cause.DEADLINE and verdict.delete_job:  # the task's own time ended it
            deadline = self.execution_timeout or round(seconds)
            limits = replace(self._launched.limits, deadline=deadline, deadline_name="execution_timeout")
            self._job = replace(self._launched, limits=limits)
        end = JobEnd(verdict, follower.view, seconds, self._position(), follower.kept_for(verdict))
        if not verdict.delete_job or _is_kept_for_its_output(verdict, follower.view):
            return end
        # Now, not when a worker has time: what should not start must not start meanwhile.
        end, may_go = await self._with_output(api, end, follower.state.logs)
        if may_go and await self._end_job(api, end):
            return replace(end, view=replace(end.view, job_deleted=True))
        return end

    async def _with_output(self, api: KubernetesApi, end: JobEnd, read: Container[LogKey]) -> tuple[JobEnd, bool]:
        """The end with the output of a pod that is to go; False if a worker is to read that first.

        The follower may have read only a part of the log, or nothing. Of a log that was ``read``
        it has reported what is wrong with it.
        """
        pod, kept = termination.ended_pod(end.view, end.verdict), end.kept
        if pod is None or kept.is_whole or (kept.text and not (kept.lacks_start or kept.lacks_end)):
            return end, True
        is_reported = (pod_status.uid(pod), SCRIPT_CONTAINER) in read
        context = JobContext(api, self._launched, LinesOnly(self._run_log) if is_reported else self._run_log)
        found = await read_once_more(context, end.state, end.view, end.verdict)
        if found.kept.size >= kept.size and not (found.kept.lacks_end and kept.text):
            end = replace(end, kept=found.kept)
        if not self._launched.holds_lines:
            end = replace(end, state=replace(end.state, logs=found.positions))
        if found.is_lost or not found.kept.lacks_end or not termination.may_be_left(end.view, end.verdict):
            return end, True
        where = f"The log of pod {pod_status.name(pod)} cannot be read in the triggerer"
        self._run_log.note(f"{where}, so Job {self._launched.ref} is left to a worker", logging.WARNING)
        return end, False

    async def _end_job(self, api: KubernetesApi, end: JobEnd) -> bool:
        """Let nothing of the Job start any more; whether it is deleted.

        It is deleted, unless a worker may be lost before it has saved an outcome that is not tried
        again: then the next try takes it from the Job.
        """
        ref = self._launched.ref
        if termination.ends_the_tries(end.view, end.verdict, self._launched.limits):
            deadline = None
            if "activeDeadlineSeconds" not in end.view.job.get("spec", {}):
                passed = earlier_tries.seconds_on_the_clock(end.view.job, api.now()) or 0
                deadline = math.ceil(passed) + UNREAD_TIMEOUT
            text = await asyncio.to_thread(end.to_text)
            if await launching.leave_ended(api, ref, text, deadline):
                return False
        return await launching.remove(api, ref)

    async def _save_along(self, api: KubernetesApi) -> None:
        """Save the position of a script that prints, for the case that this process is killed."""
        while True:
            await self._run_log.printed.wait()
            self._run_log.printed.clear()
            with contextlib.suppress(exceptions.KubernetesApiError):
                await self._save(api, is_final=False)
            await asyncio.sleep(SAVE_INTERVAL)

    async def _save_waits(self, api: KubernetesApi, follower: Follower) -> None:
        """Save how long the run waits for a node, for the same case, and when it has one."""
        while True:
            await asyncio.sleep(max(SAVE_INTERVAL, self._launched.limits.schedule_timeout / SAVED_WAITS))
            is_waiting = follower.state.waited > 0
            if is_waiting or self._has_waited:
                self._has_waited = True
                with contextlib.suppress(exceptions.KubernetesApiError):
                    await self._save(api, is_final=False)
                    self._has_waited = is_waiting
            if follower.view.has_begun:
                return

    async def _save(self, api: KubernetesApi, *, is_final: bool) -> None:
        position = self._position()
        has_waited = position.waited or position.worked or self._has_waited
        if not (self._run_log.has_printed or position.disruptions or has_waited):
            return
        saved = replace(position, is_final=is_final)
        metadata = {
            "uid": self._launched.ref.uid,
            "annotations": {FOLLOW_STATE_ANNOTATION: json.dumps(saved.to_dict(), separators=(",", ":"))},
        }
        await api.patch("jobs", self._launched.ref.namespace, self._launched.ref.name, {"metadata": metadata})


@asynccontextmanager
async def _in_the_background(works: Iterable[Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Do some work while the block runs."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()


def _is_kept_for_its_output(verdict: Verdict, view: View) -> bool:
    """Whether the Job stays until a worker has read the output of its deciding pod.

    Where Kubernetes may go on with other pods, the trigger keeps the output, and the pod goes.
    """
    if verdict.ends_pods or termination.may_be_repeated(view, verdict):
        return False
    pod = view.pods.get(verdict.pod_uid or "")
    return pod is not None and verdict.pod_uid not in view.gone and pod_status.script_end(pod) is not None
