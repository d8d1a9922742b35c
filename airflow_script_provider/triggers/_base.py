"""What the triggers share: stored arguments, a user's kill, positions saved at the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from asgiref.sync import sync_to_async

from airflow_script_provider import exceptions
from airflow_script_provider._airflow import AirflowNotFoundException, task_instance, task_state
from airflow_script_provider._airflow.lines import ScriptLines
from airflow_script_provider._airflow.triggers import HAS_ON_KILL, BaseTrigger, TriggerEvent
from airflow_script_provider._shielded import shielded
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.clusters.access import DEFAULT_CONN_ID, ClusterRef
from airflow_script_provider.jobs import launching
from airflow_script_provider.jobs.answers.doubt import doubting
from airflow_script_provider.kube.job.launched import LaunchedJob
from airflow_script_provider.kube.kill import meaning_of_kill
from airflow_script_provider.kube.labels import READ_ANNOTATION
from airflow_script_provider.kube.logs.value import storable
from airflow_script_provider.kube.wording import message_of
from airflow_script_provider.run_log import OUTPUT_LOGGER, CountingRunLog
from airflow_script_provider.triggers.shared_cluster import SharedCluster, shared_access, shared_cluster

KILL_TIMEOUT = 28.0
"""Seconds for everything that ``on_kill`` does; Airflow gives it thirty."""
TASK_STATE_TIMEOUT = 20.0
"""Seconds for Airflow to answer with a task's state: a thousand triggers may ask at once."""
SAVE_TIMEOUT = 5.0
"""Seconds that saving a position may take when the triggerer ends."""
LOG_SILENCE = 300.0
"""Seconds without a byte after which a log stream is opened again."""

_HELD = "The script knows secrets that only a worker masks: a worker shows its lines when it has ended"
_EXPECTED = (exceptions.ScriptProviderError, AirflowNotFoundException, ValueError)


class JobEvent(TriggerEvent):
    """An event that Airflow can store, whatever the cluster has put into it.

    Its text is its Job's name, because Airflow writes that text into the task's log.
    """

    def __init__(self, payload: dict[str, Any]) -> None:
        super().__init__(storable(payload).value)  # type: ignore[no-untyped-call]  # not annotated in Airflow

    def __repr__(self) -> str:
        ref = self.payload["job"].get("ref", {})
        return f"Job {ref.get('namespace')}/{ref.get('name')}"


