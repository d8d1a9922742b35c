"""How long a run has been at work, which ``timeout`` bounds.

The work begins when a script of the run first begins. All attempts and the pauses between them are
part of it, and waits for a node are not. Times are seconds of one monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Work:
    """The time that a run has worked.

    ``worked`` are the seconds before its last wait for a node, None before a script has begun.
    ``since`` is when the work began or went on, None while there is none. ``paused_at`` is when
    it paused, None if this follower has not seen that.
    """

    worked: float | None = None
    since: float | None = None
    paused_at: float | None = None

    def paused(self, moment: float) -> Work:
        """The work while the run waits for a node, from a moment on."""
        if self.worked is None or self.since is None:
            return self
        moment = max(self.since, moment)
        return Work(self.worked + moment - self.since, None, moment)

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
