"""What a run needs around its Job: a session with the cluster, and an end at any moment. Operators hold one each."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from airflow_script_provider import _event_loop, exceptions
from airflow_script_provider._airflow import output_logger, task_state
from airflow_script_provider._interruption import InterruptibleRun, answer_of
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.clusters.access import ClusterAccess, ClusterRef
from airflow_script_provider.clusters.credentials import open_api
from airflow_script_provider.jobs import launching
from airflow_script_provider.kube.job.launched import JobRef
from airflow_script_provider.kube.kill import Kill, meaning_of_kill
from airflow_script_provider.kube.names import TaskIdentity
from airflow_script_provider.run_log import OUTPUT_LOGGER, Logger, LoggerRunLog

T = TypeVar("T")

KILL_STATE_TIMEOUT = 2.0
"""Seconds for Airflow to answer with the state of a task that is killed; SIGKILL comes 5 s after SIGTERM."""


class TaskRun:
    """A run on a cluster, in the place of a task or of plain Python code, that a kill may end at any moment."""

    def __init__(self, cluster: ClusterRef, log: Logger, nothing_begun: str = "No Job was created.") -> None:
        self.cluster = cluster
        self.log = log
        self.interruptible = InterruptibleRun(nothing_begun)

    def kill(self) -> None:
        """End the run and what it has started. May be called from a signal handler."""
        self.interruptible.kill()

    def run_log(self, *, get_logs: bool = True) -> LoggerRunLog:
        """Where our lines and the script's go; without ``get_logs`` the script's are dropped."""
        return LoggerRunLog(self.log, output_logger(OUTPUT_LOGGER) if get_logs else None)

    def run(self, access: ClusterAccess, do: Callable[[KubernetesApi], Coroutine[Any, Any, T]]) -> T:
        """The result of ``do`` in a session with the cluster. ``RunKilledError`` if the run was killed."""
        return self.interruptible.run(lambda: in_session(access, do))

    def call(self, do: Callable[[KubernetesApi], Coroutine[Any, Any, T]]) -> T:
        """The result of a short call in a session of its own, which a kill does not interrupt."""
        return _event_loop.run(in_session(self.cluster.resolve(), do))


@dataclass
class Unguarded:
    """The Job that no ``JobGuard`` protects at the moment, None if there is none."""

    ref: JobRef | None = None


class JobTaskRun(TaskRun):
    """A run that launches Jobs. ``on_launch`` is called with the Job as soon as it exists."""

    on_launch: Callable[[JobRef], None] | None = None

    def delete(self, ref: JobRef) -> bool:
        """Delete a Job with everything that belongs to it; False if it was gone already."""
        return self.call(lambda api: launching.delete(api, ref))

    def killed(self, ref: JobRef) -> exceptions.RunKilledError:
        """Delete the Job of a run that was killed while nothing followed it; returns the error to raise."""
        try:
            self.delete(ref)
            fate = launching.fate(ref, deleted=True)
        except exceptions.KubernetesApiError:
            fate = launching.fate(ref, deleted=False)
        return exceptions.RunKilledError(f"the run was killed. {fate}")

    @contextmanager
    def deleting_if_killed(self, ref: JobRef | None = None) -> Iterator[Unguarded]:
        """Delete the Job of ``Unguarded.ref`` if a kill ends the block.

        A kill may come while credentials are loaded or while the session is closed: then no guard sees it.
        """
        unguarded = Unguarded(ref)
        try:
            yield unguarded
        except exceptions.RunKilledError:
            if unguarded.ref is not None:
                raise self.killed(unguarded.ref) from None
            raise

    async def meaning_of_kill(self, task: TaskIdentity | None) -> Kill | None:
        """What an interruption means if it is a kill of a task that is tried again; None otherwise."""
        if not self.interruptible.is_killed or task is None or not task.has_tries_left:
            return None
        return meaning_of_kill(await answer_of(lambda: task_state(task), KILL_STATE_TIMEOUT))


async def in_session(access: ClusterAccess, do: Callable[[KubernetesApi], Coroutine[Any, Any, T]]) -> T:
    """The result of ``do`` in a session with the cluster."""
    async with open_api(access) as api:
        return await do(api)
