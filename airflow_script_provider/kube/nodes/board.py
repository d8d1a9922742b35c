"""The board of a script on nodes: what was seen of all its runs, and what is to do next.

A follower that reattaches begins with an empty board, and fills it with existing Jobs and pods.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from airflow_script_provider.kube.job import earlier_tries
from airflow_script_provider.kube.job.announcements import Announcer
from airflow_script_provider.kube.job.follow_state import FollowState
from airflow_script_provider.kube.job.observed import clocks
from airflow_script_provider.kube.job.observed.pruning import controller_of, pruned_job, pruned_pod
from airflow_script_provider.kube.job.progress import is_work_over
from airflow_script_provider.kube.job.verdict import Cause, Limits, Verdict, Wait
from airflow_script_provider.kube.labels import (
    ENDED_ANNOTATION_PREFIX,
    FOLLOW_STATE_ANNOTATION,
    NODE_ANNOTATION,
    OUTCOME_ANNOTATION,
    RUN_LABEL,
    TIMEOUT_ANNOTATION,
)
from airflow_script_provider.kube.names import short_digest
from airflow_script_provider.kube.nodes import manifest, progress
from airflow_script_provider.kube.nodes.plan import NextRuns, NodePlan, NodeState, Start, must_stop, next_step
from airflow_script_provider.kube.nodes.progress import Lost, NodeView
from airflow_script_provider.kube.nodes.record import RunRecord, of_job, of_owner
from airflow_script_provider.kube.times import parse_time

OWN_DEADLINE = "activeDeadlineSeconds"
"""What sets the deadline of a Job in place of our arguments."""


@dataclass
class NodeRun:
    """A run that is under way.

    ``name`` is the name of its Job. ``uid`` is None until the Job was seen; ``look_at`` is None
    until its create is sent. ``follow_state`` says how far the previous follower has shown the
    run's lines. ``is_taken_over`` says that there was a previous follower.
    """

    start: Start
    name: str
    limits: Limits
    began: float
    seen: NodeView = field(default_factory=NodeView)
    uid: str | None = None
    is_concluding: bool = False
    follow_state: str | None = None
    is_taken_over: bool = False
    announcer: Announcer = field(default_factory=Announcer)
    look_at: float | None = None

    @property
    def job(self) -> Mapping[str, Any]:
        """The newest state of the run's Job, empty until the Job was seen."""
        return self.seen.view.job

    @property
    def node(self) -> str:
        """The name of the node."""
        return self.start.node

    @property
    def may_be_repeated(self) -> bool:
        """Whether Kubernetes may run the script again after a failure: admission may allow it."""
        limit: int = self.job.get("spec", {}).get("backoffLimit", self.limits.backoff_limit)
        return limit > self.limits.backoff_limit


