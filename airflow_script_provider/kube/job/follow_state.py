"""What one follower of a Job leaves to the next one, in a worker or a triggerer.

Everything becomes JSON, of positions and names; it holds no line of a log. Times of day are
seconds since 1970. The keys are stored in databases and on Jobs, so they stay as they are.
"""

from __future__ import annotations

import base64
import json
import math
import time
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from airflow_script_provider.kube.job.announcements import Announced, texts
from airflow_script_provider.kube.job.launched import LaunchedJob
from airflow_script_provider.kube.job.observed import clocks
from airflow_script_provider.kube.job.observed.job_status import manager_of
from airflow_script_provider.kube.job.observed.pruning import pruned_pod, pruned_status
from airflow_script_provider.kube.job.observed.view import View
from airflow_script_provider.kube.job.observed.work import Work
from airflow_script_provider.kube.job.verdict import Cause, Verdict
from airflow_script_provider.kube.labels import (
    END_ANNOTATION,
    FOLLOW_STATE_ANNOTATION,
    INVALID_TEXT,
    SCRIPT_CONTAINER,
    TIMEOUT_ANNOTATION,
)
from airflow_script_provider.kube.logs.container_logs import LogKey
from airflow_script_provider.kube.logs.output import End
from airflow_script_provider.kube.logs.pod_lines import LogPosition
from airflow_script_provider.kube.pods import pod_status
from airflow_script_provider.kube.times import to_monotonic, to_time_of_day

MAX_PODS = 16
"""Pods of a Job that travel in an event, the last ones; a Job may have many attempts."""

MAX_SAVED_END = 128 * 1024
"""Bytes at most of an end on its Job, packed; all annotations of an object may have 256 KiB."""
_EXACT = 4 * 1024
"""Bytes of an output by which it may be shorter than what fits."""


@dataclass(frozen=True)
class FollowState:
    """How far a follower came.

    ``logs`` are positions by pod uid and container. ``clock`` is the time of day that the Job's
    clock started at, None while the Job is suspended. ``is_final`` is False for a state that a
    follower may have gone on from: it was saved along the way, or handed back by a triggerer that
    had not looked at the Job. ``deferral`` distinguishes one deferral of a task from another.
    ``disruptions`` are those of the view. ``has_begun`` says whether a script of the Job was seen
    to begin, None if no follower has reported it. False holds only for the follower that sees all
    pods: a script may begin between two followers, so a stored False is read as None. ``waited``
    are the seconds for which followers have seen that the run waits for a node. ``ran_elsewhere``
    is that of the view. ``worked`` are the seconds of work before the last wait for a node, None
    before a script has begun, and ``works_since`` is when the work began or went on, None while
    there is none: time between two followers counts only for work. ``seen_at`` is until when this
    follower saw the work. Both are times of day of the API server, because the clocks of the
    followers' machines may differ.
    """

    logs: Mapping[LogKey, LogPosition] = field(default_factory=dict)
    announced: Announced = field(default_factory=Announced)
    clock: float | None = None
    is_final: bool = True
    deferral: str = ""
    disruptions: Mapping[str, str] = field(default_factory=dict)
    has_begun: bool | None = False
    waited: float = 0.0
    ran_elsewhere: bool = False
    worked: float | None = None
    works_since: float | None = None
    seen_at: float | None = None

    @classmethod
    def of_view(cls, view: View, now: float, **others: Any) -> FollowState:
        """What the next follower needs of a view, beside ``others``.

        ``now`` is the API server's time of day, here and below.
        """
        return cls(
            clock=None if view.started_at is None else to_time_of_day(view.started_at),
            disruptions=view.disruptions,
            has_begun=view.has_run or view.had_begun,
            waited=clocks.seconds_for_a_node(view, time.monotonic()),
            ran_elsewhere=view.ran_elsewhere,
            **others,
        ).with_work(view.work, now)

    def view(self, now: float) -> View:
        """The view of the next follower, which has seen nothing yet.

        The previous follower's pods are unknown until listed: no timeout may fire before that.
        """
        return View(
            started_at=None if self.clock is None else to_monotonic(self.clock),
            pods_known=self.clock is None,
            disruptions=self.disruptions,
            had_begun=self.has_begun,
            ran_elsewhere=self.ran_elsewhere,
            waited=self.waited,
            work=self.work(now),
        )

    def work(self, now: float) -> Work:
        """How long the run has worked, by the monotonic clock."""
        moments = (self.works_since, self.seen_at)
        since, until = (None if one is None else time.monotonic() - max(0.0, now - one) for one in moments)
        return Work(self.worked, since, seen_until=since if until is None else until)

    def with_work(self, work: Work, now: float) -> FollowState:
        """The state with the work of a run."""
        since = None if work.since is None else now - (time.monotonic() - work.since)
        until = now if work.seen_until is None else now - (time.monotonic() - work.seen_until)
        return replace(self, worked=work.worked, works_since=since, seen_at=None if since is None else until)

    def position(self, uid: str, container: str) -> LogPosition:
        """Where reading the log of a pod's container stopped."""
        return self.logs.get((uid, container), LogPosition())

    def lacks_end(self, uid: str | None) -> bool:
        """Whether the log of a pod's script was not read to its end."""
        return not self.position(uid or "", SCRIPT_CONTAINER).complete

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        logs = {f"{uid}/{container}": position.to_dict() for (uid, container), position in self.logs.items()}
        return {
            "logs": logs,
            "said": self.announced.to_dict(),
            "clock": self.clock,
            "is_final": self.is_final,
            "deferral": self.deferral,
            "disruptions": dict(self.disruptions),
            "has_begun": self.has_begun,
            "waited": self.waited,
            "ran_elsewhere": self.ran_elsewhere,
            "worked": self.worked,
            "works_since": self.works_since,
            "seen_at": self.seen_at,
        }

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> FollowState:
        """From ``to_dict``. Raises an error of ``INVALID_TEXT`` for anything else."""
        logs = {}
        for key, position in given.get("logs", {}).items():
            uid, _, container = key.partition("/")
            logs[uid, container] = LogPosition.from_dict(position)
        return cls(
            logs,
            Announced.from_dict(given.get("said", {})),
            _seconds(given.get("clock")),
            bool(given.get("is_final", True)),
            str(given.get("deferral", "")),
            texts(given.get("disruptions", {})),
            True if given.get("has_begun") is True else None,
            max(0.0, _seconds(given.get("waited")) or 0.0),
            given.get("ran_elsewhere") is True,
            *_work(_seconds(given.get("worked")), _seconds(given.get("works_since"))),
            _seconds(given.get("seen_at")),
        )

    @classmethod
    def from_text(cls, text: str | None) -> FollowState | None:
        """From an annotation's text; None without one, or if it was changed and is not valid."""
        try:
            return cls.from_dict(json.loads(text)) if text else None
        except INVALID_TEXT:
            return None


