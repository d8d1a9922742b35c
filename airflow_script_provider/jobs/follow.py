"""Following a Job to its end: the one asynchronous core, the same in worker and triggerer.

It watches, sleeps and obeys; what is seen means is decided by ``kube.job.progress``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from airflow_script_provider import exceptions
from airflow_script_provider.api.stream_slots import StreamSlots
from airflow_script_provider.api.watch import LISTED, Change
from airflow_script_provider.jobs import launching
from airflow_script_provider.jobs.answers import stops
from airflow_script_provider.jobs.answers.deletions import Deletions
from airflow_script_provider.jobs.answers.doubt import Doubt
from airflow_script_provider.jobs.answers.endings import Ending
from airflow_script_provider.jobs.answers.timeouts import WorkTimeout
from airflow_script_provider.jobs.changes import (
    Changes,
    Inbox,
    Item,
    Kind,
    News,
    Stop,
    WatchEvents,
    as_they_are,
)
from airflow_script_provider.jobs.context import JobContext
from airflow_script_provider.jobs.job_logs import JobLogs, Outputs
from airflow_script_provider.jobs.log_reader import SILENCE
from airflow_script_provider.kube.job import announcements, earlier_tries, progress, termination
from airflow_script_provider.kube.job.follow_state import FollowState, Kept
from airflow_script_provider.kube.job.observed.view import View
from airflow_script_provider.kube.job.verdict import Cause, Verdict, Wait
from airflow_script_provider.kube.logs.output import Output
from airflow_script_provider.kube.pods import pod_status
from airflow_script_provider.kube.times import to_monotonic

V = TypeVar("V", bound=Verdict | None)

LISTING_PATIENCE = 30.0
"""Seconds beyond the time to stop at, in which a follower that took over learns of the pods there
are."""
LOOK_INTERVAL = 3.0
"""Seconds between two looks for the end of the pods, where the watch broke after the verdict."""
DOUBT = 1.0
"""Seconds after which a decision that the API server did not confirm is made again."""


@dataclass(frozen=True)
class Followed:
    """A Job that was followed to its end. ``output`` is that of the pod that decided."""

    verdict: Verdict
    view: View
    output: Output
    warnings: tuple[str, ...] = ()


class Follower:
    """Follows one Job, once: to its end, or until another follower takes over.

    The log of the context gets a line at each change of a pod's state, and the script's lines.
    ``start`` is how far an earlier follower came: what it announced and logged is not repeated.
    ``keeps_output`` reads the script's log also for the result; without it and without
    ``job.get_logs`` no log is read.
    """

    def __init__(
        self,
        context: JobContext,
        changes: Changes,
        start: FollowState,
        *,
        keeps_output: bool = True,
        slots: StreamSlots | None = None,
        log_silence: float = SILENCE,
    ) -> None:
        job = context.job
        self.view = start.view(context.api.now().timestamp())
        self._api, self._job, self._log = context.api, job, context.log
        self._changes, self._start = changes, start
        self._announcer = announcements.Announcer(start.announced, job.own_objects, context.hide)
        self._outputs = Outputs(job.max_output_bytes, whole=keeps_output, pod_of=lambda u: self.view.pods.get(u, {}))
        self._logs = JobLogs(
            context, start, self._outputs.begin, keeps_output=keeps_output, slots=slots, silence=log_silence
        )
        self._inbox = Inbox()
        self._launched_at = min(time.monotonic(), to_monotonic(job.launched_at))
        self._event_watches: dict[tuple[str, str], Stop] = {}
        self._may_watch_events = True
        self._doubt, self._deletions = Doubt(), Deletions()
        call = (context.api, job.ref)
        self._ending = Ending(partial(launching.delete_within, *call), partial(launching.end_attempts, *call))
        self._timeout = WorkTimeout(
            job.ref,
            context.log,
            self._doubt,
            view=lambda: self.view,
            is_over=self._is_work_over,
            look=self._look,
            end_job=partial(launching.end_work, *call),
            take=lambda job: self._take((Kind.JOB, Change(job))),
        )

    @property
    def state(self) -> FollowState:
        """How far this follower came, for the next one."""
        logs = {**self._start.logs, **self._logs.positions}
        announced, deferral = self._announcer.announced, self._start.deferral
        now = self._api.now().timestamp()
        return FollowState.of_view(self.view, now, logs=logs, announced=announced, deferral=deferral)

    async def follow(self) -> Followed:
        """Follow to the end. Raises ``KubernetesApiError`` when Job or pods cannot be watched."""

        async def decide(watch_events: WatchEvents) -> Verdict:
            return await self._drained(await self._verdict(watch_events))

        return self._followed(await self._watching(decide))

    async def follow_until(self, until: float) -> Followed | None:
        """Follow to the end; None if no end is near at the monotonic time ``until``.

        Raises ``KubernetesApiError`` when Job or pods cannot be watched.
        """

        async def decide(watch_events: WatchEvents) -> Verdict | None:
            verdict = await self._verdict_until(until, watch_events)
            if verdict is None and (moment := termination.moment_of_end(self.view, time.monotonic())):
                verdict = await self._verdict_until(moment, watch_events)
            return None if verdict is None else await self._drained(verdict)

        verdict = await self._watching(decide)
        return None if verdict is None else self._followed(verdict)

    async def follow_or_end(self, until: float) -> Followed:
        """Follow to the end, and end the Job at the time ``until`` of the monotonic clock.

        Before that, the API server is asked once more, because a watch may be dead without a sign
        of it. Raises ``KubernetesApiError`` when Job or pods cannot be watched.
        """

        async def decide(watch_events: WatchEvents) -> Verdict:
            verdict = await self._verdict_until(until, watch_events) or await self._verdict_after_a_look()
            return await self._drained(verdict or Verdict(Cause.DEADLINE, self.view.last_pod, delete_job=True))

        return self._followed(await self._watching(decide))

    def kept_for(self, verdict: Verdict) -> Kept:
        """The output that no other process can read any more, because its pod is deleted."""
        if not termination.takes_log(self.view, verdict):
            return Kept()
        lacks_end = self.state.lacks_end(verdict.pod_uid)
        kept = self._outputs.kept(verdict.pod_uid, is_success=verdict.is_success)
        return replace(kept, lacks_end=lacks_end, is_whole=kept.is_whole and not lacks_end)

    def _followed(self, verdict: Verdict) -> Followed:
        output = self._outputs.of(verdict.pod_uid, lacks_end=self._logs.lacks_end(verdict.pod_uid))
        return Followed(verdict, self.view, output, self._announcer.warnings)

    async def _watching(self, decide: Callable[[WatchEvents], Awaitable[V]]) -> V:
        """Decide while changes come in and logs are read."""
        found: V | exceptions.KubernetesApiError
        subscribed = self._changes.subscribe(self._job.ref, self._hear)
        async with subscribed as watch_events, self._logs.reading():
            try:
                found = await decide(watch_events)
            except exceptions.KubernetesApiError as error:
                found = error  # raised below: a TaskGroup would wrap it
        if isinstance(found, exceptions.KubernetesApiError):
            raise found
        return found

    async def _verdict(self, watch_events: WatchEvents) -> Verdict:
        while True:
            decision = await self._decision()
            if isinstance(decision, Verdict):
                return decision
            await self._wait(decision.until, None, watch_events)

    async def _verdict_until(self, until: float, watch_events: WatchEvents) -> Verdict | None:
        while True:
            now, decision = time.monotonic(), await self._decision()
            if isinstance(decision, Verdict):
                return decision
            stop = until + (0 if self.view.pods_known else LISTING_PATIENCE)
            if now >= stop:
                return None
            await self._wait(decision.until, stop, watch_events)

    async def _decision(self) -> Wait | Verdict:
        """What was seen means; a verdict only where the API server confirms it."""
        decision = progress.decide(self.view, self._job.limits, time.monotonic())
        if not isinstance(decision, Verdict):
            self._ending.withdraw()
            if not self._is_work_over():
                return decision
            return await self._timeout.end(self._job.limits) or Wait(time.monotonic() + DOUBT)
        confirmed = await self._confirmed(decision)
        stands = confirmed and await self._ending.confirmed(self.view, confirmed)
        return stands or Wait(time.monotonic() + DOUBT)

    def _is_work_over(self) -> bool:
        return progress.is_work_over(self.view, self._job.limits, time.monotonic())

    async def _wait(self, look_at: float | None, stop: float | None, watch_events: WatchEvents) -> None:
        """Take in what changes, by the next moment at which something else is to be done."""
        now = time.monotonic()
        self._announce(self._announcer.waits(self.view, now))
        self._watch_events(now, watch_events)
        unexplained = (self._launched_at + after for after in announcements.UNEXPLAINED_AFTER)
        moments = [look_at, stop, self._announcer.due, *(moment for moment in unexplained if moment > now)]
        await self._take_all(min((m for m in moments if m is not None), default=None))

    async def _take_all(self, until: float | None) -> None:
        """Take in what changes until then; a pod's deletion as the API server confirms it."""
        await self._inbox.take_all(self._take, until)
        for pod in await self._deletions.look(self._look, lambda: self.view):
            self._take_pod(pod, time.monotonic(), deleted=True)

    async def _confirmed(self, verdict: Verdict) -> Verdict | None:
        """The verdict by what the API server has now, where a late or dead watch could mislead us.

        None if it was wrong, or if another answer is waited for.
        """
        is_of_the_job = verdict.is_of_the_job or (self.view.job_deleted and not verdict.is_success)
        if is_of_the_job or verdict.is_by_time:
            try:
                await self._look()
            except exceptions.KubernetesApiError as error:
                is_unseen, must = progress.is_unseen_success(self.view, verdict), verdict.must_be_confirmed
                if self._doubt.waits_after(error, must_be_confirmed=must, is_unseen_success=is_unseen):
                    return None
                self._log.note(f"Job {self._job.ref} and its pods cannot be read: {error}", logging.WARNING)
                if is_of_the_job:
                    self.view = self.view.without_a_list()
            again = progress.decide(self.view, self._job.limits, time.monotonic())
            is_refuted = verdict.cause is Cause.JOB_DELETED and not self.view.job_deleted
            if not isinstance(again, Verdict) and (verdict.is_by_time or is_refuted):
                return None
            verdict = again if isinstance(again, Verdict) else verdict
        return await self._unless_stopped(verdict)

    async def _unless_stopped(self, verdict: Verdict) -> Verdict | None:
        """The verdict, unless the kubelet reports that it stopped the script."""
        verdict = await stops.of_unseen_end(self._api, self._job.ref, self.view, verdict)
        uid = verdict.pod_uid
        if uid is None or not progress.may_be_stopped(self.view, verdict, self._job.limits):
            return verdict
        stop = await stops.stopped_by_kubelet(self._api, self._job.ref.namespace, self.view, uid)
        if stop is None:
            return verdict
        self.view = self.view.with_stopped(uid, *stop)
        again = progress.decide(self.view, self._job.limits, time.monotonic())
        return await self._unless_stopped(again) if isinstance(again, Verdict) else None

    async def _verdict_after_a_look(self) -> Verdict | None:
        """The verdict by the API server's answer, None where there is neither."""
        try:
            await self._look()
        except exceptions.KubernetesApiError:
            self.view = self.view.without_a_list()
        decision = progress.decide(self.view, self._job.limits, time.monotonic())
        return await self._unless_stopped(decision) if isinstance(decision, Verdict) else None

    async def _look(self) -> None:
        """Take in Job and pods as the API server has them now."""
        ref, seen = self._job.ref, self.view
        job = seen.job or {"metadata": {"uid": ref.uid}}  # nothing of it was seen yet
        pods = {uid: pod for uid, pod in seen.pods.items() if uid not in seen.gone}
        for kind, change in await as_they_are(self._api, ref, job=job, pods=pods):
            if kind is Kind.JOB and not change.deleted:
                # A watch by labels also calls deleted what has only lost them.
                self.view = replace(self.view, job_deleted=False)
            self._take((kind, change), is_looked_up=True)
        self.view = self.view.with_all_pods(time.monotonic())
        self._doubt.end()

    def _hear(self, kind: Kind, news: News) -> None:
        self._inbox.put((kind, news))

    def _take(self, item: Item, *, is_looked_up: bool = False) -> None:
        kind, change = item
        now = time.monotonic()
        if isinstance(change, exceptions.KubernetesApiError):
            self._take_error(kind, change)
        elif change is LISTED:
            self.view = self.view.with_all_pods(now) if kind is Kind.POD else self.view
        elif kind is Kind.EVENT:
            self.view = self.view.with_event(change.object, now)
            self._announce(self._announcer.event(change.object, now - self._launched_at))
        elif kind is Kind.POD:
            if is_looked_up or not self._deletions.hold(change, self.view):
                self._take_pod(change.object, now, deleted=change.deleted)
        elif change.object["metadata"]["uid"] == self._job.ref.uid:
            self._take_job(change, now)
        else:
            # Another Job of the same name: ours was deleted, and its deletion was missed.
            self.view = self.view.with_job(self.view.job, now, deleted=True)

    def _take_job(self, change: Change, now: float) -> None:
        """Announce the Job's state.

        It may have been suspended and resumed between two followers, so at the first sight its own
        times are its clock.
        """
        if not change.deleted:
            self._announce(self._announcer.job(change.object))
            if not self.view.job and self._start.clock is not None:
                on_the_clock = earlier_tries.seconds_on_the_clock(change.object, self._api.now())
                started_at = None if on_the_clock is None else now - on_the_clock
                self.view = replace(self.view, started_at=started_at)
        self.view = self.view.with_job(change.object, now, deleted=change.deleted)

    def _take_error(self, kind: Kind, error: exceptions.KubernetesApiError) -> None:
        """Without the Job or its pods there is nothing to follow; events are only reasons."""
        if kind is not Kind.EVENT:
            raise error
        if self._may_watch_events:
            self._may_watch_events = False
            self._log.note(f"Events cannot be read, so reasons may be missing: {error}", logging.WARNING)

    def _take_pod(self, pod: pod_status.Pod, now: float, *, deleted: bool) -> None:
        """Announce a pod's state; its end after the lines of its log.

        That a pod goes with the Job that this follower has ended is no news.
        """
        self.view = self.view.with_pod(pod, now, deleted=deleted)
        is_news = not (deleted and self._ending.is_asked_for and pod_status.script_end(pod) is None)
        announce = partial(self._announce, self._announcer.pod(pod, deleted=deleted) if is_news else [])
        is_end = bool(pod_status.script_end(pod) or pod_status.failed_end(pod))
        if not is_end:
            announce()
        self._logs.see(self.view)
        if is_end:
            self._logs.afterwards(pod_status.uid(pod), announce)

    def _announce(self, lines: Sequence[announcements.Line]) -> None:
        for line in lines:
            self._log.note(line.text, line.level)

    async def _drained(self, verdict: Verdict) -> Verdict:
        """The verdict, after the end of the pods, and with the logs read to their end.

        A pod that Kubernetes ends may print in its grace period, and another try must not begin
        before its end. If the kubelet does not report the end after that, the script may run on.
        Kubernetes starts nothing new meanwhile.
        """
        limits, verdict = self._job.limits, await self._with_ended_job(verdict)
        await self._pods_ended(verdict, time.monotonic())
        await self._logs.finish()
        if termination.may_run_on(self.view, verdict) and verdict.cause is not Cause.UNREACHABLE:
            with contextlib.suppress(exceptions.KubernetesApiError):
                await self._look()
        settled = termination.settled(self.view, verdict, limits, time.monotonic())
        return verdict if settled == verdict else await self._unless_stopped(settled) or verdict

    async def _pods_ended(self, verdict: Verdict, since: float) -> None:
        """Wait for the end of the pods. If the watch breaks, the API server is asked instead."""
        is_watching, limits = True, self._job.limits
        while (until := termination.wait_until(self.view, verdict, limits, since)) and time.monotonic() < until:
            try:
                if is_watching and not self._deletions.has_unwatched(self.view):
                    await self._take_all(until)
                    continue
                await asyncio.sleep(min(LOOK_INTERVAL, until - time.monotonic()))
                async with asyncio.timeout(LOOK_INTERVAL):
                    await self._look()
            except (TimeoutError, exceptions.KubernetesApiError):
                is_watching = False  # the verdict stays

    async def _with_ended_job(self, verdict: Verdict) -> Verdict:
        """The verdict, after the end of its Job; what the script did while that failed counts."""
        if verdict.delete_job and await self._ending.end(self.view, verdict) is not None:
            again = await self._verdict_after_a_look()
            verdict = verdict if again is None or again.cause is Cause.JOB_DELETED else again
            if verdict.delete_job:
                await self._ending.end(self.view, verdict, launching.REMOVAL_PATIENCE)
        return verdict

    def _watch_events(self, now: float, watch_events: WatchEvents) -> None:
        """Watch the Warning events of what they may explain, until it has begun."""
        for key in [key for key in self._event_watches if pod_status.has_started(self.view.pods.get(key[0], {}))]:
            self._event_watches.pop(key)()
        for key in announcements.unexplained(self.view, self._job.ref.uid, now - self._launched_at):
            if key not in self._event_watches and self._may_watch_events:
                self._event_watches[key] = watch_events(*key)
