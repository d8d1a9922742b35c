"""A script on nodes, from the choice of the nodes to the result of all of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from airflow_script_provider import exceptions
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.jobs import launching, read_mark, reattach
from airflow_script_provider.jobs.answers.doubt import doubting
from airflow_script_provider.jobs.begin import OnLaunch
from airflow_script_provider.jobs.conclude import READ_TIMEOUT
from airflow_script_provider.jobs.context import JobContext, Known
from airflow_script_provider.jobs.guard import JobGuard, MeaningOfKill
from airflow_script_provider.jobs.nodes import choice as node_choice
from airflow_script_provider.jobs.nodes import earlier_runs
from airflow_script_provider.jobs.nodes.ending import wait_before_retry, wait_for_scripts
from airflow_script_provider.jobs.nodes.runs import NodeRuns
from airflow_script_provider.jobs.reattach import ReattachedJob
from airflow_script_provider.kube import hiding
from airflow_script_provider.kube.durations import Deadline
from airflow_script_provider.kube.hiding import Hide
from airflow_script_provider.kube.job import earlier_tries, termination
from airflow_script_provider.kube.job.earlier_tries import Job
from airflow_script_provider.kube.job.launched import JobRef, LaunchedJob
from airflow_script_provider.kube.labels import (
    NODES_LABEL,
    READ_ANNOTATION,
    RUN_LABEL,
    TASK_INSTANCE_LABEL,
)
from airflow_script_provider.kube.listing import items_of
from airflow_script_provider.kube.names import TaskIdentity
from airflow_script_provider.kube.nodes import manifest, result
from airflow_script_provider.kube.nodes.earlier import (
    EarlierNodes,
    is_of_launch,
    nodes_of,
    plan_of_try,
    records_of,
    task_instance_of,
)
from airflow_script_provider.kube.nodes.plan import NodePlan, OnNodes
from airflow_script_provider.kube.nodes.record import RunRecord
from airflow_script_provider.kube.nodes.selection import NodeChoice, nodes_in_words
from airflow_script_provider.kube.request.request import JobRequest
from airflow_script_provider.kube.wording import first_of
from airflow_script_provider.result import NodesResult
from airflow_script_provider.run_log import NoRunLog, RunLog

T = TypeVar("T")

OnResult = Callable[[NodesResult], None]

JOBS_PAGE = 100
"""Jobs of one answer: each may hold 32 KiB of its script's output."""
RESULT_MARGIN = 5.0
"""Seconds that are left of the task's own time for its result."""
_UNCHECKED = "Nodes may not be listed (403): the named ones are taken as they are, also if cordoned or not ready"
_UNREAD = "whose worker was lost or could not mark it as read"
_OWNERS = f"{NODES_LABEL},!{RUN_LABEL}"


