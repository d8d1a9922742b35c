"""Runs on nodes, from the first to the last: the same code in worker and triggerer.

It watches the Jobs of one owner and their pods, starts runs, reads logs and writes outcomes. What
is over and what is next is decided by ``kube.nodes.board``. Its whole state is in the cluster, so
it may stop at any moment and another process goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from airflow_script_provider import exceptions
from airflow_script_provider.api.stream_slots import StreamSlots
from airflow_script_provider.api.watch import LISTED, Change, Watch
from airflow_script_provider.jobs import launching
from airflow_script_provider.jobs.changes import Inbox, Item, Kind
from airflow_script_provider.jobs.context import JobContext
from airflow_script_provider.jobs.follow import DOUBT
from airflow_script_provider.jobs.log_reader import SILENCE
from airflow_script_provider.jobs.nodes.creating import JobCreator
from airflow_script_provider.jobs.nodes.ending import Endings, after_its_pods
from airflow_script_provider.jobs.nodes.lines import NodeLines, RunLines
from airflow_script_provider.jobs.nodes.looks import Looks
from airflow_script_provider.jobs.nodes.records import RecordWriter
from airflow_script_provider.kube.causes.events import event_lines
from airflow_script_provider.kube.job.diagnosis import advised
from airflow_script_provider.kube.job.follow_state import FollowState
from airflow_script_provider.kube.job.launched import JobRef
from airflow_script_provider.kube.job.progress import other_failures
from airflow_script_provider.kube.job.verdict import Cause, Verdict, Wait
from airflow_script_provider.kube.labels import FOLLOW_STATE_ANNOTATION, LAUNCH_LABEL
from airflow_script_provider.kube.logs.output import Output
from airflow_script_provider.kube.nodes import board, manifest, result
from airflow_script_provider.kube.nodes.board import Board, NodeRun
from airflow_script_provider.kube.nodes.plan import NodePlan, NodeState, Start, is_done
from airflow_script_provider.kube.nodes.progress import Lost
from airflow_script_provider.kube.nodes.record import RunRecord
from airflow_script_provider.kube.nodes.task_time import TaskTime
from airflow_script_provider.kube.pods import pod_status
from airflow_script_provider.result import Status

CREATES = 10
"""Jobs that are created at a time."""
READERS = 8
"""Runs whose log is read at a time."""
EXPLAIN_AFTER = 5.0
"""Seconds without a pod after which a run's Warning events are shown: they say why there is
none."""
EXPLAINED = 3
"""Runs whose events or suspension are shown: mostly the reason is the same for all."""

_UNSEEN = "its pod cannot be read, so the result has neither its exit code nor its output"


class NodeRuns:
    """All runs of one owner, until nothing is left to start or to follow.

    The Job of ``context`` is the owner as it was launched, ``owner`` as the API server has it.
    ``keeps_output`` remembers what the scripts printed, for the result; without it only how they
    ended.
    """

    def __init__(
        self,
        context: JobContext,
        owner: Mapping[str, Any],
        *,
        keeps_output: bool = True,
        slots: StreamSlots | None = None,
        log_silence: float = SILENCE,
    ) -> None:
        self.job = context.job
        self.owner = owner
        self.plan: NodePlan = manifest.plan_of(owner)
        self.board = Board(self.plan, self.job.limits, time_of_day=lambda: context.api.now().timestamp())
        self._api, self._log, self._may_quote = context.api, context.log, context.may_quote
        self._keeps_output = keeps_output
        self._lines = NodeLines(context, slots, log_silence)
        self._records = RecordWriter(context.api, context.job, context.hide)
        self._creator = JobCreator(context.api, owner)
        self._inbox = Inbox()
        self._starting: dict[Start, asyncio.Task[None]] = {}
        self._live: dict[Start, tuple[RunLines, asyncio.Task[None]]] = {}
        self._listed = {kind: asyncio.Event() for kind in Kind}
        self._tasks = asyncio.TaskGroup()
        self._others: list[asyncio.Task[None]] = []
        self._explained: set[Start] = set()
        self._paused: set[Start] = set()
        self._is_refused = False
        self._creating, self._reading = asyncio.Semaphore(CREATES), asyncio.Semaphore(READERS)
        self._looks = Looks(self._api, self.job.ref.namespace, self._take, with_output=keeps_output)
        self._endings = Endings()
        now = time.monotonic()
        self._task_time = TaskTime.of(self.plan.expires_at, self.job, owner, self._api.now(), now)

    async def follow(self) -> None:
        """Start and follow runs until nothing is left.

        Raises ``KubernetesApiError`` when they cannot be watched.
        """
        failure: exceptions.KubernetesApiError | None = None
        async with self._tasks, self._watching():
            try:
                await self._until_over()
            except exceptions.KubernetesApiError as error:
                failure = error  # raised below: a TaskGroup would wrap it
        if failure is not None:
            raise failure

    async def save_positions(self) -> None:
        """Save for the process that goes on how far runs are.

        These are the live lines that were shown, and how long runs have waited and worked.
        """
        live, states = self._live if self.job.get_logs else {}, self.board.waits(time.monotonic())
        for start, (lines, _) in live.items():
            states[start] = replace(states.get(start, lines.state), logs=lines.state.logs)
        runs = {start: run for start in states if (run := self.board.runs.get(start)) is not None and run.uid}
        await asyncio.gather(*(self._save_state(run, states[start]) for start, run in runs.items()))

    async def write_again(self, *, is_retried: bool) -> list[str]:
        """Write what could not be written; the nodes whose success only a Job tells."""
        left = None if self.seconds_left is None else self.seconds_left / 2
        nodes = await self._records.write_again(left, on_owner=self._keeps_output, is_retried=is_retried)
        states = {node: self.board.states.get(node, NodeState()) for node in nodes}
        return [node for node, state in states.items() if is_done(self.plan, state) and not state.failed]

    async def _save_state(self, run: NodeRun, state: FollowState) -> None:
        text = json.dumps(state.to_dict(), separators=(",", ":"))
        metadata = {"uid": run.uid, "annotations": {FOLLOW_STATE_ANNOTATION: text}}
        async with self._creating:
            await self._api.patch("jobs", self.job.ref.namespace, run.name, {"metadata": metadata})

    async def _until_over(self) -> None:
        """Take changes, end what is over, start what is next."""
        await self._take_everything_there_is()
        while True:
            now = time.monotonic()
            for run, decision in self.board.due(now, self._task_time.ends_runs_at):
                run.is_concluding = True
                self._tasks.create_task(self._conclude(run, decision))
            step = self.board.next_step(now, is_expired=self._task_time.is_over(now))
            for start in step.starts:
                run = self.board.begin(start, manifest.run_name(self.owner, start), now)
                self._starting[start] = self._tasks.create_task(self._start(run))
            if step.is_over:
                return
            moments = (step.until, self.board.next_look(), self._task_time.next_moment(now))
            await self._inbox.take_all(self._take, min((m for m in moments if m is not None), default=None))

    async def _take_everything_there_is(self) -> None:
        """Take in all Jobs and pods that another process may have left; then decisions begin."""
        while not all(self._listed[kind].is_set() for kind in (Kind.JOB, Kind.POD)):
            await self._inbox.take_all(self._take, None)

    def _take(self, item: Item) -> None:
        kind, change = item
        now = time.monotonic()
        if isinstance(change, exceptions.KubernetesApiError):
            raise change
        if change is LISTED:
            self._listed[kind].set()
        elif kind is Kind.JOB and change.object:
            clock = board.clock_of(change.object, self._api.now())
            if self.board.take_job(change.object, now, clock, deleted=change.deleted):
                self._others.append(self._tasks.create_task(self._delete_late(change.object["metadata"])))
            elif run := self.board.run_of(change.object):
                self._announce_job(run)
            elif change.deleted and (kept := self.board.record_without_job(change.object)):
                self._others.append(self._tasks.create_task(self._records.keep(*kept)))
        elif kind is Kind.POD and (run := self.board.take_pod(change.object, now, deleted=change.deleted)):
            self._announce(run, change.object, deleted=change.deleted)
            self._show_live(run)

    @asynccontextmanager
    async def _watching(self) -> AsyncIterator[None]:
        selector = manifest.runs_selector(self.owner["metadata"]["labels"][LAUNCH_LABEL])

        def keep_job(job: dict[str, Any]) -> dict[str, Any]:
            return board.kept_job(job, with_output=self._keeps_output)

        namespace = self.job.ref.namespace
        jobs = Watch(self._api, "jobs", namespace, selector, keep_job, lists_first=True)
        jobs.expect(board.kept_job(self.owner, with_output=False))
        pods = Watch(self._api, "pods", namespace, selector, board.kept_pod, lists_first=True)
        watches = {Kind.JOB: jobs, Kind.POD: pods}
        feeding = [self._tasks.create_task(self._feed(kind, watch)) for kind, watch in watches.items()]
        try:
            yield
        finally:
            for task in (*feeding, *self._others, *self._lines.early, *(task for _, task in self._live.values())):
                task.cancel()

    async def _feed(self, kind: Kind, watch: Watch) -> None:
        if kind is Kind.POD:
            await self._listed[Kind.JOB].wait()  # a pod is known by its Job
        try:
            async for change in watch.changes():
                self._inbox.put((kind, change))
        except exceptions.KubernetesApiError as error:
            self._inbox.put((kind, error))

    @property
    def seconds_left(self) -> float | None:
        """Seconds of the task's own time, 0 or less once it is over; None if it has no end."""
        return self._task_time.left(time.monotonic())

    @property
    def is_expired(self) -> bool:
        """Whether the task's own time is over."""
        return self._task_time.is_over(time.monotonic())

    async def _start(self, run: NodeRun) -> None:
        """Create the Job of a run.

        Whatever comes of it, the run has an end: the board ends it where its Job is never seen.
        """
        try:
            async with self._creating:
                self.board.ask(run, time.monotonic())
                self._wake()
                await self._creator.create(run, self.plan.run_deadline(self.seconds_left))
        except exceptions.KubernetesApiError as error:
            if not await self._creator.may_exist(run, error):
                run.is_concluding = True
                await self._close(run, self._records.of_refusal(run, error, self.board.failures_before(run.node)))
            return
        self._explain_later(run)

    async def _end_create(self, run: NodeRun) -> None:
        """End the create of a run whose Job was never seen; look for that Job and its pods.

        Raises ``KubernetesApiError`` where it stays unknown whether there is a Job.
        """
        if (starting := self._starting.pop(run.start, None)) is not None:
            starting.cancel()
            await asyncio.wait({starting})
        if (found := await self._creator.find(run)) is not None:
            self._take((Kind.JOB, Change(board.kept_job(found, with_output=self._keeps_output))))
            await self._looks.last_look(run)

    def _explain_later(self, run: NodeRun) -> None:
        """Look why a run gets no pod: the first ones, or all once one is refused."""
        is_shown = len(self._explained) < EXPLAINED
        if run.start not in self._explained and (is_shown or self._is_refused):
            self._explained.add(run.start)
            self._others.append(self._tasks.create_task(self._explain(run, is_shown=is_shown)))

    async def _explain(self, run: NodeRun, *, is_shown: bool) -> None:
        """Say why a run has no pod, by the events of its Job. Admission may refuse it for good."""
        await asyncio.sleep(EXPLAIN_AFTER)
        if run.seen.view.pods:
            return
        events = await self._records.events_of(run)
        for line in event_lines(events) if is_shown else ():
            self._log.note(advised(line), logging.WARNING)
        for event in events:
            self.board.take_event(run, event, time.monotonic())
        self._wake()
        if run.seen.view.admission.refusal and not self._is_refused:
            self._is_refused = True
            for other in list(self.board.runs.values()):
                self._explain_later(other)

    async def _confirmed(self, run: NodeRun, decision: Verdict | Lost) -> tuple[Verdict | Lost | None, str]:
        """The decision by what the API server has now, None if the run goes on.

        Also what stays unknown, as text.
        """
        doubt, seen = "", None
        if isinstance(decision, Verdict) and decision.cause is Cause.TIMEOUT:
            return await self._looks.work_timeout(run, self._log, self.board).end(run.limits), doubt
        if run.uid is not None:
            seen = await self._looks.confirmed(run, decision, lambda: self.board.decision(run, time.monotonic()))
        else:
            try:
                await self._end_create(run)
                seen = decision if run.uid is None else self._of_found_job(run, decision)
            except exceptions.KubernetesApiError as error:
                seen = None if self._looks.is_awaited(run, decision, error) else decision
                doubt = f" {launching.unknown(self.job.ref.namespace, run.name)}"
        return None if seen is None else await self._records.confirmed(run, seen), doubt

    def _of_found_job(self, run: NodeRun, decision: Verdict | Lost) -> Verdict | Lost | None:
        """The decision about a run whose Job no watch had brought, None if the run goes on.

        Nothing but the silence of the watches may have ended it. A Job without an owner ends.
        """
        again = self.board.decision(run, time.monotonic())
        if isinstance(again, Wait):
            return decision if self.board.is_owner_deleted else None
        return again

    async def _conclude(self, run: NodeRun, due: Verdict | Lost) -> None:
        """Read what the run printed, show how it ended, write its outcome."""
        self._lines.begin(run, due, is_live=run.start in self._live)
        decision, doubt = await self._confirmed(run, due)
        before = self.board.failures_before(run.node)
        if isinstance(decision, Verdict) and run.uid is not None:
            if run.may_be_repeated and not decision.is_success:
                others = other_failures(run.seen.view, decision.pod_uid)
                await launching.end_attempts(self._api, JobRef(self.job.ref.namespace, run.name, run.uid), others)
            look = partial(self._looks.last_look, run)
            decision = await after_its_pods(run, decision, self._records, look, before, self._endings)
            doubt = self._endings.doubt(run, self.job.ref.namespace)
        if decision is None:
            self._lines.forget(run)
            run.is_concluding, run.look_at = False, time.monotonic() + DOUBT
            self._wake()
            return
        # The log of a pod whose node is lost keeps one waiting: others must not wait for it.
        async with contextlib.nullcontext() if isinstance(decision, Lost) else self._reading:
            reasons = await self._records.reasons(run, decision)
            bare = self._records.of(run, decision, None, before, reasons)
            uid = decision.pod_uid if isinstance(decision, Verdict) else run.seen.view.last_pod
            output = await self._output_of(run, result.title(run.node, self.plan, bare), uid)
            record = self._records.of(run, decision, output, before, reasons)
            if isinstance(decision, Verdict) and decision.is_success and uid is None:
                self._log.note(f"Node {run.node}: {_UNSEEN}", logging.WARNING)
            for warning in output.value().notes(may_quote=self._may_quote):
                self._log.note(f"Node {run.node}: {warning}", logging.WARNING)
            record = replace(record, error=f"{record.error}{doubt}") if doubt and record.error else record
            await self._close(run, record, decision)

    async def _output_of(self, run: NodeRun, title: str, uid: str | None) -> Output:
        """What the run printed in its deciding pod, which is shown if it was not shown live."""
        if run.start not in self._live:
            if not self.job.get_logs:
                self._log.note(title)
            return await self._lines.whole(run, title, uid)
        lines, task = self._live[run.start]
        lines.see(run.seen.view, is_over=True)
        await asyncio.wait({task})
        del self._live[run.start]
        self._log.note(title)
        return lines.output_of(uid)

    async def _close(self, run: NodeRun, record: RunRecord, decision: Verdict | Lost | None = None) -> None:
        if record.status is not Status.COMPLETED:
            self._log.note(f"Node {run.node}: {self._records.error_of(record)}", logging.WARNING)
        if problem := await self._records.write(run, record, decision):
            self._log.note(problem, logging.WARNING)
        self.board.end(run.start, record if self._keeps_output else record.without_output(), time.monotonic())
        self._starting.pop(run.start, None)
        self._wake()
        await self._forget(run)

    def _wake(self) -> None:
        """Wake up the loop that waits for a change."""
        self._inbox.put((Kind.EVENT, LISTED))

    async def _delete_late(self, metadata: Mapping[str, Any]) -> None:
        """Delete a Job that was created when its run had been given up."""
        self._log.note(f"Job {metadata['name']} was created too late, and is deleted", logging.WARNING)
        with contextlib.suppress(exceptions.KubernetesApiError):
            await self._api.delete("jobs", self.job.ref.namespace, metadata["name"], uid=metadata["uid"])

    async def _forget(self, run: NodeRun) -> None:
        """Delete the Job of the run that is no longer history."""
        if (old := run.start.index - self.plan.history_limit) >= 0:
            name = manifest.run_name(self.owner, Start(run.node, old))
            self._records.forget(Start(run.node, old))
            with contextlib.suppress(exceptions.KubernetesApiError):
                await self._api.delete("jobs", self.job.ref.namespace, name)

    def _announce_job(self, run: NodeRun) -> None:
        """Whether a run's Job is suspended; where many run, of the first ones."""
        for line in run.announcer.job(run.job):
            if self.plan.is_live or run.start in self._paused or len(self._paused) < EXPLAINED:
                self._paused.add(run.start)
                self._log.note(line.text, line.level)

    def _announce(self, run: NodeRun, pod: pod_status.Pod, *, deleted: bool) -> None:
        """A pod's state; where many run, only what is wrong with one."""
        for line in run.announcer.pod(pod, deleted=deleted) + run.announcer.waits(run.seen.view, time.monotonic()):
            if self.plan.is_live or line.level > logging.INFO:
                self._log.note(line.text, line.level)

    def _show_live(self, run: NodeRun) -> None:
        """Show the lines of the only run as they come."""
        self._lines.see(run)
        if run.start not in self._live:
            if not self.plan.is_live or run.is_concluding:
                return
            start = FollowState.from_text(run.follow_state)
            lines = self._lines.live(start or FollowState())
            title = f"Node {run.node}" + (f", run {run.start.index + 1}" if self.plan.runs > 1 else "")
            is_repeated = run.is_taken_over and not (self.job.holds_lines or (start and start.logs))
            following = self._lines.follow(lines, title, is_repeated=is_repeated)
            self._live[run.start] = lines, self._tasks.create_task(following)
        self._live[run.start][0].see(run.seen.view)