class JobTrigger(BaseTrigger):
    """
    Wait for a launched Job.

    All arguments are names, positions and times of day. The credentials come from the connection,
    which the triggerer looks up. Other arguments are ignored: a worker of a later version may give
    them.

    :param job: the launched Job, as ``LaunchedJob.to_dict`` returns it.
    :param handover: how far the worker followed it, as ``FollowState.to_dict`` returns it.
    :param kubernetes_conn_id: connection to the cluster.
    :param in_cluster: use the triggerer pod's service account.
    :param config_file: path of a kubeconfig on the triggerer.
    :param cluster_context: context of the kubeconfig.
    :param server: address of the API server that the worker used.
    :param expires_at: when the task's ``execution_timeout`` ends, in seconds since 1970 by the
        worker's clock.
    :param execution_timeout: that timeout, in seconds.
    :param in_one_process: the task awaits this trigger in its own process; no triggerer runs it.
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
        **of_a_later_version: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # not annotated in Airflow
        self._job: Mapping[str, Any] | LaunchedJob = job
        self.handover = dict(handover or {})
        self.cluster = ClusterRef(kubernetes_conn_id, in_cluster, config_file, cluster_context)
        self.server = server
        self.expires_at = expires_at
        self.execution_timeout = execution_timeout
        self.in_one_process = in_one_process
        self._run_log = CountingRunLog(self.log, None)
        self._has_begun = False
        self._is_over = False

    @property
    def job(self) -> dict[str, Any]:
        """The launched Job, as it is stored."""
        return self._job.to_dict() if isinstance(self._job, LaunchedJob) else dict(self._job)

    @property
    def _launched(self) -> LaunchedJob:
        # Not in the constructor: an exception there would end the whole triggerer. And not kept beside the stored
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
        return f"{type(self).__module__}.{type(self).__qualname__}", storable(arguments).value

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """One event, when the work is over or cannot be followed here."""
        await self._leave_to_the_task()
        self._has_begun = True
        try:
            async with shared_cluster(await shared_access(self.cluster)) as cluster:
                event = await self._follow(cluster)
        except Exception as error:  # healthy work must not fail for what goes wrong here
            if not isinstance(error, _EXPECTED):
                self.log.exception("Following the Job failed unexpectedly; a worker goes on with it")
            event = self._handed_back(message_of(error))
        self._is_over = True
        yield JobEvent(event | {"server": self.server})

    @abstractmethod
    async def _follow(self, cluster: SharedCluster) -> dict[str, Any]:
        """Follow the work to its end; the event that says how it ended."""

    @abstractmethod
    def _handed_back(self, reason: str) -> dict[str, Any]:
        """The event that lets a worker go on."""

    async def on_kill(self) -> None:
        """Delete the Job, if a user acted on the task.

        Airflow also calls this when another triggerer has taken over: the task is then deferred,
        or a worker is to go on with it. It cancels the trigger each second until it has ended, and
        this call with it.
        """
        if not self.in_one_process:
            await shielded(self._delete_in_time())

    async def cleanup(self) -> None:
        """Before Airflow 3.3 and its ``on_kill``: delete the Job, if a user acted on the task."""
        if HAS_ON_KILL or self._is_over or not self._has_begun:
            return
        await shielded(self._delete_in_time())

    @property
    def _shows_lines(self) -> bool:
        """Whether the script's lines are shown here.

        This process cannot mask them: it knows none of the task's secrets.
        """
        return self._launched.get_logs and not self._launched.holds_lines

    def _open_log(self) -> CountingRunLog:
        """Where our lines and the script's go; the script's are dropped if they are not shown."""
        self._run_log = CountingRunLog(self.log, ScriptLines(OUTPUT_LOGGER) if self._shows_lines else None)
        if self._launched.get_logs and not self._shows_lines:
            self._run_log.note(_HELD)
        return self._run_log

    @asynccontextmanager
    async def _saving_at_the_end(self, save: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
        """Save a position when the triggerer ends during the block.

        Not in ``cleanup``: a triggerer that ends looks up no connection any more.
        """
        try:
            yield
        except asyncio.CancelledError as cancelled:
            if not cancelled.args:  # Airflow gives a reason where it is not the triggerer that ends
                with contextlib.suppress(TimeoutError, exceptions.ScriptProviderError):
                    async with asyncio.timeout(SAVE_TIMEOUT):
                        await save()
            raise

    async def _leave_to_the_task(self) -> None:
        """Wait until cancelled, if this is a triggerer and the task itself awaits the trigger.

        ``airflow tasks test`` stores the trigger like any other for a moment, and then calls the
        task queued.
        """
        if self.in_one_process and getattr(self, "task_instance", None) is not None:
            await asyncio.get_running_loop().create_future()

    async def _delete_in_time(self) -> None:
        """Delete the Job if the task is over; the task's log says so where that fails."""
        try:
            async with asyncio.timeout(KILL_TIMEOUT):
                await self._delete_if_the_task_is_over()
        except Exception as error:  # noqa: BLE001  # Airflow would show it only in the triggerer's own log
            note = f"{launching.left_over(self._launched.ref)} ({message_of(error)})"
            self._run_log.note(note, logging.WARNING)

    async def _delete_if_the_task_is_over(self) -> None:
        state, ref = await self._state_of_task(), self._launched.ref
        if meaning_of_kill(state, is_deferred=True).leaves_job:
            return
        async with shared_cluster(await shared_access(self.cluster)) as cluster:
            if await self._was_read(cluster.api):
                return
            await doubting(lambda: launching.delete(cluster.api, ref))
        self._run_log.note(f"The task is {state}. {launching.fate(ref, deleted=True)}")

    async def _was_read(self, api: KubernetesApi) -> bool:
        """Whether the Job is gone, or a worker has read its outcome.

        Without an answer it counts as unread. The delete names its uid, so it meets no other Job.
        """
        try:
            job = await api.get("jobs", self._launched.ref.namespace, self._launched.ref.name)
        except exceptions.ApiNotFoundError:
            return True
        except exceptions.KubernetesApiError:
            return False
        return READ_ANNOTATION in (job["metadata"].get("annotations") or {})

    async def _state_of_task(self) -> str | None:
        """The task's state by Airflow, None where Airflow does not answer."""
        ask = sync_to_async(task_state, thread_sensitive=False)  # otherwise all triggers would share one thread
        try:
            async with asyncio.timeout(TASK_STATE_TIMEOUT):
                return await ask(task_instance(self.task_instance))
        except Exception:  # noqa: BLE001  # whatever keeps Airflow from answering, there is no answer
            return None