@dataclass(frozen=True)
class NodesTask:
    """A script on nodes under way. ``log`` gets our lines and the scripts'.

    ``alone`` means that the task runs nothing else. For ``meaning_of_kill`` see ``JobGuard``.
    ``values`` are those of ``env`` and ``args``, which messages hide with what ``mask`` knows. If
    they are unknown (None), or others than those of the launch, messages have of a script's error
    only the name. ``known`` outlasts the session. ``on_begun`` gets the owner as soon as there is
    one.
    """

    api: KubernetesApi
    log: RunLog
    meaning_of_kill: MeaningOfKill | None = None
    alone: bool = True
    values: Collection[str] | None = None
    mask: Hide = str
    known: Known[NodesResult] = field(default_factory=Known)
    on_begun: Callable[[LaunchedJob], None] = lambda _: None

    async def begin(
        self,
        request: JobRequest,
        on_nodes: OnNodes,
        choice: NodeChoice,
        *,
        retry_failed_only: bool,
        on_launch: OnLaunch | None = None,
    ) -> LaunchedJob:
        """The Job that owns the runs: one that an earlier try left unread, otherwise a new one.

        The plan of ``on_nodes`` has no nodes yet. ``on_launch`` is called with the Job, whether
        new or not.
        """
        left = await reattach.find(self.api, request, self.log, alone=self.alone, kind=_OWNERS)
        if left is not None:
            job = LaunchedJob.of(left.request, left.ref, left.launched_at)
            self.on_begun(job)
            async with self._guard(job).protecting():
                await reattach.complete(self.api, left, self.log)
                await self._give_time(job, left, on_nodes.plan.expires_at)
                self.log.note(f"Reattached to Job {left.ref} of try {left.try_number}, {_UNREAD}")
                _call(on_launch, job.ref)
            return job
        earlier = await self._earlier(request, on_nodes.plan, retry_failed_only=retry_failed_only)
        selection = await node_choice.choose(self.api, choice, request.options.tolerations)
        if not selection.is_checked:
            self.log.note(_UNCHECKED)
        plan = plan_of_try(on_nodes.plan, selection, earlier)
        return await self._launch(request, replace(on_nodes, plan=plan), on_launch)

    async def see_through(
        self, job: LaunchedJob, task: TaskIdentity | None, on_outcome: OnResult | None, *, has_time: bool = True
    ) -> NodesResult:
        """Follow all runs to the result, from where they are now; then mark the owner as read.

        If the task no longer ``has_time``, what still runs is ended, and nothing more is started
        or shown. Raises ``NodesFailedError`` where a retry might begin beside a script.
        """
        # One for all runs: a hider gets its values ready when it first meets a line.
        hide = hiding.hider_of_launched(job.check_digits, self.values, self.mask)
        guard = self._guard(job, hide)
        async with guard.protecting():
            owner = await self.owner(job)
            runs = NodeRuns(guard.context, owner) if has_time else _ended_now(guard.context, owner)
            await runs.follow()
            outcome = self.known.outcome = await self._conclude(runs, hide)
        self.known.hand_over(outcome, on_outcome)
        is_retried = task is not None and task.has_tries_left and not outcome.is_success
        # A retry needs the records of this try: a kill leaves them.
        async with contextlib.nullcontext() if is_retried else guard.protecting():
            has_records = await self._close(runs, task, is_retried=is_retried)
        if is_retried and not has_records:
            await wait_before_retry(self.api, job, self.log, outcome)
        return outcome

    async def after_timeout(
        self, job: LaunchedJob, task: TaskIdentity | None, on_outcome: OnResult | None
    ) -> NodesResult | None:
        """The result of a task that has no time left; None if it takes too long to read.

        An outcome that was known before is the result, also if its owner is already deleted.
        """
        if self.known.outcome is not None:
            return await self._conclude_known(job, self.known.outcome, task, on_outcome)
        limit = READ_TIMEOUT + 2 * (job.limits.grace_period + termination.MARGIN)
        try:
            async with asyncio.timeout(limit):
                return await self.see_through(job, task, on_outcome, has_time=False)
        except TimeoutError:
            await wait_for_scripts(self.api, job)
            return None

    async def _conclude_known(
        self, job: LaunchedJob, outcome: NodesResult, task: TaskIdentity | None, on_outcome: OnResult | None
    ) -> NodesResult:
        """Do what is left to do with an outcome that was known before the task's time was over."""
        self.known.hand_over(outcome, on_outcome)
        async with self._guard(job).protecting():
            fate = launching.fate(job.ref, deleted=await launching.remove(self.api, job.ref))
            self.log.note(f"The task has no time left, but its outcome is known already. {fate}")
        if task is not None and task.has_tries_left and not outcome.is_success:
            await wait_before_retry(self.api, job, self.log, outcome)
        return outcome

    async def owner(self, job: LaunchedJob) -> dict[str, Any]:
        """The owner as the API server has it.

        Raises ``NodesFailedError`` where it was deleted, after the end of the scripts.
        """
        try:
            found = await doubting(lambda: self.api.get("jobs", job.ref.namespace, job.ref.name))
        except exceptions.ApiNotFoundError:
            found = {"metadata": {}}
        if found["metadata"].get("uid") != job.ref.uid:
            await wait_for_scripts(self.api, job)
            raise exceptions.NodesFailedError(
                f"Job {job.ref}, which owned the runs on all nodes, was deleted: their outcome is unknown. Find out "
                "what deletes Jobs in this namespace.",
                result={},
            )
        return found

    async def _give_time(self, job: LaunchedJob, left: ReattachedJob, expires_at: float | None) -> None:
        """Let the plan of a lost try end with this try's ``execution_timeout``.

        An error is only a warning. An owner whose runs are all over needs no time any more.
        """
        owner = await self.owner(job)
        plan = manifest.plan_of(owner)
        if plan.expires_at == expires_at or manifest.is_complete(owner):
            return
        body = manifest.replanned(replace(plan, expires_at=expires_at), job.limits.grace_period, left.clock)
        try:
            await self._patch_owner(job.ref.namespace, job.ref.name, body)
        except exceptions.KubernetesApiError as error:
            note = f"Job {job.ref} ends with execution_timeout of try {left.try_number}: {error}"
            self.log.note(note, logging.WARNING)

    async def complete(self, job: LaunchedJob) -> None:
        """Complete the owner, which now waits to be read. Errors are warnings."""
        try:
            await self._patch_owner(job.ref.namespace, job.ref.name, {"spec": manifest.COMPLETE})
        except exceptions.KubernetesApiError as error:
            self.log.note(f"Job {job.ref} could not be completed: {error}", logging.WARNING)

    def _guard(self, job: LaunchedJob, hide: Hide | None = None) -> JobGuard:
        return JobGuard(JobContext(self.api, job, self.log, hide), self.meaning_of_kill)

    async def _launch(self, request: JobRequest, on_nodes: OnNodes, on_launch: OnLaunch | None) -> LaunchedJob:
        request = await read_mark.within_rights(self.api, _owning(request, on_nodes), self.log)
        job = LaunchedJob.before_launch(request, time.time())
        digits = hiding.check_digits(self.values or ())
        job = replace(job, ref=JobRef.of(await launching.launch(self.api, request, self.log)), check_digits=digits)
        self.on_begun(job)
        async with self._guard(job).protecting():
            self._note_launched(request, on_nodes, str(job.ref))
            _call(on_launch, job.ref)
        return job

    def _note_launched(self, request: JobRequest, on_nodes: OnNodes, ref: str) -> None:
        plan, mode = on_nodes.plan, on_nodes.mode
        look = f"kubectl -n {request.namespace} get jobs -l {NODES_LABEL}={request.identity.launch_id}"
        self.log.note(f"Job {ref} owns the Jobs of {nodes_in_words(len(plan.nodes))}. Look at them: {look}")
        how = f"{' '.join(request.interpreter.argv)} (by {request.interpreter.chosen_by})"
        self.log.note(f"Interpreter: {how}, image {request.options.image}")
        if mode.grants:
            self.log.note(f"mode={str(mode)!r} grants the script {mode.grants}", logging.WARNING)
        if plan.earlier:
            self.log.note(f"{nodes_in_words(len(plan.earlier))} succeeded in an earlier try, left alone in this one")
        for name, reason in plan.skipped.items():
            self.log.note(f"Node {name} is skipped: {reason}")

    async def _earlier(self, request: JobRequest, plan: NodePlan, *, retry_failed_only: bool) -> EarlierNodes:
        """The nodes of earlier tries that were the same.

        Without ``retry_failed_only`` only those are known where the script may still run.
        """
        task, identity = request.identity.task, request.identity
        if task is None or task.try_number <= 1:
            return EarlierNodes()
        left = await self._of_jobs(request.namespace, task.digest, lambda job: [job])
        found = [job for job in left if earlier_tries.is_repeated_by_launch(job, identity)]
        if not found and retry_failed_only:
            self.log.note("Nothing is left of an earlier try that was the same: the script runs on every node")
        nodes = nodes_of(found, plan) if retry_failed_only else EarlierNodes()
        return replace(nodes, running=await earlier_runs.still_running(self.api, request, left, self.log))

    async def _records_of_earlier(self, runs: NodeRuns) -> dict[str, list[RunRecord]]:
        """The records of nodes that succeeded in an earlier try, as far as they still exist.

        The result is good without them: an error is a warning, and the task's own time bounds the
        wait for an answer.
        """
        records: dict[str, list[RunRecord]] = {}
        if not runs.plan.earlier:
            return records

        nodes = frozenset(runs.plan.earlier)

        def pick(job: Job) -> Iterable[tuple[str, RunRecord]]:
            found = records_of(job) if is_of_launch(job, runs.owner) else ()
            return ((node, record) for node, record in found if node in nodes and not record.failures)

        try:
            async with asyncio.timeout(_patience(runs.seconds_left)):
                found = await self._of_jobs(runs.job.ref.namespace, task_instance_of(runs.owner), pick)
        except (TimeoutError, exceptions.KubernetesApiError) as error:
            what = "The result lacks the runs of earlier tries, which cannot be read"
            self.log.note(f"{what}: {str(error) or 'no answer'}", logging.WARNING)
            return records
        for node, record in found:
            records.setdefault(node, []).append(record)
        return records

    async def _of_jobs(self, namespace: str, instance: str, pick: Callable[[Job], Iterable[T]]) -> list[T]:
        """What is picked of all Jobs of a task instance that are for nodes, a page at a time."""
        selector = f"{TASK_INSTANCE_LABEL}={instance},{NODES_LABEL}"

        async def once() -> list[T]:
            pages = self.api.pages("jobs", namespace, JOBS_PAGE, labelSelector=selector)
            return [found async for text in pages for job in items_of(text) for found in pick(job)]

        return await doubting(once)

    async def _conclude(self, runs: NodeRuns, hide: Hide) -> NodesResult:
        """The result on all nodes."""
        ref = runs.job.ref
        outcome = result.conclude(
            runs.plan,
            runs.board.history() | await self._records_of_earlier(runs),
            hide,
            seconds=time.time() - runs.job.launched_at,
            missing=runs.board.missing(is_expired=runs.is_expired),
            job_name=ref.name,
            namespace=ref.namespace,
            script_sha256=runs.job.script.sha256,
            script_origin=runs.job.script.origin,
            script_bytes=runs.job.script.size,
        )
        self.log.note(f"Job {ref}: {result.summary(outcome)}")
        return outcome

    async def _close(self, runs: NodeRuns, task: TaskIdentity | None, *, is_retried: bool) -> bool:
        """Mark the owner as read and let Kubernetes remove it, with all that it owns, in its time.

        Returns whether the owner and the records of its runs are left. Where the task's own time
        is over everything is removed at once, and so it is where nothing can be marked. What a
        retry wants to know of this try stays until then. A success that only the Job of its run
        tells would be lost with the mark.
        """
        job = runs.job
        if runs.is_expired or not job.may_be_marked:
            self.log.note(launching.fate(job.ref, deleted=await launching.remove(self.api, job.ref)))
            return False
        await launching.delete_secret(self.api, job, self.log)
        # A task of code may fail after this launch has succeeded.
        is_needed = is_retried or (not self.alone and task is not None and task.has_tries_left)
        unwritten = await runs.write_again(is_retried=is_needed)
        if unwritten and is_needed:
            self.log.note(_not_marked(job.ref, unwritten), logging.WARNING)
            return not runs.board.is_owner_deleted
        try:
            is_failed = self.known.outcome is not None and not self.known.outcome.is_success
            ttl = None if is_retried else job.final_ttl(is_failed=is_failed)
            await self._mark_read(job.ref.namespace, job.ref.name, ttl)
            if not is_retried and task is not None and task.try_number > 1:
                await self._mark_earlier(runs)
        except exceptions.KubernetesApiError as error:
            self.log.note(f"Job {job.ref} could not be marked as read: {error}", logging.WARNING)
        return not runs.board.is_owner_deleted

    async def _mark_earlier(self, runs: NodeRuns) -> None:
        """Mark the owners of earlier tries as read, so that they are removed.

        Those of other launches stay, which this try may still follow.
        """
        job = runs.job
        selector = f"{TASK_INSTANCE_LABEL}={task_instance_of(runs.owner)},{_OWNERS}"
        owners = await doubting(lambda: self.api.list("jobs", job.ref.namespace, labelSelector=selector))
        for owner in owners["items"]:
            is_earlier = owner["metadata"]["name"] != job.ref.name and (self.alone or is_of_launch(owner, runs.owner))
            if is_earlier:
                ttl = job.final_ttl(is_failed=True)
                await self._mark_read(job.ref.namespace, owner["metadata"]["name"], ttl)

    async def _mark_read(self, namespace: str, name: str, ttl: int | None) -> None:
        """Complete an owner whose outcome was read; None leaves its TTL."""
        read = {READ_ANNOTATION: datetime.now(UTC).isoformat(timespec="seconds")}
        spec = manifest.COMPLETE | ({} if ttl is None else {"ttlSecondsAfterFinished": ttl})
        await self._patch_owner(namespace, name, {"metadata": {"annotations": read}, "spec": spec})

    async def _patch_owner(self, namespace: str, name: str, body: dict[str, Any]) -> None:
        with contextlib.suppress(exceptions.ApiNotFoundError):
            await self.api.patch("jobs", namespace, name, body)