@dataclass
class Board:
    """All that was seen of the runs. Times are of one monotonic clock.

    ``never_seen`` are runs that were ended before their Job was seen; it may still come.
    ``time_of_day`` is the API server's.
    """

    plan: NodePlan
    limits: Limits
    runs: dict[Start, NodeRun] = field(default_factory=dict)
    records: dict[Start, RunRecord] = field(default_factory=dict)
    states: dict[str, NodeState] = field(default_factory=dict)
    never_seen: set[Start] = field(default_factory=set)
    is_owner_deleted: bool = False
    is_owner_complete: bool = False
    time_of_day: Callable[[], float] = time.time

    def begin(self, start: Start, name: str, now: float) -> NodeRun:
        """Note a run whose Job is about to be created."""
        limits = replace(self.limits, timeout=self.plan.time_for_work, deadline=self.plan.longest_run, backoff_limit=0)
        run = self.runs[start] = NodeRun(start, name, limits, now)
        before = self.states.get(start.node, NodeState())
        self.states[start.node] = replace(before, is_running=True)
        return run

    def ask(self, run: NodeRun, now: float) -> None:
        """Note that the create of a run's Job is sent.

        The limits that end the run if its Job is never seen count from here.
        """
        run.seen, run.look_at = run.seen.since(now), now

    def end(self, start: Start, record: RunRecord, now: float) -> None:
        """Note that a run is over, also if another follower has written its record."""
        run = self.runs.pop(start, None)
        if run is not None and run.uid is None:
            self.never_seen.add(start)
        if start in self.records:
            return
        self.records[start] = record
        before = self.states.get(start.node, NodeState())
        self.states[start.node] = NodeState(
            ended=max(before.ended, start.index + 1),
            failed=max(before.failed, record.failures),
            is_lost=before.is_lost or record.is_lost,
            is_running=any(other.node == start.node for other in self.runs.values()),
            ended_at=max(before.ended_at, now),
        )

    def take_job(self, job: Mapping[str, Any], now: float, clock: float | None, *, deleted: bool = False) -> bool:
        """Note a Job as it is now. ``clock`` is the Job's ``clock_of``.

        Returns whether it comes too late: its run was ended before its Job was ever seen.
        """
        node, index = manifest.node_of(job), manifest.index_of(job)
        if node is None or index is None:
            if node is None and index is None:
                self._take_owner(job, now, deleted=deleted)
            return False
        start = Start(node, index)
        record, run = of_job(job), self.runs.get(start)
        # A run that is concluded here has a record until its pods have ended.
        if start in self.records or (record is not None and not (run and run.is_concluding)):
            if record is not None:
                self.end(start, record, now - (clock or 0.0))
            return record is None and start in self.never_seen and not deleted
        if run is None:
            run = self.begin(start, job["metadata"]["name"], now - (clock or 0.0))
            left = FollowState.from_text(_follow_state(job)) or FollowState()
            work, run.is_taken_over = left.work(self.time_of_day()), True
            run.seen = run.seen.taken_over(now - (clock or 0.0), left.waited, work)
        elif run.uid is None:
            run.seen = run.seen.since(now)
        run.uid, run.follow_state = job["metadata"]["uid"], _follow_state(job)
        if not run.is_concluding:  # otherwise its deadline may be the one that ends it
            run.limits = replace(run.limits, **self._time_limits(job))
        run.seen = run.seen.with_job(job, now, deleted=deleted)
        run.look_at = now
        return False

    def record_without_job(self, job: Mapping[str, Any]) -> tuple[str, RunRecord] | None:
        """Node and record of a run whose Job was deleted, None where the owner needs no record.

        The owner needs none after its own end, or of a run that is no longer history.
        """
        node, index = manifest.node_of(job), manifest.index_of(job)
        record = None if node is None or index is None else self.records.get(Start(node, index))
        if node is None or record is None or self.is_owner_deleted or self.is_owner_complete:
            return None
        newest = max(start.index for start in self.records if start.node == node)
        is_history = record.index > newest - self.plan.history_limit
        return (node, record) if is_history and Start(node, record.index) not in self.never_seen else None

    def run_of(self, thing: Mapping[str, Any]) -> NodeRun | None:
        """The run under way that a Job or pod names, None if it names none."""
        index = manifest.index_of(thing)
        return None if index is None else self.runs.get(Start(manifest.node_of(thing) or "", index))

    def take_pod(self, pod: Mapping[str, Any], now: float, *, deleted: bool = False) -> NodeRun | None:
        """Note a pod as it is now. Returns its run, None if that is over or not known."""
        run = self._run_of(pod)
        if run is not None:
            run.seen = run.seen.with_pod(pod, now, deleted=deleted)
            run.look_at = now
        return run

    def take_event(self, run: NodeRun, event: Mapping[str, Any], now: float) -> None:
        """Note a Warning event of a run's Job."""
        run.seen = run.seen.with_event(event, now)
        run.look_at = now

    def due(self, now: float, expires_at: float | None) -> Iterator[tuple[NodeRun, Verdict | Lost]]:
        """The runs that are over now, and how they ended.

        After ``expires_at`` all are over. So are runs without a Job whose owner was deleted.
        """
        is_expired = expires_at is not None and now >= expires_at
        for run in list(self.runs.values()):
            is_orphan = run.uid is None and self.is_owner_deleted
            must_look = is_expired or is_orphan or (run.look_at is not None and now >= run.look_at)
            if run.is_concluding or not must_look:
                continue
            decision = self.decision(run, now)
            if isinstance(decision, Wait) and is_expired:
                decision = Verdict(Cause.DEADLINE, run.seen.view.last_pod, delete_job=True)
            if isinstance(decision, Wait):
                run.look_at = decision.until
            else:
                yield run, decision

    def decision(self, run: NodeRun, now: float) -> Wait | Verdict | Lost:
        """Whether a run is over by its own limits."""
        if run.uid is not None:
            is_timed_out = self.is_timed_out(run, now)
            timeout = Verdict(Cause.TIMEOUT, run.seen.view.last_pod, delete_job=True)
            return timeout if is_timed_out else progress.decide(run.seen, run.limits, now)
        return progress.decide_without_job(run.seen, run.limits, now, is_owner_deleted=self.is_owner_deleted)

    def is_timed_out(self, run: NodeRun, now: float) -> bool:
        """Whether the work of a run has taken its time, so that its Job is to end."""
        is_over = is_work_over(run.seen.view, run.limits, now)
        return is_over and isinstance(progress.decide(run.seen, run.limits, now), Wait)

    def next_look(self) -> float | None:
        """The next time at which a run may end without a change in the cluster."""
        moments = [run.look_at for run in self.runs.values() if run.look_at is not None and not run.is_concluding]
        return min(moments, default=None)

    def next_step(self, now: float, *, is_expired: bool) -> NextRuns:
        """Which runs to start now."""
        if self.is_owner_deleted or self.is_owner_complete or is_expired:
            return NextRuns(is_over=not self.runs)
        return next_step(self.plan, self.states, now)

    def missing(self, *, is_expired: bool) -> str:
        """Why runs have no outcome once all is over."""
        if must_stop(self.plan, self.states):
            return f"not started (stop_after_failures={self.plan.stop_after_failures})"
        if self.is_owner_deleted:
            return "not started (the Job that owns them was deleted)"
        if is_expired:
            return "not started (execution_timeout)"
        return "of unknown outcome (their Jobs were deleted)" if self.is_owner_complete else "not started"

    def waits(self, now: float) -> dict[Start, FollowState]:
        """How long runs have waited and worked: those that wait or have waited, or have a state.

        What else an earlier follower has left of a run stays as it is. Of other runs, the pods say
        how long they have worked.
        """
        states = {}
        for start, run in self.runs.items():
            waited, work = clocks.seconds_for_a_node(run.seen.view, now), run.seen.view.work
            if waited or work.worked or run.follow_state:
                left = FollowState.from_text(run.follow_state) or FollowState()
                states[start] = replace(left, waited=waited).with_work(work, self.time_of_day())
        return states

    def failures_before(self, node: str) -> int:
        """The number of failed runs of a node."""
        return self.states.get(node, NodeState()).failed

    def history(self) -> dict[str, list[RunRecord]]:
        """The records by node."""
        found: dict[str, list[RunRecord]] = {}
        for start, record in self.records.items():
            found.setdefault(start.node, []).append(record)
        return found

    def _run_of(self, pod: Mapping[str, Any]) -> NodeRun | None:
        """The run whose Job made a pod; before that Job was seen, the run that the pod names."""
        uid, named = controller_of(pod), self.run_of(pod)
        if named is not None and (not uid or named.uid in (None, uid)):
            return named
        return next((run for run in self.runs.values() if uid and run.uid == uid), None)

    def _take_owner(self, owner: Mapping[str, Any], now: float, *, deleted: bool) -> None:
        self.is_owner_deleted = self.is_owner_deleted or deleted or "deletionTimestamp" in owner["metadata"]
        self.is_owner_complete = self.is_owner_complete or manifest.is_complete(owner)
        for node, record in of_owner(owner):
            run = self.runs.get(start := Start(node, record.index))
            if run is None or not run.is_concluding:
                self.end(start, record, now)

    def _time_limits(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """The Job's deadline, which another may have set, what sets it, and the time for the work.

        Kubernetes ends the work of a run that an earlier version has started.
        """
        seconds, plan = job.get("spec", {}).get("activeDeadlineSeconds"), self.plan
        is_ended = TIMEOUT_ANNOTATION in (job["metadata"].get("annotations") or {})
        is_ours = is_ended or seconds in (plan.timeout, plan.longest_run)
        of_task = OWN_DEADLINE if plan.expires_at is None else "execution_timeout"
        asked = replace(self.limits, timeout=plan.time_for_work, deadline=plan.longest_run)
        is_of_earlier_version = seconds == plan.timeout and not is_ended
        worked = None if is_of_earlier_version else plan.timeout if is_ended else asked.time_for_work(seconds)
        return {"deadline": seconds, "deadline_name": "timeout" if is_ours else of_task, "timeout": worked}


def clock_of(job: Mapping[str, Any], now: datetime) -> float | None:
    """How long a run has been at work, or has been over, in seconds of the API server's clock.

    None if that is unknown, or while the Job is suspended.
    """
    record = of_job(job)
    if record is None:
        return earlier_tries.seconds_on_the_clock(job, now)
    return (now - parse_time(record.finished_at)).total_seconds() if record.finished_at else None


def owner_annotation(node: str, record: RunRecord) -> dict[str, str]:
    """The owner's annotation with the record of a run that has no Job."""
    text = json.loads(record.without_output().to_text()) | {"node": node}
    return {f"{ENDED_ANNOTATION_PREFIX}{short_digest(node, record.index)}": json.dumps(text, separators=(",", ":"))}


def kept_job(job: Mapping[str, Any], *, with_output: bool) -> dict[str, Any]:
    """A Job with what the board reads. Without ``with_output`` its outcome has no output."""
    kept = pruned_job(job)
    annotations = job["metadata"].get("annotations") or {}
    if "completions" in job.get("spec", {}):
        kept["spec"]["completions"] = job["spec"]["completions"]
    read = (FOLLOW_STATE_ANNOTATION, ENDED_ANNOTATION_PREFIX, TIMEOUT_ANNOTATION)
    names = [name for name in annotations if name.startswith(read)]
    kept_annotations = {name: annotations[name] for name in names} | _of_run(NODE_ANNOTATION, manifest.node_of(job))
    if (record := of_job(job)) is not None:
        kept_annotations[OUTCOME_ANNOTATION] = (record if with_output else record.without_output()).to_text()
    kept["metadata"] |= {"annotations": kept_annotations, "labels": _of_run(RUN_LABEL, manifest.index_of(job))}
    return kept


def kept_pod(pod: Mapping[str, Any]) -> dict[str, Any]:
    """A pod with what the board reads."""
    kept, labels = pruned_pod(pod), _of_run(RUN_LABEL, manifest.index_of(pod))
    kept["metadata"]["annotations"] = _of_run(NODE_ANNOTATION, manifest.node_of(pod))
    kept["metadata"]["labels"] = {**kept["metadata"].get("labels", {}), **labels}
    return kept


def _of_run(name: str, value: str | int | None) -> dict[str, str]:
    """The label or annotation with what is known of a run."""
    return {} if value is None else {name: str(value)}


def _follow_state(job: Mapping[str, Any]) -> str | None:
    text: str | None = job["metadata"].get("annotations", {}).get(FOLLOW_STATE_ANNOTATION)
    return text
