"""Following a Job to its end: the one asynchronous core, the same in worker and triggerer.

It watches, reads logs and sleeps; what is seen means is decided by ``kube.progress``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from airflow_script_provider import exceptions
from airflow_script_provider.api.client import KubernetesApi, is_transient
from airflow_script_provider.api.stream_slots import StreamSlots
from airflow_script_provider.api.watch import LISTED, Change
from airflow_script_provider.jobs.changes import Changes, Item, Kind, News, Stop, WatchEvents, pod_selector, take_all
from airflow_script_provider.jobs.outputs import Outputs
from airflow_script_provider.jobs.pod_log import IF_GONE, IF_KEPT, SILENCE, PodLog
from airflow_script_provider.kube.job import announcements, pod_status, progress
from airflow_script_provider.kube.job.follow_state import FollowState, Kept
from airflow_script_provider.kube.job.launched import JobRef, LaunchedJob
from airflow_script_provider.kube.labels import INSTALL_CONTAINER, SCRIPT_CONTAINER
from airflow_script_provider.kube.logs.lines import text_of
from airflow_script_provider.kube.logs.output import Output
from airflow_script_provider.kube.logs.prelude import Prelude
from airflow_script_provider.run_log import RunLog

NO_POD_AFTER = 1.0
"""Seconds without a pod after which the Job's events are watched: they say why there is none."""
NOT_BEGUN_AFTER = 2.0
"""Seconds that a pod may take to begin before its events are watched."""
LISTING_PATIENCE = 30.0
"""Seconds beyond the time to stop at, in which a follower that took over learns of the pods there are."""
DRAIN_MARGIN = 5.0
"""Seconds beyond the grace period in which pods of a Job that was ended may still say something."""
DOUBT = 1.0
"""Seconds after which a decision that the API server did not confirm is made again."""
LOG_MARGIN = 25.0
"""Seconds without progress after which what is left of a log is given up, once everything has ended."""


@dataclass(frozen=True)
class Followed:
    """What following a Job came to: the verdict, everything seen, and the output of the pod that decided."""

    verdict: progress.Verdict
    view: progress.View
    output: Output
    warnings: tuple[str, ...] = ()