def _work(worked: float | None, since: float | None) -> tuple[float | None, float | None]:
    return (None, None) if worked is None else (max(0.0, worked), since)


def _seconds(given: Any) -> float | None:
    """Seconds, or None. Python's JSON also has NaN and infinite numbers."""
    if given is None:
        return None
    seconds = float(given)
    if not math.isfinite(seconds):
        raise ValueError("a number of seconds is not finite")
    return seconds


def saved_state(job: Mapping[str, Any], deferral: str) -> FollowState | None:
    """The state that a follower of this deferral saved on the Job, None if there is none."""
    saved = FollowState.from_text((job["metadata"].get("annotations") or {}).get(FOLLOW_STATE_ANNOTATION))
    return saved if saved is not None and saved.deferral == deferral else None


@dataclass(frozen=True)
class Kept:
    """The end of an output whose log goes with its pod, and the size of all that was read.

    ``lacks_start`` says that there were lines before, ``is_torn`` that the first line lacks its
    beginning, ``lacks_end`` that the log could not be read to its end. ``is_whole`` says that the
    text is all of the output, so that the log is not needed any more. ``shown`` counts the
    characters at the text's start that are in the task's log, where a trigger holds the others.
    """

    text: str = ""
    size: int = 0
    lacks_start: bool = False
    lacks_end: bool = False
    is_torn: bool = False
    is_whole: bool = False
    shown: int = 0

    def shortened(self, max_bytes: int) -> Kept:
        """Less of the text: the last ``max_bytes``, in whole lines where more than one fits."""
        data = self.text.encode("utf-8", "replace")
        end = End.cut(data[-max_bytes:] if max_bytes else b"")
        shown = max(0, self.shown - (len(self.text) - len(end.text)))
        return replace(self, text=end.text, lacks_start=True, is_torn=end.is_torn, is_whole=False, shown=shown)


