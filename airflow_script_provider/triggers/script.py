"""``ScriptTrigger``: follow a script's Job in the triggerer, with its log, until it is over."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from asgiref.sync import sync_to_async

from airflow_script_provider import _shielded, exceptions
from airflow_script_provider._airflow import AirflowNotFoundException, output_logger, task_identity, task_state
from airflow_script_provider._airflow_triggers import HAS_ON_KILL, BaseTrigger, TriggerEvent
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.clusters.access import DEFAULT_CONN_ID, ClusterAccess, ClusterRef
from airflow_script_provider.jobs import launching
from airflow_script_provider.jobs.follow import Followed, Follower
from airflow_script_provider.kube.job import adoption, pod_status
from airflow_script_provider.kube.job.follow_state import FollowState, JobEnd, saved_state, to_event
from airflow_script_provider.kube.job.launched import LaunchedJob
from airflow_script_provider.kube.job.progress import Cause, Verdict, View
from airflow_script_provider.kube.labels import FOLLOW_STATE_ANNOTATION, READ_ANNOTATION
from airflow_script_provider.run_log import OUTPUT_LOGGER, CountingRunLog
from airflow_script_provider.triggers.shared_cluster import SharedCluster, shared_access, shared_cluster

EXPIRY_MARGIN = 5.0
"""Seconds after the task's own time in which its Job, whose deadline is the same, may end by itself."""
KILL_TIMEOUT = 28.0
"""Seconds for everything that ``on_kill`` does; Airflow gives it thirty."""
STATE_TIMEOUT = 20.0
"""Seconds for Airflow to tell the state of a task: a thousand may ask together when their run is marked."""
SAVE_INTERVAL = 30.0
"""Seconds between two savings of the log position of a script that prints."""
SAVE_TIMEOUT = 5.0
"""Seconds that saving may take when the triggerer ends."""
LOG_SILENCE = 300.0
"""Seconds without a byte after which a log stream is opened anew."""


class JobEvent(TriggerEvent):
    """An event that names its Job alone: Airflow writes every event into the task's log, with all that it carries."""

    def __init__(self, payload: dict[str, Any]) -> None:
        super().__init__(payload)  # type: ignore[no-untyped-call]  # not annotated in Airflow

    def __repr__(self) -> str:
        ref = self.payload["job"]["ref"]
        return f"Job {ref['namespace']}/{ref['name']}"


