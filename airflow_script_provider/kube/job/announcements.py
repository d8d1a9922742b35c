"""What is worth a line in the log: each change of a pod's state once, each warning once."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_script_provider.kube.causes import queue, quota
from airflow_script_provider.kube.causes.events import event_line, without_printed_text
from airflow_script_provider.kube.causes.patterns import compiled_later
from airflow_script_provider.kube.hiding import Hide
from airflow_script_provider.kube.job.diagnosis import advised
from airflow_script_provider.kube.job.observed.awaited import awaited, has_a_node
from airflow_script_provider.kube.job.observed.job_status import is_suspended, manager_of
from airflow_script_provider.kube.job.observed.view import View
from airflow_script_provider.kube.labels import QUEUE_LABEL
from airflow_script_provider.kube.pods import pod_state, pod_status
from airflow_script_provider.kube.pods.pod_status import Pod
from airflow_script_provider.kube.wording import one_line

LAUNCH_GRACE = 10.0
"""Seconds in which a pod may wait for our own ConfigMap and Secret: they are created after the
Job."""
NO_POD_AFTER = 1.0
"""Seconds after the launch from which a Job without a pod is unexplained."""
NOT_BEGUN_AFTER = 2.0
"""Seconds after the launch from which a pod that has not begun is unexplained."""
AWAITED_INTERVAL = 60.0
"""Seconds between two lines about what a run waits for: a scheduler may report often."""
UNEXPLAINED_AFTER = (NO_POD_AFTER, NOT_BEGUN_AFTER)

# What these say is also in the pod's status or in the Job's conditions, and announced from there.
_KNOWN_BY_STATUS = frozenset(
    [
        "Failed",
        "BackOff",
        "FailedScheduling",
        "InspectFailed",
        "ErrImageNeverPull",
        "BackoffLimitExceeded",
        "DeadlineExceeded",
    ]
)
_RANDOM_SUFFIX = compiled_later(r"-[a-z0-9]{5}(?=[\"' ]|$)")


@dataclass(frozen=True)
class Line:
    """A line for the log."""

    text: str
    level: int = logging.INFO


@dataclass(frozen=True)
class Announced:
    """What was announced: pods' states by uid, warnings by their key, facts of the Job.

    The facts are whether it is suspended, and which controller manages it in place of Kubernetes'.
    ``awaited`` is what the run waited for.
    """

    states: Mapping[str, str] = field(default_factory=dict)
    warnings: Mapping[str, str] = field(default_factory=dict)
    suspended: bool = False
    manager: str | None = None
    awaited: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        others = {"manager": self.manager, "awaited": self.awaited}
        said = {"states": dict(self.states), "warnings": dict(self.warnings), "suspended": self.suspended}
        return said | {name: text for name, text in others.items() if text}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Announced:
        """From ``to_dict``; an earlier version kept what hooks and probes printed."""
        warnings = {key: without_printed_text(line) for key, line in texts(given.get("warnings", {})).items()}
        others = texts({name: given[name] for name in ("manager", "awaited") if name in given})
        return cls(texts(given.get("states", {})), warnings, bool(given.get("suspended")), **others)


def texts(given: Mapping[str, Any]) -> dict[str, str]:
    """Texts by their key, from JSON. Raises ``TypeError`` for other values."""
    found = dict(given)
    if not all(isinstance(value, str) for value in found.values()):
        raise TypeError("a value is not text")
    return found


class Announcer:
    """Makes the lines of one run, each once; ``before`` was announced by an earlier announcer.

    ``own_objects`` are names of objects that the launch itself is still creating. ``hide`` makes
    what a container runtime reports safe for a line. ``due`` is the moment at which ``waits`` has
    a line that it keeps for now.
    """

    def __init__(
        self, before: Announced = Announced(), own_objects: Sequence[str] = (), hide: Hide | None = None
    ) -> None:
        self._states = dict(before.states)
        self._warnings = dict(before.warnings)
        self._suspended, self._manager = before.suspended, before.manager
        self._own_objects = tuple(own_objects)
        self._hide = hide
        self._awaited, self._quiet_until = before.awaited, None if before.awaited else 0.0
        self.due: float | None = None
        self._pending: queue.Pending | None = None

    @property
    def announced(self) -> Announced:
        """What was announced so far."""
        return Announced(dict(self._states), dict(self._warnings), self._suspended, self._manager, self._awaited)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The Warning events that were announced, oldest first."""
        return tuple(self._warnings.values())

    def job(self, job: Mapping[str, Any]) -> list[Line]:
        """What explains why nothing happens here, if that has changed.

        That is whether the Job is suspended, and whether another controller manages it.
        """
        name, lines = job["metadata"]["name"], []
        if (manager := manager_of(job)) != self._manager:
            self._manager = manager
            lines += [_managed(name, manager)] if manager else []
        if (suspended := is_suspended(job)) != self._suspended:
            self._suspended = suspended
            how = "is suspended; waiting for it to be resumed" if suspended else "is resumed"
            lines.append(Line(f"Job {name} {how}"))
        return lines

    def waits(self, view: View, now: float) -> list[Line]:
        """What the run waits for, when that begins and when it changes; at most once a minute.

        What an earlier announcer has announced counts as of now.
        """
        line = awaited(view, self._pending)
        if self._quiet_until is None:
            self._quiet_until = now + AWAITED_INTERVAL
        if line is None and has_a_node(view):
            self._awaited = ""
        is_news = line is not None and line != self._awaited
        self.due = self._quiet_until if is_news and now < self._quiet_until else None
        if line is None or not is_news or self.due is not None:
            return []
        self._awaited, self._quiet_until = line, now + AWAITED_INTERVAL
        return [Line(advised(line), logging.WARNING)]

    def pod(self, pod: Pod, *, deleted: bool = False) -> list[Line]:
        """The pod's state, if it differs from the last one. Later pods are named as attempts.

        What the scheduler reports of a pod without a node is in ``waits``.
        """
        if pod_state.unscheduled(pod) and not deleted and not pod_status.is_being_deleted(pod):
            return []
        uid, state = pod_status.uid(pod), pod_state.state(pod, self._hide)
        key = "gone" if deleted and not pod_status.script_end(pod) else state.key
        if self._states.get(uid) in (key, "ended", "gone"):
            return []
        is_new = uid not in self._states
        self._states[uid] = key
        attempt = f"Attempt {len(self._states)}: " if is_new and len(self._states) > 1 else ""
        text = "was deleted" if key == "gone" else state.text
        line = f"{attempt}Pod {pod_status.name(pod)} {one_line(text)}".rstrip()
        if state.is_trouble:
            line = advised(line, state.text)
        return [Line(line, logging.WARNING if state.is_trouble else logging.INFO)]

    def event(self, event: Mapping[str, Any], age: float) -> list[Line]:
        """A Warning event, however often repeated, once; ``age`` in seconds since the launch.

        A quota without room is in ``waits``; of its events the newest is kept as the warning.
        That a queue does not admit the Job is in both as well.
        """
        if queue.is_workload(event):
            self._take_workload(event)
            return []
        line = event_line(event)
        if shortage := quota.shortage(event):
            key = f"quota {shortage.quota}"
            self._warnings.pop(key, None)
            self._warnings[key] = line
            return []
        if event.get("reason") in _KNOWN_BY_STATUS or self._is_own(line, age):
            return []
        key = _RANDOM_SUFFIX.sub("", line)
        if key in self._warnings:
            return []
        self._warnings[key] = line
        return [Line(advised(line), logging.WARNING)]

    def _take_workload(self, event: Mapping[str, Any]) -> None:
        self._pending = queue.pending(event)
        self._warnings.pop(queue.WORKLOAD, None)
        if line := queue.warning(event):
            self._warnings[queue.WORKLOAD] = line

    def _is_own(self, line: str, age: float) -> bool:
        return age < LAUNCH_GRACE and any(name in line for name in self._own_objects)


def _managed(name: str, manager: str) -> Line:
    """What another controller means for a run: MultiKueue copies the Job and nothing else."""
    there = "its pods and logs are not seen here, and its ConfigMap and Secret must be copied there"
    return Line(f"Job {name} is managed by {manager}. If that runs it in another cluster, {there}", logging.WARNING)


def unexplained(view: View, job_uid: str, age: float) -> list[tuple[str, str]]:
    """What may say what no status says: uids of the Job and of pods, each with a resource.

    The Job's ``events`` say why there is no pod, a pod's say for example why a volume cannot be
    mounted. A suspended Job in a queue has ``workloads`` that say why it is not admitted.
    """
    found = [(job_uid, "events")] if view.is_without_a_pod and age >= NO_POD_AFTER else []
    if found and is_suspended(view.job) and QUEUE_LABEL in (view.job["metadata"].get("labels") or {}):
        found.append((job_uid, "workloads"))
    if age >= NOT_BEGUN_AFTER:
        pods = (uid for uid, pod in view.pods.items() if uid not in view.gone and not pod_status.has_started(pod))
        found += [(uid, "events") for uid in pods]
    return found