@dataclass
class Follower:
    """Follows one Job. ``log`` gets a line at each change of a pod's state, and the script's lines.

    ``start`` is how far an earlier follower came: what it said and logged is not repeated. ``keeps_output`` reads the
    script's log for the result, too; without it and without ``job.get_logs`` no log is read.
    """

    api: KubernetesApi
    job: LaunchedJob
    log: RunLog
    changes: Changes
    start: FollowState = field(default_factory=FollowState)
    keeps_output: bool = True
    slots: StreamSlots | None = None
    log_silence: float = SILENCE
    view: progress.View = field(default_factory=progress.View)
    _queue: asyncio.Queue[Item] = field(default_factory=asyncio.Queue)
    _logs: dict[tuple[str, str], PodLog] = field(default_factory=dict)
    _last_words: dict[str, list[announcements.Line]] = field(default_factory=dict)
    _log_tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _readers: list[asyncio.Task[None]] = field(default_factory=list)
    _watched: dict[str, Stop] = field(default_factory=dict)
    _tasks: asyncio.TaskGroup = field(default_factory=asyncio.TaskGroup)
    _started: float = field(default_factory=time.monotonic)
    _may_watch_events: bool = True
    _if_gone: str = IF_GONE

    def __post_init__(self) -> None:
        self._outputs = Outputs(self.job.max_output_bytes, whole=self.keeps_output)
        self._said = announcements.Announcer.after(self.start.said)
        self._said.hide(self.job.own_objects)
        if self.start.clock is not None:
            # What another has seen of the pods is not known here: until it is, no time is over.
            self.view = replace(self.view, started_at=_monotonic(self.start.clock), pods_known=False)
        self._started = min(self._started, _monotonic(self.job.launched_at))

    @property
    def ref(self) -> JobRef:
        """The Job."""
        return self.job.ref

    async def follow(self) -> Followed:
        """Follow to the end. Raises ``KubernetesApiError`` when Job or pods cannot be watched."""
        ending = await self.follow_until(None)
        if ending is None:
            raise AssertionError("unreachable: without a time to stop at it follows to the end")
        return ending

    async def follow_until(self, until: float | None, *, surely: bool = False) -> Followed | None:
        """Follow to the end; None if at the monotonic time ``until`` there is none, for another to follow on.

        ``surely`` asks the API server once more by then: a watch may be dead without anybody knowing.

        Raises ``KubernetesApiError`` when Job or pods cannot be watched.
        """
        outcome: progress.Verdict | exceptions.KubernetesApiError | None
        async with self._tasks, self.changes.told(self.ref, self._hear) as watch_events:
            try:
                outcome = await self._until_decided(until, watch_events)
                if outcome is None and surely:
                    outcome = await self._after_a_look()
                if outcome is not None:
                    await self._drain(outcome)
            except exceptions.KubernetesApiError as error:
                outcome = error  # raised below: a TaskGroup would wrap it
            finally:
                for reader in self._readers:
                    reader.cancel()
        if isinstance(outcome, exceptions.KubernetesApiError):
            raise outcome
        return None if outcome is None else self._ending(outcome)

    async def read_logs_of(self, verdict: progress.Verdict, view: progress.View, kept: Kept | None = None) -> Followed:
        """The ending of a Job that another has followed to its end: what is left to read of the logs, and the output.

        The log of the pod that decided is read again from its beginning, because lines don't travel; ``kept`` is what
        there is of it where it has gone with its pod.
        """
        self.view = view
        self._if_gone = IF_KEPT if kept is not None and kept.text else IF_GONE
        async with self._tasks:
            for uid, pod in view.pods.items():
                is_read = self.start.position(uid, SCRIPT_CONTAINER).complete
                if pod_status.script_has_started(pod) and (uid == verdict.pod_uid or not is_read):
                    self._follow_script(uid, pod_status.name(pod))
                    self._logs[uid, SCRIPT_CONTAINER].gone = True  # a 404 is final: nobody makes this pod again
                    self._logs[uid, SCRIPT_CONTAINER].ended.set()
            await self._read_logs()
            for task in self._readers:
                task.cancel()
        return self._ending(verdict, kept)

    def kept_for(self, verdict: progress.Verdict) -> Kept:
        """What another cannot read any more once this follower has ended: the output of a pod that is deleted."""
        return self._outputs.kept(verdict.pod_uid) if verdict.ends_pods else Kept()

    def _ending(self, verdict: progress.Verdict, kept: Kept | None = None) -> Followed:
        return Followed(verdict, self.view, self._outputs.of(verdict.pod_uid, kept), self._said.warnings)

    @property
    def handover(self) -> FollowState:
        """How far this follower came, for the next one."""
        logs = {key: log.position for key, log in self._logs.items()}
        clock = None if self.view.started_at is None else time.time() - (time.monotonic() - self.view.started_at)
        return FollowState({**self.start.logs, **logs}, self._said.said, clock, deferral=self.start.deferral)

    async def _until_decided(self, until: float | None, watch_events: WatchEvents) -> progress.Verdict | None:
        while True:
            now = time.monotonic()
            decision = progress.decide(self.view, self.job.limits, now)
            if isinstance(decision, progress.Verdict):
                if confirmed := await self._confirmed(decision):
                    return confirmed
                decision = progress.Wait(time.monotonic() + DOUBT)
            stop = None if until is None else until + (0 if self.view.pods_known else LISTING_PATIENCE)
            if stop is not None and now >= stop:
                return None
            self._watch_events_where_stuck(now, watch_events)
            moments = [m for m in (decision.until, self._next_event_watch(now), stop) if m is not None]
            await take_all(self._queue, self._take, min(moments, default=None))

    async def _confirmed(self, verdict: progress.Verdict) -> progress.Verdict | None:
        """The verdict by what the API server has now, where a watch that is late or dead could have misled us.

        None if it was wrong, or if nobody can tell while the server does not answer: then the watch's patience and the
        end of the run's own time are what ends the waiting.
        """
        if not verdict.is_of_the_job and not verdict.is_by_time:
            return verdict
        try:
            await self._look()
        except exceptions.KubernetesApiError as error:
            if verdict.cause is progress.Cause.STARTUP_TIMEOUT and is_transient(error):
                return None
            self.log.note(f"Job {self.ref} and its pods cannot be looked at: {error}", logging.WARNING)
            return verdict
        again = progress.decide(self.view, self.job.limits, time.monotonic())
        if isinstance(again, progress.Verdict):
            return again
        return None if verdict.is_by_time else verdict

    async def _after_a_look(self) -> progress.Verdict | None:
        """What the API server's answer comes to; None if that is nothing, or there is none."""
        with contextlib.suppress(exceptions.KubernetesApiError):
            await self._look()
        decision = progress.decide(self.view, self.job.limits, time.monotonic())
        return decision if isinstance(decision, progress.Verdict) else None

    async def _look(self) -> None:
        """Take in Job and pods as the API server has them now."""
        found = await self.api.list("pods", self.ref.namespace, labelSelector=pod_selector(self.ref))
        try:
            job = await self.api.get("jobs", self.ref.namespace, self.ref.name)
        except exceptions.ApiNotFoundError:
            job = {"metadata": {"uid": ""}}
        for pod in sorted(found["items"], key=lambda pod: str(pod["metadata"]["creationTimestamp"])):
            self._take_pod(pod, time.monotonic(), deleted=False)
        self._take((Kind.JOB, Change(job)))

    def _hear(self, kind: Kind, news: News) -> None:
        self._queue.put_nowait((kind, news))

    def _take(self, item: Item) -> None:
        kind, change = item
        now = time.monotonic()
        if isinstance(change, exceptions.KubernetesApiError):
            self._take_error(kind, change)
        elif change is LISTED:
            self.view = replace(self.view, pods_known=self.view.pods_known or kind is Kind.POD)
        elif kind is Kind.EVENT:
            self._say(self._said.event(change.object, now - self._started))
        elif kind is Kind.POD:
            self._take_pod(change.object, now, deleted=change.deleted)
        elif change.object["metadata"]["uid"] == self.ref.uid:
            self._say(self._said.job(change.object))
            self.view = self.view.with_job(change.object, now, deleted=change.deleted)
        else:
            # A Job of the same name that is not ours: ours was deleted, and its deletion was missed.
            self.view = self.view.with_job(self.view.job, now, deleted=True)

    def _take_error(self, kind: Kind, error: exceptions.KubernetesApiError) -> None:
        """Without the Job or its pods there is nothing to follow; events are only reasons."""
        if kind is not Kind.EVENT:
            raise error
        if self._may_watch_events:
            self._may_watch_events = False
            self.log.note(f"Events cannot be read, so reasons may be missing: {error}", logging.WARNING)

    def _take_pod(self, pod: pod_status.Pod, now: float, *, deleted: bool) -> None:
        uid = pod_status.uid(pod)
        self.view = self.view.with_pod(pod, now, deleted=deleted)
        lines = self._said.pod(pod, deleted=deleted)
        is_end = bool(pod_status.script_end(pod) or pod_status.failed_end(pod))
        if not is_end:
            self._say(lines)
        self._take_logs(pod, uid, deleted=deleted)
        if is_end and uid in self._log_tasks and not self._log_tasks[uid].done():
            self._last_words.setdefault(uid, []).extend(lines)
        elif is_end:
            self._say(lines)

    def _take_logs(self, pod: pod_status.Pod, uid: str, *, deleted: bool) -> None:
        """Start the logs that there are to read, and tell those whose container has ended."""
        if pod_status.installation_has_started(pod) and self._is_to_be_read(uid, INSTALL_CONTAINER):
            self._follow_installation(uid, pod_status.name(pod))
        if pod_status.script_has_started(pod) and self._is_to_be_read(uid, SCRIPT_CONTAINER):
            end = pod_status.script_end(pod)
            # A success that nobody has followed live is read by the worker alone, who reads it in any case.
            if self.keeps_output or end is None or end.exit_code != 0:
                self._follow_script(uid, pod_status.name(pod))
        ends = {INSTALL_CONTAINER: pod_status.install_end(pod), SCRIPT_CONTAINER: pod_status.script_end(pod)}
        for container, end in ends.items():
            if (uid, container) in self._logs and (deleted or end):
                self._logs[uid, container].gone = deleted
                self._logs[uid, container].ended.set()

    def _is_to_be_read(self, uid: str, container: str) -> bool:
        if (uid, container) in self._logs or not (self.job.get_logs or self.keeps_output):
            return False
        return self.keeps_output or not self.start.position(uid, container).complete

    def _say(self, lines: Sequence[announcements.Line]) -> None:
        for line in lines:
            self.log.note(line.text, line.level)

    def _follow_script(self, uid: str, pod_name: str) -> None:
        output = self._outputs.begin(uid)
        # Where another has read the beginning, the prelude's last line may be in it.
        is_continued = not self.keeps_output and bool(self.start.position(uid, SCRIPT_CONTAINER).newest)
        prelude = Prelude(None if is_continued else self.job.mark)

        def deliver(lines: Sequence[bytes], new: Sequence[bytes]) -> None:
            output.add(prelude.of_script(lines))
            self.log.output([text_of(line) for line in prelude.shown(new)])

        self._follow_log(uid, pod_name, SCRIPT_CONTAINER, deliver)

    def _follow_installation(self, uid: str, pod_name: str) -> None:
        def deliver(lines: Sequence[bytes], new: Sequence[bytes]) -> None:
            self.log.output([text_of(line) for line in new])

        if (uid, INSTALL_CONTAINER) not in self.start.logs:
            self.log.output(["::group::Installing dependencies"])
        self._follow_log(uid, pod_name, INSTALL_CONTAINER, deliver)

    def _follow_log(
        self,
        uid: str,
        pod_name: str,
        container: str,
        deliver: Callable[[Sequence[bytes], Sequence[bytes]], None],
    ) -> None:
        def note(text: str) -> None:
            self.log.note(text, logging.WARNING)

        start = self.start.position(uid, container)
        pod_log = PodLog(
            self.api,
            self.ref.namespace,
            pod_name,
            deliver,
            note,
            container,
            start=start,
            again=self.keeps_output and (uid, container) in self.start.logs,
            slots=self.slots,
            silence=self.log_silence,
            if_gone=self._if_gone,
        )
        self._logs[uid, container] = pod_log
        before = self._log_tasks.get(uid)
        self._log_tasks[uid] = self._tasks.create_task(self._log_then_last_words(uid, pod_log, before))
        self._readers.append(self._log_tasks[uid])

    async def _log_then_last_words(self, uid: str, pod_log: PodLog, before: asyncio.Task[None] | None) -> None:
        """A container's lines after those of the one before it, then how it ended.

        A short script's log is read when its end is known already.
        """
        if before is not None:
            await asyncio.wait({before})
        try:
            await pod_log.follow()
        finally:
            # Where another goes on with this log, the group goes on, too.
            if pod_log.container == INSTALL_CONTAINER and pod_log.ended.is_set():
                self.log.output(["::endgroup::"])
            self._say(self._last_words.pop(uid, ()))

    async def _drain(self, verdict: progress.Verdict) -> None:
        """Read the logs to their end; a pod that Kubernetes is ending may use its grace period to say why."""
        ending_pods = verdict.cause in (progress.Cause.DEADLINE, progress.Cause.JOB_FAILED)
        give_up = time.monotonic() + (self.job.limits.grace_period + DRAIN_MARGIN if ending_pods else 0)
        while ending_pods and self._still_running() and time.monotonic() < give_up:
            await take_all(self._queue, self._take, give_up)
        for pod_log in self._logs.values():
            pod_log.ended.set()
        await self._read_logs()

    async def _read_logs(self) -> None:
        """Wait for the logs for as long as they make progress."""
        while unread := [task for task in self._log_tasks.values() if not task.done()]:
            newest = max((pod_log.progressed_at for pod_log in self._logs.values()), default=0.0)
            left = newest + LOG_MARGIN - time.monotonic()
            if left <= 0:
                break
            await asyncio.wait(unread, timeout=min(left, 1.0))
        for (uid, _), pod_log in self._logs.items():
            if not self._log_tasks[uid].done():
                pod_log.give_up()

    def _still_running(self) -> bool:
        return any(not pod_log.ended.is_set() for pod_log in self._logs.values())

    def _watch_events_where_stuck(self, now: float, watch_events: WatchEvents) -> None:
        """Events say what a status doesn't: why there is no pod, or why a volume cannot be mounted."""
        stuck = [self.ref.uid] if self.view.is_without_a_pod and now >= self._started + NO_POD_AFTER else []
        for uid, pod in self.view.pods.items():
            if not pod_status.has_begun(pod) and uid not in self.view.gone and now >= self._started + NOT_BEGUN_AFTER:
                stuck.append(uid)
            elif pod_status.has_begun(pod) and uid in self._watched:
                self._watched.pop(uid)()
        for uid in stuck:
            if uid not in self._watched and self._may_watch_events:
                self._watched[uid] = watch_events(uid)

    def _next_event_watch(self, now: float) -> float | None:
        moments = (self._started + NO_POD_AFTER, self._started + NOT_BEGUN_AFTER)
        return min((moment for moment in moments if moment > now), default=None)


def _monotonic(time_of_day: float) -> float:
    """A time of day on the monotonic clock."""
    return time.monotonic() - (time.time() - time_of_day)