class ScriptTrigger(BaseTrigger):
    """
    Follow a launched Job until it is over; its log goes live into the task's.

    The event has the Job and either ``ended``, what the result is made of, or ``handed_back``, why the triggerer could
    not follow it: then a worker does. All arguments are names, positions and times of day; the credentials come from
    the connection, which is looked up here.

    :param job: what was launched, as ``LaunchedJob.to_dict`` has it.
    :param handover: how far the worker came, as ``FollowState.to_dict`` has it.
    :param kubernetes_conn_id: connection to the cluster.
    :param in_cluster: use the triggerer pod's service account.
    :param config_file: path of a kubeconfig on the triggerer.
    :param cluster_context: context of the kubeconfig.
    :param server: address of the API server that the worker has used.
    :param expires_at: when the task's ``execution_timeout`` is over, in seconds since 1970.
    :param execution_timeout: that timeout, in seconds.
    :param in_one_process: the process of the task awaits this trigger, too. A triggerer that finds it leaves it alone.
    """

    def __init__(
        self,
        *,
        job: Mapping[str, Any],
        handover: Mapping[str, Any] | None = None,
        kubernetes_conn_id: str | None = DEFAULT_CONN_ID,
        in_cluster: bool | None = None,
        config_file: str | None = None,
        cluster_context: str | None = None,
        server: str | None = None,
        expires_at: float | None = None,
        execution_timeout: float | None = None,
        in_one_process: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # not annotated in Airflow
        self._job: Mapping[str, Any] | LaunchedJob = job
        self.handover = dict(handover or {})
        self.cluster = ClusterRef(kubernetes_conn_id, in_cluster, config_file, cluster_context)
        self.server = server
        self.expires_at = expires_at
        self.execution_timeout = execution_timeout
        self.in_one_process = in_one_process
        self._follower: Follower | None = None
        self._run_log = CountingRunLog(self.log, None)
        self._has_begun = False
        self._is_over = False

    @property
    def job(self) -> dict[str, Any]:
        """What was launched, as it is stored."""
        return self._job.to_dict() if isinstance(self._job, LaunchedJob) else dict(self._job)

    @property
    def _launched(self) -> LaunchedJob:
        # Not in the constructor: what it raises there would end the whole triggerer. And not kept beside the stored
        # form, because there may be thousands of triggers.
        if not isinstance(self._job, LaunchedJob):
            self._job = LaunchedJob.from_dict(self._job)
        return self._job

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        arguments = {
            "job": self.job,
            "handover": self.handover,
            **self.cluster.to_dict(),
            "server": self.server,
            "expires_at": self.expires_at,
            "execution_timeout": self.execution_timeout,
            "in_one_process": self.in_one_process,
        }
        return "airflow_script_provider.triggers.script.ScriptTrigger", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """One event, when the Job is over or cannot be followed here."""
        await self._leave_to_the_task()
        try:
            ended = await self._follow()
            event = to_event(self.job, ended)
        except Exception as error:  # healthy work must not fail for what goes wrong here
            if not isinstance(error, exceptions.ScriptProviderError | AirflowNotFoundException | ValueError):
                self.log.exception("Following the Job failed in an unexpected way; a worker goes on with it")
            event = to_event(self.job, self._position(), _words(error))
        event["server"] = self.server
        self._is_over = True
        yield JobEvent(event)

    async def on_kill(self) -> None:
        """Delete the Job, if a user acted on the task.

        Airflow calls this, too, when another triggerer has taken over: then the task is still deferred. It cancels a
        trigger anew each second until it has ended, and this with it.
        """
        if self.in_one_process:
            return
        await _shielded.shielded(self._delete_in_time())

    async def cleanup(self) -> None:
        """Before Airflow 3.3, which has ``on_kill``: look whether a user acted on the task. Cancelled as that is."""
        if HAS_ON_KILL or self._is_over or not self._has_begun:
            return
        with contextlib.suppress(exceptions.ScriptProviderError):
            await _shielded.shielded(self._delete_in_time())

    async def _leave_to_the_task(self) -> None:
        """Wait until cancelled, if this is a triggerer and the task's own process awaits the trigger.

        ``airflow tasks test`` stores the trigger like any other for a moment, and then calls the task queued.
        """
        if self.in_one_process and getattr(self, "task_instance", None) is not None:
            await asyncio.get_running_loop().create_future()

    async def _delete_in_time(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KILL_TIMEOUT):
                await self._delete_if_the_task_is_over()

    async def _delete_if_the_task_is_over(self) -> bool:
        state = await self._state_of_task()
        if state in (None, "deferred", "running"):
            return False
        async with shared_cluster(await self._access()) as cluster:
            if await self._is_in_good_hands(cluster.api, state):
                return False
            deleted = await launching.abandon(cluster.api, self._launched.ref)
        self._run_log.note(f"The task is {state}. {launching.fate(self._launched.ref, deleted=deleted)}")
        return True

    async def _is_in_good_hands(self, api: KubernetesApi, state: str) -> bool:
        """Whether another triggerer has followed the Job to its end, and a worker reads its outcome or has read it."""
        try:
            job = await api.get("jobs", self._launched.ref.namespace, self._launched.ref.name)
        except exceptions.ApiNotFoundError:
            return True
        is_read = READ_ANNOTATION in (job["metadata"].get("annotations") or {})
        return is_read or (state in ("scheduled", "queued") and adoption.has_ended(job))

    async def _state_of_task(self) -> str | None:
        """What Airflow says of the task, None where it does not answer."""
        ask = sync_to_async(task_state, thread_sensitive=False)  # else all triggers would share one thread
        try:
            async with asyncio.timeout(STATE_TIMEOUT):
                return await ask(task_identity({"ti": self.task_instance}))
        except Exception:  # noqa: BLE001  # whatever keeps Airflow from answering, there is no answer
            return None

    async def _follow(self) -> JobEnd:
        async with shared_cluster(await self._access()) as cluster:
            changes = cluster.changes_in(self._launched.ref.namespace)
            found = await changes.job(self._launched.ref)
            if found is None:  # deleted, or this is another cluster, which may have the same address
                raise launching.not_found(self._launched.ref, cluster.api.host, self.server)
            lines = output_logger(OUTPUT_LOGGER) if self._launched.get_logs else None
            self._run_log = CountingRunLog(self.log, lines)
            self._follower = self._new_follower(cluster, self._start(found, cluster.api.now()))
            self._has_begun = True
            try:
                async with self._saving(cluster.api) if lines is not None else contextlib.nullcontext():
                    ending = await self._follower.follow_until(self._expiry(), surely=True)
            except asyncio.CancelledError as cancelled:
                # A triggerer that ends answers no lookup of a connection any more, so not in cleanup().
                if not cancelled.args:  # Airflow gives a reason where it is not the triggerer that ends
                    await self._save_in_time(cluster.api)
                raise
            return await self._ended(cluster.api, self._follower, ending)

    async def _access(self) -> ClusterAccess:
        return await shared_access(self.cluster)

    def _new_follower(self, cluster: SharedCluster, start: FollowState) -> Follower:
        return Follower(
            cluster.api,
            self._launched,
            self._run_log,
            cluster.changes_in(self._launched.ref.namespace),
            start,
            keeps_output=False,
            slots=cluster.slots,
            log_silence=LOG_SILENCE,
        )

    def _start(self, job: Mapping[str, Any] | None, now: datetime) -> FollowState:
        """Where the last triggerer stopped, else the worker; ``now`` is the API server's time."""
        given = FollowState.from_dict(self.handover)
        if given.clock is None and job is not None:
            on_the_clock = adoption.seconds_on_the_clock(job, now)
            given = replace(given, clock=None if on_the_clock is None else time.time() - on_the_clock)
        saved = saved_state(job, given.deferral) if job is not None else None
        if saved is None:
            return given
        if not saved.is_final:
            self._run_log.note(
                "The triggerer that followed this script is gone; what it logged last is repeated below.",
                logging.WARNING,
            )
        return saved

    def _position(self) -> FollowState:
        return self._follower.handover if self._follower is not None else FollowState.from_dict(self.handover)

    def _expiry(self) -> float | None:
        if self.expires_at is None:
            return None
        return time.monotonic() + max(0.0, self.expires_at - time.time()) + EXPIRY_MARGIN

    async def _ended(self, api: KubernetesApi, follower: Follower, ending: Followed | None) -> JobEnd:
        seconds = time.time() - self._launched.launched_at
        if ending is None:
            verdict = Verdict(Cause.DEADLINE, None, "DeadlineExceeded", delete_job=True)
            deadline = self.execution_timeout or round(seconds)
            limits = replace(self._launched.limits, deadline=deadline, deadline_name="execution_timeout")
            self._job = replace(self._launched, limits=limits)
        else:
            verdict = ending.verdict
        if verdict.delete_job and not _has_output(verdict, follower.view):
            # Now, not when a worker has time: what should not start must not start meanwhile.
            await launching.abandon(api, self._launched.ref)
        return JobEnd(verdict, follower.view, seconds, follower.handover, follower.kept_for(verdict))

    @asynccontextmanager
    async def _saving(self, api: KubernetesApi) -> AsyncIterator[None]:
        """Save the position along the way, for the case that this process is killed."""
        saving = asyncio.create_task(self._save_along(api))
        try:
            yield
        finally:
            saving.cancel()

    async def _save_along(self, api: KubernetesApi) -> None:
        while True:
            await self._run_log.printed.wait()
            self._run_log.printed.clear()
            with contextlib.suppress(exceptions.KubernetesApiError):
                await self._save(api, is_final=False)
            await asyncio.sleep(SAVE_INTERVAL)

    async def _save_in_time(self, api: KubernetesApi) -> None:
        """Save how far the log was read, for the triggerer that takes over."""
        with contextlib.suppress(TimeoutError, exceptions.ScriptProviderError):
            async with asyncio.timeout(SAVE_TIMEOUT):
                await self._save(api, is_final=True)

    async def _save(self, api: KubernetesApi, *, is_final: bool) -> None:
        if not self._run_log.has_printed:
            return
        saved = replace(self._position(), is_final=is_final)
        metadata = {
            "uid": self._launched.ref.uid,
            "annotations": {FOLLOW_STATE_ANNOTATION: json.dumps(saved.to_dict(), separators=(",", ":"))},
        }
        await api.patch("jobs", self._launched.ref.namespace, self._launched.ref.name, {"metadata": metadata})


def _has_output(verdict: Verdict, view: View) -> bool:
    """Whether the worker has something to read before the Job goes."""
    pod = view.pods.get(verdict.pod_uid or "")
    return pod is not None and pod_status.script_end(pod) is not None


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
