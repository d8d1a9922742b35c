"""A run around its Job: a session with the cluster, and an end at any moment."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from airflow_script_provider import _event_loop, exceptions
from airflow_script_provider._airflow import AirflowTaskTimeout, before_on_kill, task_state
from airflow_script_provider._airflow.lines import ScriptLines
from airflow_script_provider._interruption import (
    EndOfTry,
    InterruptibleRun,
    answer_of,
    end_if_killed,
    ended_by_sigterm,
    interruption_in,
)
from airflow_script_provider._shielded import shielded
from airflow_script_provider._task_identity import current_try
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.clusters.access import ClusterAccess, ClusterRef
from airflow_script_provider.clusters.credentials import LOAD_PATIENCE, open_api
from airflow_script_provider.hooks._launched import Launched, Unguarded
from airflow_script_provider.jobs import launching, reattach
from airflow_script_provider.jobs.context import JobContext, Known
from airflow_script_provider.jobs.guard import JobGuard, MeaningOfKill
from airflow_script_provider.kube.job.follow_state import FollowState
from airflow_script_provider.kube.job.launched import JobRef, LaunchedJob
from airflow_script_provider.kube.kill import HANDED_OVER, NOT_FOLLOWED, TIMED_OUT, EarlyEnd, meaning_of_kill
from airflow_script_provider.kube.names import TaskIdentity
from airflow_script_provider.kube.request.request import JobRequest
from airflow_script_provider.run_log import OUTPUT_LOGGER, Logger, LoggerRunLog

T = TypeVar("T")
R = TypeVar("R")

KILL_STATE_TIMEOUT = 2.0
"""Seconds for Airflow to answer with a killed task's state; SIGKILL comes 5 s after SIGTERM."""
_NOT_SHOWN = "The script's lines are not shown, because the secrets in them cannot be masked"


class TaskRun:
    """A run on a cluster, for a task or for plain code, which a kill may end at any moment.

    ``recovers`` means that this try has launched its Job before, and no trigger could follow it.
    """

    nothing_begun = "No Job was created."
    recovers = False

    def __init__(self, cluster: ClusterRef, log: Logger) -> None:
        self.cluster = cluster
        self.log = log
        self.interruptible = InterruptibleRun(self.nothing_begun)

    def kill(self) -> None:
        """End the run and what it has started. May be called from a signal handler."""
        self.interruptible.kill()

    @contextmanager
    def ended_by_kill(self, *, in_loop: bool = False) -> Iterator[None]:
        """End the run when the ``@task`` or the process that waits for it is killed.

        ``in_loop`` means that a coroutine waits for it, in an event loop that is not ours.
        """
        with ended_by_sigterm(self.interruptible, notice_kills(), in_loop=in_loop):
            yield

    def run_log(self, *, get_logs: bool = True) -> LoggerRunLog:
        """Where our lines and the script's go; without ``get_logs`` the script's are dropped."""
        return LoggerRunLog(self.log, ScriptLines(OUTPUT_LOGGER) if get_logs else None)

    def run(self, access: ClusterAccess, do: Callable[[KubernetesApi], Coroutine[Any, Any, T]]) -> T:
        """The result of ``do`` in a session with the cluster. Raises ``RunKilledError``."""
        return self.interruptible.run(lambda: in_session(access, do, LOAD_PATIENCE))

    def call(self, do: Callable[[KubernetesApi], Coroutine[Any, Any, T]]) -> T:
        """The result of a short call in a session of its own, which a kill does not interrupt."""
        return _event_loop.run(in_session(self.cluster.resolve(), do))