def _call(on_launch: OnLaunch | None, ref: JobRef) -> None:
    if on_launch is not None:
        on_launch(ref)


def _not_marked(ref: JobRef, nodes: Sequence[str]) -> str:
    """Why an owner is not marked as read although its outcome was."""
    return (
        f"The success on {first_of(nodes)} could not be written. So that the script does not run there again, "
        f"Job {ref} is not marked as read: the next try takes over this result, in the place of running anything."
    )


def _patience(left: float | None) -> float | None:
    """Seconds, of those that are ``left``, for a request that the result can do without."""
    return None if left is None else max(RESULT_MARGIN, left - RESULT_MARGIN)


def _ended_now(context: JobContext, owner: Mapping[str, Any]) -> NodeRuns:
    """The runs of an owner at the end of the task's time: those that still run are ended."""
    long_ago = replace(manifest.plan_of(owner), expires_at=0.0)
    quiet = replace(context, job=replace(context.job, get_logs=False), log=NoRunLog())
    return NodeRuns(quiet, manifest.with_plan(owner, long_ago))


def _owning(request: JobRequest, on_nodes: OnNodes) -> JobRequest:
    """The request of the Job that owns the runs; it ends when all of them must have."""
    seconds = on_nodes.plan.owner_deadline(request.options.termination_grace_period, time.time())
    return replace(manifest.owner_request(request, on_nodes), deadline=Deadline(seconds))