@dataclass(frozen=True)
class JobEnd:
    """A Job that is over, after so many seconds. The view has what the result is made of.

    ``kept`` is empty where a worker can read the output from the pod's log. ``is_of_other_log``
    says that all lines are in the log of another try.
    """

    verdict: Verdict
    view: View
    seconds: float
    state: FollowState = field(default_factory=FollowState)
    kept: Kept = Kept()
    is_of_other_log: bool = False

    @property
    def warnings(self) -> tuple[str, ...]:
        """The Warning events that were announced."""
        return tuple(self.state.announced.warnings.values())

    def for_other_log(self) -> JobEnd:
        """The same for a try in whose log none of the lines are."""
        state, kept = replace(self.state, logs={}), replace(self.kept, shown=0)
        return replace(self, state=state, kept=kept, is_of_other_log=True)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        verdict = {
            "cause": self.verdict.cause.value,
            "pod_uid": self.verdict.pod_uid,
            "reason": self.verdict.reason,
            "message": self.verdict.message,
            "delete_job": self.verdict.delete_job,
        }
        pods = list(self.view.pods.values())[-MAX_PODS:]
        return {
            "verdict": verdict,
            "job": _kept_job(self.view.job) if self.view.job else {},
            "job_deleted": self.view.job_deleted,
            "pods": [pruned_pod(pod) for pod in pods],
            "gone": sorted(self.view.gone),
            "pods_known": self.view.pods_known,
            "own_ends": sorted(self.view.own_ends & {pod["metadata"]["uid"] for pod in pods}),
            "stopped": {uid: list(why) for uid, why in self.view.stopped.items()},
            "disruptions": dict(self.view.disruptions),
            "seconds": self.seconds,
            "handover": self.state.to_dict(),
            "kept": asdict(self.kept),
        }

    def to_text(self) -> str:
        """As an annotation's text, packed; where it is too long, with as much output as fits.

        That may take a second, so an event loop does it in a thread.
        """
        text = _packed(self.to_dict())
        if len(text) <= MAX_SAVED_END:
            return text
        fits, too_much = 0, len(self.kept.text.encode("utf-8", "replace"))
        text = _packed(replace(self, kept=self.kept.shortened(fits)).to_dict())
        while too_much - fits > _EXACT:
            most = (fits + too_much) // 2
            shorter = _packed(replace(self, kept=self.kept.shortened(most)).to_dict())
            if len(shorter) <= MAX_SAVED_END:
                fits, text = most, shorter
            else:
                too_much = most
        return text

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> JobEnd:
        """From ``to_dict``; what a newer version has added is left out.

        Raises an error of ``INVALID_TEXT`` for anything else, such as an unknown cause.
        """
        verdict = Verdict(**_known(Verdict, given["verdict"]) | {"cause": Cause(given["verdict"]["cause"])})
        state = FollowState.from_dict(given["handover"])
        kept_before = {"lacks_end": state.lacks_end(verdict.pod_uid)}  # in an event of an earlier version
        kept = Kept(**kept_before | _known(Kept, given.get("kept", {})))
        own_ends = [pod["metadata"]["uid"] for pod in given["pods"] if pod_status.ends_by_itself(pod)]
        view = View(
            job=given["job"],
            job_deleted=given["job_deleted"],
            pods={pod["metadata"]["uid"]: pod for pod in given["pods"]},
            gone=frozenset(given["gone"]),
            pods_known=given.get("pods_known", True),
            own_ends=frozenset(given.get("own_ends", own_ends)),
            stopped={uid: (reason, message) for uid, (reason, message) in given.get("stopped", {}).items()},
            disruptions=given.get("disruptions", {}),
            had_begun=state.has_begun,
            ran_elsewhere=state.ran_elsewhere,
        )
        return cls(verdict, view, given["seconds"], state, kept)


def saved_end(job: Mapping[str, Any]) -> JobEnd | None:
    """The end that a follower saved on the Job; None without one, or if it was changed."""
    text = (job["metadata"].get("annotations") or {}).get(END_ANNOTATION)
    try:
        return JobEnd.from_dict(json.loads(zlib.decompress(base64.b64decode(text)))) if text else None
    except (*INVALID_TEXT, zlib.error):
        return None


def _packed(end: Mapping[str, Any]) -> str:
    return base64.b64encode(zlib.compress(json.dumps(end).encode(), 9)).decode()


def _known(kind: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    names = {known.name for known in fields(kind)}
    return {name: value for name, value in given.items() if name in names}


def _kept_job(job: Mapping[str, Any]) -> dict[str, Any]:
    """What a result needs of a Job: its status, deadline and manager, and what ended it."""
    manager, deadline = manager_of(job), job.get("spec", {}).get("activeDeadlineSeconds")
    spec = {"managedBy": manager, "activeDeadlineSeconds": deadline}
    kept = {name: value for name, value in spec.items() if value is not None}
    timed_out = (job.get("metadata", {}).get("annotations") or {}).get(TIMEOUT_ANNOTATION)
    metadata = {"metadata": {"annotations": {TIMEOUT_ANNOTATION: timed_out}}} if timed_out is not None else {}
    return {"status": pruned_status(job)} | ({"spec": kept} if kept else {}) | metadata


def to_event(job: Mapping[str, Any], state: JobEnd | FollowState, reason: str = "") -> dict[str, Any]:
    """The event of a trigger: the Job (as JSON), and its end or how far it was followed.

    ``reason`` says why it was not followed to the end.
    """
    if isinstance(state, JobEnd):
        facts: dict[str, Any] = {"ended": state.to_dict()}
    else:
        facts = {"handed_back": state.to_dict(), "reason": reason}
    return {"job": job} | facts


def from_event(event: Mapping[str, Any]) -> tuple[LaunchedJob, JobEnd | FollowState]:
    """From ``to_event``.

    The end of another version may have an unknown cause: then the Job is to be followed from its
    beginning. Raises ``ValueError`` if an entry of the Job is missing.
    """
    job = LaunchedJob.from_dict(event["job"])
    try:
        return job, JobEnd.from_dict(event["ended"]) if "ended" in event else FollowState.from_dict(
            event["handed_back"]
        )
    except INVALID_TEXT:
        return job, FollowState(clock=job.launched_at, has_begun=None)