class JobTaskRun(TaskRun):
    """A run that launches Jobs. ``on_launch`` is called with the Job as soon as it exists."""

    on_launch: Callable[[JobRef], None] | None = None

    def __init__(self, cluster: ClusterRef, log: Logger) -> None:
        super().__init__(cluster, log)
        self._launched = Launched()

    def log_of_resumed(self, job: LaunchedJob, hidden: str) -> LoggerRunLog:
        """The log of a Job that a trigger had; ``hidden`` says why no line of it is shown."""
        log = self.run_log(get_logs=job.get_logs and not hidden)
        if hidden and job.get_logs:
            log.note(f"{_NOT_SHOWN}: {hidden}", logging.WARNING)
        return log

    def outlasting_timeout(
        self,
        access: ClusterAccess,
        do: Callable[[KubernetesApi], Coroutine[Any, Any, T]],
        after_timeout: Callable[[KubernetesApi, LaunchedJob], Coroutine[Any, Any, R | None]],
        task: TaskIdentity | None,
        on_outcome: Callable[[R], None] | None,
    ) -> T | R:
        """The result of ``do``.

        After ``execution_timeout`` another try may follow at once, so ``after_timeout`` waits for
        the end of the Job's pods. It returns or raises what is not tried again: that a script may
        still run, or how it has ended by itself. A kill before it begins deletes the Job, or
        leaves it to the next try of ``task``. An outcome that was known before is the result, also
        if there is no session for ``after_timeout``: ``on_outcome`` gets it, unless it has it.
        """
        try:
            return self.run(access, do)
        except AirflowTaskTimeout:
            job = self._launched.job
            if job is None:
                raise
            self.log.info("execution_timeout is over; waiting for the end of Job %s and its pods", job.ref)
            outcome = self._outcome_after_timeout(access, job, after_timeout, task, on_outcome)
            if outcome is None:
                raise
            return outcome
        except exceptions.RunKilledError:
            handed_over: T | None = self._launched.known.handed_over
            if handed_over is None:
                raise
            return handed_over

    def _outcome_after_timeout(
        self,
        access: ClusterAccess,
        job: LaunchedJob,
        after_timeout: Callable[[KubernetesApi, LaunchedJob], Coroutine[Any, Any, R | None]],
        task: TaskIdentity | None,
        on_outcome: Callable[[R], None] | None,
    ) -> R | None:
        """The result of ``after_timeout``; if it fails, what was known before, or None.

        Before it, no guard has the Job. One whose end is known ends nothing by going on.
        """
        has_begun = False

        async def main(api: KubernetesApi) -> R | None:
            nonlocal has_begun
            has_begun = True
            return await after_timeout(api, job)

        try:
            return self.run(access, main)
        except (exceptions.KubernetesApiError, exceptions.RunKilledError) as error:
            known, is_killed = self._launched.known, self.interruptible.is_killed
            if not has_begun and not is_killed and known.outcome is not None:
                self.log.warning("The task has no time left, but its outcome is known already. %s", error)
                known.hand_over(known.outcome, on_outcome)
            is_over = self._launched.end is not None and not is_killed and not known.is_handed_over
            if not has_begun and not is_over:
                self.log.warning(self._end_or_leave(job.ref, task, error))
            handed_over: R | None = known.handed_over
            return handed_over

    def launch(self, do: Callable[[KubernetesApi], Coroutine[Any, Any, JobRef]]) -> JobRef:
        """The result of ``do``, which a kill does not interrupt but prevents."""
        end_if_killed(self.interruptible, notice_kills())
        self.interruptible.raise_if_killed()
        return self.call(do)

    def delete(self, ref: JobRef) -> bool:
        """Delete a Job with everything that belongs to it; False if it was gone already."""
        return self.call(lambda api: launching.delete(api, ref))

    def killed(self, ref: JobRef, task: TaskIdentity | None = None) -> exceptions.RunKilledError:
        """End a run that was killed while no ``JobGuard`` protected its Job; the error to raise.

        The Job is deleted, or left to the task's next try, as a ``JobGuard`` does.
        """
        error = exceptions.RunKilledError("the run was killed.")
        return error.with_message(f"{error} {self._end_or_leave(ref, task, error)}")

    def end_if_over(self, ref: JobRef, task: TaskIdentity) -> None:
        """Delete the Job, and raise ``RunKilledError``, if a user has ended the task meanwhile.

        To be called before the task defers: Airflow takes no deferral of such a task, starts no
        trigger, and does not call ``on_kill`` any more.
        """
        end = _event_loop.run(_meaning_by_state(task))
        if not end.leaves_job:
            fate = self._delete_if_possible(ref)
            raise exceptions.RunKilledError(f"the task was ended before it could defer. {end.reason}: {fate}")

    def _end_or_leave(self, ref: JobRef, task: TaskIdentity | None, interruption: BaseException) -> str:
        """Delete the Job, or leave it to the task's next try; the note that says which."""
        end = _event_loop.run(self.meaning_of_kill(task, interruption))
        if end is None:
            return self._delete_if_possible(ref)
        return end.left(str(ref)) if end.leaves_job else f"{end.reason}: {self._delete_if_possible(ref)}"

    def followed(self, ref: JobRef, follow: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of ``follow``. A kill before it begins also deletes the Job."""
        with self.unguarded(ref) as unguarded:

            async def main() -> T:
                unguarded.ref = None
                return await follow()

            return self.interruptible.run(main)

    async def followed_in_loop(self, ref: JobRef, follow: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """``followed`` for code in an event loop, which may also cancel it."""
        has_begun = False

        async def main() -> T:
            nonlocal has_begun
            has_begun = True
            return await follow()

        try:
            with self.ended_by_kill(in_loop=True):
                return await self.interruptible.run_in_loop(main)
        except exceptions.RunKilledError:
            if has_begun:
                raise
            raise await shielded(asyncio.to_thread(self.killed, ref)) from None
        except asyncio.CancelledError as cancelled:
            if not has_begun:
                cancelled.add_note(await shielded(asyncio.to_thread(self._delete_if_possible, ref)))
            raise

    async def with_launched(
        self,
        request: JobRequest,
        ref: JobRef,
        do: Callable[[KubernetesApi, LaunchedJob, FollowState], Coroutine[Any, Any, T]],
    ) -> T:
        """The result of ``do`` with a Job that was launched before, in a session of its own.

        Cancelled before ``do`` begins, it deletes the Job; from then on ``do`` protects it.
        """
        is_protected = False

        async def main(api: KubernetesApi) -> T:
            nonlocal is_protected
            job, start = await reattach.to_launched(api, request, ref)
            is_protected = True
            return await do(api, job, start)

        try:
            return await in_session(await asyncio.to_thread(self.cluster.resolve), main, LOAD_PATIENCE)
        except asyncio.CancelledError as cancelled:
            if not is_protected:
                cancelled.add_note(await shielded(asyncio.to_thread(self._delete_if_possible, ref)))
            raise

    @contextmanager
    def unguarded(self, ref: JobRef | None = None, task: TaskIdentity | None = None) -> Iterator[Unguarded]:
        """Care for the Job of ``Unguarded.ref``, which no ``JobGuard`` protects in the block.

        A kill may come while credentials are loaded or while the session is closed: then the Job
        is deleted, or left to the next try. Another error leaves it. If no try follows, the error
        says how to delete it.
        """
        unguarded, has_tries_left = Unguarded(ref), task is not None and task.has_tries_left
        try:
            yield unguarded
        except exceptions.RunKilledError:
            if unguarded.ref is not None:
                raise self.killed(unguarded.ref, task) from None
            raise
        except exceptions.ScriptProviderError as error:
            if unguarded.ref is None or has_tries_left:
                raise
            raise error.with_message(f"{error}\n{launching.left_over(unguarded.ref)}") from None

    @staticmethod
    async def check_server(
        context: JobContext,
        server: str | None,
        unguarded: Unguarded,
        meaning: MeaningOfKill | None,
        *,
        is_over: bool = False,
    ) -> None:
        """Raise ``KubernetesApiError`` where the session is not with the Job's own API server.

        With ``is_over``, the Job's end is known, and this is only a warning. From then on no error
        is one of ``unguarded``. A kill deletes the Job, or leaves it.
        """
        refusal: exceptions.KubernetesApiError | None = None
        ref, unguarded.ref = unguarded.ref, None
        async with JobGuard(context, meaning).protecting():
            try:
                await launching.check_server(context.api, context.job.ref, server)
            except exceptions.KubernetesApiError as error:
                refusal = error  # the Job is as healthy as it was
        if refusal is not None and is_over:
            text = f"{refusal}. The triggerer has seen how its script ended, so the task ends with that"
            context.log.note(text, logging.WARNING)
        elif refusal is not None:
            unguarded.ref = ref
            raise refusal

    @contextmanager
    def instead_of_earlier(
        self, access: ClusterAccess, namespace: str | None, task: TaskIdentity | None
    ) -> Iterator[None]:
        """Delete what earlier tries left unread, if a user's kill ends the block before a launch.

        The task is over, so no try follows these Jobs any more.
        """
        self._launched.job, self._launched.known = None, Known()
        try:
            yield
        except exceptions.RunKilledError as killed:
            has_earlier = task is not None and (task.try_number > 1 or self.recovers)
            if self._launched.job is not None or task is None or not has_earlier:
                raise
            notes = _event_loop.run(self._end_earlier(access, namespace, task, killed))
            raise killed.with_message(" ".join([str(killed), *notes])) from None

    async def _end_earlier(
        self, access: ClusterAccess, namespace: str | None, task: TaskIdentity, killed: exceptions.RunKilledError
    ) -> list[str]:
        end = await self.meaning_of_kill(task, killed)
        if end is not None and end.leaves_job:
            return []
        where = await asyncio.to_thread(access.namespace_for, namespace)
        try:
            return await in_session(access, lambda api: reattach.delete_unread(api, where, task, own=self.recovers))
        except exceptions.KubernetesApiError:
            return [reattach.may_be_left(where, task)]

    def _delete_if_possible(self, ref: JobRef) -> str:
        """Delete the Job; how to do it by hand where that fails."""
        try:
            self.delete(ref)
        except exceptions.KubernetesApiError:
            return launching.fate(ref, deleted=False)
        return launching.fate(ref, deleted=True)

    async def meaning_of_kill(
        self,
        task: TaskIdentity | None,
        interruption: BaseException,
        *,
        alone: bool = True,
        outlasts_timeout: bool = False,
    ) -> EarlyEnd | None:
        """What the end of a task with tries left means; None for an interruption that is not one.

        An error of the API server ends the task if it runs nothing else (``alone``): other code
        may catch the error and go on. ``outlasts_timeout`` means that ``execution_timeout`` is
        followed by a conclusion of the Job.
        """
        is_timeout = isinstance(self.interruptible.stray or interruption_in(interruption), AirflowTaskTimeout)
        if is_timeout and outlasts_timeout and self._launched.job is not None:
            return TIMED_OUT
        if self._launched.known.is_handed_over:
            return HANDED_OVER
        if task is None or not task.has_tries_left:
            return None
        if self.interruptible.is_killed:
            return await _meaning_by_state(task)
        is_of_the_server = isinstance(interruption, exceptions.KubernetesApiError) and interruption.retryable
        return NOT_FOLLOWED if alone and is_of_the_server else None


async def _meaning_by_state(task: TaskIdentity) -> EarlyEnd:
    """What an early end means by the state of the task, for which Airflow is asked."""
    return meaning_of_kill(await answer_of(lambda: task_state(task), KILL_STATE_TIMEOUT))


def notice_kills() -> Hashable:
    """The try that this code runs in; from now on a kill of its task ends all runs."""
    of_try = current_try()
    if of_try is not None:
        before_on_kill(EndOfTry(of_try))
    return of_try


async def in_session(
    access: ClusterAccess, do: Callable[[KubernetesApi], Coroutine[Any, Any, T]], patience: float = 0.0
) -> T:
    """The result of ``do`` in a session with the cluster, opened as ``open_api`` does."""
    async with open_api(access, patience=patience) as api:
        return await do(api)
