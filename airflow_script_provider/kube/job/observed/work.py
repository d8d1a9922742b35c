"""How long a run has been at work, which ``timeout`` bounds.

The work begins with the first script of the run, or with the first attempt that fails before its
script, as while it installs. All later attempts and the pauses between them are part of it, and
waits for a node are not. Times are seconds of one monotonic clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple


class PodStart(NamedTuple):
    """When a pod was created, got its node and began its script; None for what is unknown."""

    created: float | None
    scheduled: float | None
    began: float | None


@dataclass(frozen=True, slots=True)
class Work:
    """The time that a run has worked.

    ``worked`` are the seconds before its last wait for a node, None before a script has begun.
    ``since`` is when the work began or went on, None while there is none. ``paused_at`` is when
    it paused, None if this follower has not seen that. ``seen_until`` is until when an earlier
    follower saw it go on, None once this one has.
    """

    worked: float | None = None
    since: float | None = None
    paused_at: float | None = None
    seen_until: float | None = None

    @property
    def is_first_look(self) -> bool:
        """Whether this follower has not seen the work yet: each pod may have waited before."""
        return self.worked is None or self.seen_until is not None

    def looked_at(self, starts: Sequence[PodStart], job_started_at: float | None) -> Work:
        """The work by the starts of pods that were not seen yet, in the order of their creation.

        At the first look, these are all pods. It begins with the first script.
        """
        moments = [start.began for start in starts if start.began is not None]
        begun = Work(0.0, min(moments)) if self.worked is None and moments else self
        return begun._without_unseen_waits(job_started_at, starts)

    def _without_unseen_waits(self, job_started_at: float | None, starts: Iterable[PodStart]) -> Work:
        """The work without the waits for a node that were over before a follower could see them.

        A Job that was suspended between two followers has a new start time. When its work paused
        is then unknown, so that only what the first of them saw of it counts.
        """
        if self.since is None:
            return self
        work, started_at = self, job_started_at
        if self.seen_until is not None and started_at is not None and started_at > self.since:
            work = self.paused(self.seen_until).resumed(started_at)
        for created, scheduled, _ in starts:
            if created is not None and scheduled is not None and created > (work.since or 0.0):
                work = work.paused(created).resumed(scheduled)
        return work

    def paused(self, moment: float) -> Work:
        """The work while the run waits for a node, from a moment on."""
        if self.worked is None or self.since is None:
            return self
        moment = max(self.since, moment)
        return Work(self.worked + moment - self.since, None, moment)

    def going_on(self, moment: float) -> Work:
        """The work that this follower sees; after a wait, it goes on from a moment."""
        work = self.resumed(moment) if self.since is None else self
        return work if work.seen_until is None else replace(work, seen_until=None)

    def resumed(self, moment: float) -> Work:
        """The work that goes on from a moment, but not before its pause."""
        if self.worked is None or self.since is not None:
            return self
        return replace(self, since=moment if self.paused_at is None else max(self.paused_at, moment))

    def over_at(self, timeout: float | None) -> float | None:
        """When the work has taken its time; None without a limit, and while there is none."""
        if self.worked is None or self.since is None or timeout is None:
            return None
        return self.since + timeout - self.worked
