"""Records of runs on nodes: made from what was seen, and written where the next process looks."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from airflow_script_provider import exceptions
from airflow_script_provider._shielded import ABANDON_TIMEOUT
from airflow_script_provider.api.client import CALL_PATIENCE, KubernetesApi, is_transient
from airflow_script_provider.jobs import launching
from airflow_script_provider.jobs.answers import stops
from airflow_script_provider.kube import refusal
from airflow_script_provider.kube.causes import script_error, signs
from airflow_script_provider.kube.causes.events import event_lines
from airflow_script_provider.kube.hiding import Hide, name_of_error
from airflow_script_provider.kube.job import progress, termination
from airflow_script_provider.kube.job.diagnosis import Case, hint_for
from airflow_script_provider.kube.job.launched import JobRef, LaunchedJob
from airflow_script_provider.kube.job.manifest import NO_OTHER_POD
from airflow_script_provider.kube.job.outcomes import LAST_LINES
from airflow_script_provider.kube.job.verdict import Cause, Verdict
from airflow_script_provider.kube.labels import OUTCOME_ANNOTATION
from airflow_script_provider.kube.logs.output import Output
from airflow_script_provider.kube.nodes import board, manifest, selection
from airflow_script_provider.kube.nodes import record as node_record
from airflow_script_provider.kube.nodes.board import NodeRun
from airflow_script_provider.kube.nodes.plan import Start
from airflow_script_provider.kube.nodes.progress import Lost
from airflow_script_provider.kube.nodes.record import RunRecord
from airflow_script_provider.kube.pods import pod_state
from airflow_script_provider.kube.wording import MAX_HEADLINE, one_line, shortened
from airflow_script_provider.result import Category, Status

AT_ONCE = 8
"""Runs whose reasons are asked for, or that are ended, at a time."""
WRITING_AGAIN = 2 * CALL_PATIENCE
"""Seconds for all records that could not be written at first."""
_LATE = (Cause.SCHEDULE_TIMEOUT, Cause.STARTUP_TIMEOUT)
_NEEDS_EVENTS = (*_LATE, Cause.DEADLINE)


@dataclass(frozen=True)
class Reasons:
    """What the cluster says of a run that has not begun: Warning events, the state of its node."""

    warnings: Sequence[str] = ()
    state_of_node: str | None = None


@dataclass(frozen=True)
class _Unwritten:
    """A record that could not be written, or whose Job could not be ended.

    ``is_on_job`` says that only the run's Job tells how the run ended, and ``is_unended`` that
    Kubernetes may go on with it.
    """

    run: NodeRun
    record: RunRecord
    decision: Verdict | Lost | None
    is_on_job: bool
    is_unended: bool


@dataclass
class RecordWriter:
    """Writes records of runs. ``job`` is the owner of the runs, ``hide`` its context's.

    ``few`` bounds what hundreds of runs may do when all of them end at once.
    """

    api: KubernetesApi
    job: LaunchedJob
    hide: Hide | None = None
    few: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE), init=False, repr=False)
    _owner: Mapping[str, Any] = field(default_factory=lambda: {"metadata": {}}, init=False, repr=False)
    _deleted: set[str] = field(default_factory=set, init=False, repr=False)
    _ended: set[str] = field(default_factory=set, init=False, repr=False)
    _unwritten: dict[Start, _Unwritten] = field(default_factory=dict, init=False, repr=False)
    _unkept: dict[Start, RunRecord] = field(default_factory=dict, init=False, repr=False)
    _without_output: dict[Start, str] = field(default_factory=dict, init=False, repr=False)

    async def reasons(self, run: NodeRun, decision: Verdict | Lost) -> Reasons:
        """What is asked for the record of a run that is over."""
        if isinstance(decision, Lost):
            return Reasons()
        async with self.few:
            is_late = decision.cause in _LATE
            return Reasons(await self._warnings(run, decision), await self._state_of(run.node) if is_late else None)

    def of(
        self, run: NodeRun, decision: Verdict | Lost, output: Output | None, failures: int, reasons: Reasons
    ) -> RunRecord:
        """The record of a run that is over, of a node of which so many runs have failed before.

        Without its output, it has no line of the script, so that none needs to be made safe.
        """
        facts = self._facts(run, failures)
        hide, output = (None, Output(0)) if output is None else (self.hide, output)
        if isinstance(decision, Lost):
            return node_record.of_lost(decision, output, **facts)
        case = Case(
            f"{self.job.ref.namespace}/{run.name}",
            decision,
            run.seen.view,
            run.limits,
            had_the_rest=run.limits.deadline_name == "execution_timeout",
            image=self.job.image,
            program=self.job.program,
            last_lines=output.last_lines(LAST_LINES),
            lines=output.last_lines(script_error.LINES),
            warnings=reasons.warnings,
            files=self.job.files,
            hide=hide,
        )
        may_run_on = termination.may_run_on(run.seen.view_of_ends, decision)
        record = node_record.of_case(case, output, may_run_on=may_run_on, **facts)
        if run.limits.deadline_name == board.OWN_DEADLINE:
            record = node_record.with_own_deadline(record, board.OWN_DEADLINE)
        if decision.cause not in _LATE:
            return record
        return node_record.with_state_of_node(record, reasons.state_of_node)

    async def confirmed(self, run: NodeRun, decision: Verdict | Lost) -> Verdict | Lost | None:
        """The decision by what node and kubelet report; None if the run goes on.

        The node may be ready although its pod was evicted, or the kubelet may have stopped a
        script that ended with 0. If the script failed, the run's view then says why it was
        stopped.
        """
        if isinstance(decision, Lost):
            return await self._unless_ready(run, decision)
        namespace, view = self.job.ref.namespace, run.seen.view
        if run.uid is not None:
            ref = JobRef(namespace, run.name, run.uid)
            decision = await stops.of_unseen_end(self.api, ref, view, decision)
        uid = decision.pod_uid
        if uid is None or not progress.may_be_stopped(view, decision, run.limits):
            return decision
        if (stop := await stops.stopped_by_kubelet(self.api, namespace, view, uid)) is None:
            return decision
        run.seen = run.seen.with_stopped(uid, *stop)
        if not decision.is_success:
            return decision
        return replace(decision, cause=Cause.STOPPED, reason=stop[0], message=stop[1])

    async def _unless_ready(self, run: NodeRun, lost: Lost) -> Lost | None:
        """The loss, unless the node is ready: its kubelet ended the pod, which is replaced.

        A kubelet that is alive may also be unable to end a pod. That loss stays. None also while
        the API server is away.
        """
        if not (lost.is_by_taint or lost.must_be_confirmed):
            return lost
        try:
            is_ready = await self._state_seen(run.node) is None
        except exceptions.KubernetesApiError as error:
            return None if is_transient(error) else lost
        if not is_ready:
            return lost
        if lost.must_be_confirmed:
            return lost.with_ready_node()
        run.seen = run.seen.with_ready_node()
        return None

    def of_refusal(self, run: NodeRun, error: exceptions.KubernetesApiError, failures: int) -> RunRecord:
        """The record of a run whose Job cannot be created."""
        words = shortened(one_line(str(error)), MAX_HEADLINE)
        facts = self._facts(run, failures + 1)
        category = signs.category_of(signs.OF_THE_CLUSTER, words, None) or Category.FAILED_CREATE
        reason = error.reason or None
        advice = hint_for(words)
        return RunRecord(status=Status.FAILED, category=category, reason=reason, error=words, advice=advice, **facts)

    def error_of(self, record: RunRecord) -> str | None:
        """All of a run's error, as far as this process may show it."""
        return record.with_whole_error(self.hide or name_of_error).error

    async def end(self, run: NodeRun, record: RunRecord, decision: Verdict | Lost | None) -> bool:
        """Write the record on the run's Job; what Kubernetes would go on with then ends.

        A Job that is to end, but cannot be changed, is deleted. Returns whether the Job has the
        record; without the right to patch, no record is written. Raises ``KubernetesApiError`` if
        the Job stays as it was.
        """
        may_go_on = self._may_go_on(run, decision)
        if not self.job.may_be_marked:
            if may_go_on and run.uid is not None:
                await self._delete(run.name, run.uid)
            return True
        if run.uid is None or run.uid in self._deleted:
            return False
        try:
            has_record = await self._write_on_job(run, record, decision)
        except exceptions.KubernetesApiError:
            if not may_go_on:
                raise
            await self._delete(run.name, run.uid)
            return False
        self._ended |= {run.uid} if may_go_on else set()
        return has_record

    async def write(
        self, run: NodeRun, record: RunRecord, decision: Verdict | Lost | None, *, is_last: bool = False
    ) -> str | None:
        """Write the record on the run's Job, otherwise on the owner; what is wrong with that.

        What Kubernetes would go on with after the decision ends; the Job stays, because it bears
        the record. None is a run that has no Job. A Job that the API server cannot change for the
        moment still tells the next follower how its run ended, and its pod has the output, for
        which the owner has no room. Its record waits for ``write_again``, unless it ``is_last``.
        """
        has_record, is_on_job, problem = False, False, None
        try:
            has_record = await self.end(run, record, decision)
        except exceptions.KubernetesApiError as error:
            is_on_job, problem = True, error
        is_awaited = problem is not None and is_transient(problem) and not is_last
        if self.job.may_be_marked and not has_record and not is_awaited:
            try:
                await self._write_on_owner(run.node, record)
                is_on_job, problem = False, problem if self._may_go_on(run, decision) else None
            except exceptions.KubernetesApiError as error:
                problem = problem or error
        if problem is None:
            self._unwritten.pop(run.start, None)
            return self._without_output.pop(run.start, None)
        is_unended = self._may_go_on(run, decision)
        self._unwritten[run.start] = _Unwritten(run, record, decision, is_on_job, is_unended)
        name = f"Job {self.job.ref.namespace}/{run.name}"
        what = f"{name} cannot be ended" if is_unended else f"The outcome of {name} cannot be written"
        return f"{what}{'' if is_last else ' for now'}: {problem}"

    async def write_again(self, within: float | None, *, on_owner: bool, is_retried: bool) -> list[str]:
        """Write what could not be written; the nodes of which only a Job tells how a run ended.

        ``within`` are seconds, by default ``WRITING_AGAIN``, which is also the longest time.
        ``on_owner`` says that the owner gets what still cannot be written on a Job. Only a try
        that ``is_retried`` needs all; otherwise this ends what Kubernetes may go on with.
        """

        async def again(one: _Unwritten) -> None:
            async with self.few:
                await self.write(one.run, one.record, one.decision, is_last=on_owner)

        late = [again(one) for one in self._unwritten.values() if is_retried or one.is_unended]
        kept = [self.keep(start.node, record) for start, record in self._unkept.items() if is_retried]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WRITING_AGAIN if within is None else min(within, WRITING_AGAIN)):
                await asyncio.gather(*late, *kept)
        return sorted({start.node for start, one in self._unwritten.items() if one.is_on_job})

    def forget(self, start: Start) -> None:
        """Note that a run is no longer history."""
        self._unwritten.pop(start, None)
        self._unkept.pop(start, None)

    async def keep(self, node: str, record: RunRecord) -> None:
        """Keep the record of a run whose Job was deleted on the owner, if that is possible."""
        if not self.job.may_be_marked:
            return
        start = Start(node, record.index)
        self._unkept[start] = record
        async with self.few:
            with contextlib.suppress(exceptions.KubernetesApiError):
                await self._write_on_owner(node, record)
                self._unkept.pop(start, None)

    async def warnings_of(self, run: NodeRun) -> list[str]:
        """The lines of Warning events of a run's Job and pods, oldest first, each once."""
        return event_lines(await self.events_of(run))

    async def events_of(self, run: NodeRun) -> list[dict[str, Any]]:
        """Warning events of a run's Job and pods, oldest first; none where they cannot be read."""
        uids = [uid for uid in (run.uid, *run.seen.view.pods) if uid is not None]
        found: list[dict[str, Any]] = []
        for uid in uids:
            selector = f"involvedObject.uid={uid},type!=Normal"
            try:
                found += (await self.api.list("events", self.job.ref.namespace, fieldSelector=selector))["items"]
            except exceptions.KubernetesApiError:
                return []
        return found

    def _facts(self, run: NodeRun, failures: int) -> dict[str, Any]:
        return {
            "index": run.start.index,
            "job_name": run.name,
            "execution_time": round(time.monotonic() - run.began, 3),
            "finished_at": datetime.fromtimestamp(self.api.now().timestamp(), UTC).isoformat(timespec="seconds"),
            "failures": failures,
        }

    async def _warnings(self, run: NodeRun, verdict: Verdict) -> list[str]:
        """Events say why nothing has begun."""
        is_unclear = verdict.cause in _NEEDS_EVENTS and not run.seen.view.has_begun
        has_told = any(pod_state.trouble(pod) for pod in run.seen.view.pods.values())
        return await self.warnings_of(run) if is_unclear and not has_told else []

    async def _state_of(self, node: str) -> str | None:
        """What is wrong with a node, None if it is well or may not be looked at."""
        try:
            return await self._state_seen(node)
        except exceptions.KubernetesApiError:
            return None

    async def _state_seen(self, node: str) -> str | None:
        found = (await self.api.list("nodes", None, fieldSelector=f"metadata.name={node}"))["items"]
        return selection.state_if_not_ready(found[0]) if found else selection.GONE

    def _may_go_on(self, run: NodeRun, decision: Verdict | Lost | None) -> bool:
        """Whether Kubernetes may go on with a run that is to end: its Job was not ended."""
        is_to_end = decision is not None and _change_of_spec(run, decision) == manifest.STOPPED
        return is_to_end and run.uid is not None and run.uid not in self._ended | self._deleted

    async def _delete(self, name: str, uid: str) -> None:
        await launching.delete_within(self.api, JobRef(self.job.ref.namespace, name, uid), ABANDON_TIMEOUT)
        self._deleted.add(uid)

    async def _write_on_job(self, run: NodeRun, record: RunRecord, decision: Verdict | Lost | None) -> bool:
        """Write the record on the run's Job; whether that is still there.

        All annotations of a Job have 256 KiB together. Without room, the record has no output.
        """
        change = {} if decision is None else _change_of_spec(run, decision)

        async def written(kept: RunRecord) -> bool:
            metadata = {"uid": run.uid, "annotations": {OUTCOME_ANNOTATION: kept.to_text()}}
            return (
                await self._patched(run.name, {"metadata": metadata} | ({"spec": change} if change else {})) is not None
            )

        try:
            return await written(record)
        except exceptions.KubernetesApiError as error:
            bare = record.without_output()
            if error.status not in refusal.INVALID or bare == record:
                raise
            is_there, name = await written(bare), f"Job {self.job.ref.namespace}/{run.name}"
            self._without_output[run.start] = f"The record of {name} has no room for the output: {error}"
            return is_there

    async def _write_on_owner(self, node: str, record: RunRecord) -> None:
        """Write the record on the owner, in place of the one that is no longer history."""
        kept = node_record.for_owner(record, self._owner)
        gone: dict[str, None] = {}
        if (old := manifest.obsolete_index(self._owner, record.index)) is not None:
            gone = dict.fromkeys(board.owner_annotation(node, replace(record, index=old)))

        async def written(kept: RunRecord) -> dict[str, Any] | None:
            metadata = {"uid": self.job.ref.uid, "annotations": {**board.owner_annotation(node, kept), **gone}}
            return await self._patched(self.job.ref.name, {"metadata": metadata})

        try:
            owner = await written(kept)
        except exceptions.KubernetesApiError as error:
            if error.status not in refusal.INVALID:
                raise
            owner = await written(kept.without_details())
        self._owner = owner or self._owner

    async def _patched(self, name: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """The Job after the change, None if it is no longer there."""
        try:
            return await self.api.patch("jobs", self.job.ref.namespace, name, body)
        except exceptions.ApiNotFoundError:
            return None
        except exceptions.KubernetesApiError as error:
            if not refusal.is_of_another_uid(error.server_message):
                raise
            return None


def _change_of_spec(run: NodeRun, decision: Verdict | Lost) -> dict[str, int]:
    """The change of a Job's spec that keeps Kubernetes from going on with a run that is over."""
    is_repeated = isinstance(decision, Verdict) and not decision.is_success and run.may_be_repeated
    if isinstance(decision, Lost) or decision.delete_job or is_repeated:
        return manifest.STOPPED
    return NO_OTHER_POD if termination.has_running_sidecar(run.seen.view, decision) else {}
