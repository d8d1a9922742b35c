"""What is decided of a run: that it is over and why, or until when to wait."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from airflow_script_provider.kube.durations import DEFAULT_SCHEDULE_TIMEOUT


class Cause(Enum):
    """Why a run is over."""

    SCRIPT_SUCCEEDED = "script succeeded"
    SCRIPT_FAILED = "script failed"
    JOB_SUCCEEDED = "job succeeded"
    JOB_FAILED = "job failed"
    DEADLINE = "deadline"
    TIMEOUT = "timeout"
    SCHEDULE_TIMEOUT = "schedule timeout"
    STARTUP_TIMEOUT = "startup timeout"
    IMAGE = "image"
    NOT_EXECUTABLE = "not executable"
    NOT_CREATED = "not created"
    STOPPED = "stopped"
    REFUSED = "refused"
    DISRUPTED = "disrupted"
    UNREACHABLE = "unreachable"
    JOB_DELETED = "job deleted"
    SILENCE = "silence"


@dataclass(frozen=True)
class Limits:
    """The bounds of a run, in seconds.

    ``timeout`` is that of the work, None if it has no limit, or if the Job is of an earlier
    version, whose deadline it is. ``deadline`` is the Job's, by which Kubernetes ends a run that
    has no follower. ``deadline_name`` is the argument that sets it.
    """

    startup_timeout: float
    schedule_timeout: float = DEFAULT_SCHEDULE_TIMEOUT
    timeout: float | None = None
    deadline: float | None = None
    deadline_name: str = "timeout"
    grace_period: float = 30
    backoff_limit: int = 3
    final_codes: frozenset[int] = frozenset()

    @property
    def is_guarded(self) -> bool:
        """Whether the deadline is the sum of the three timeouts."""
        return self.timeout is not None and self.deadline is not None and self.deadline_name == "timeout"

    def time_for_work(self, own: float | None) -> float | None:
        """Seconds that the work may take, None without a limit.

        With ``own``, the Job's deadline, a user may have given a run more time than was asked for.
        """
        if self.timeout is None or self.deadline is None:
            return self.timeout
        return None if own is None else self.timeout + max(0.0, own - self.deadline)


@dataclass(frozen=True)
class Verdict:
    """The run is over.

    ``pod_uid`` is the attempt that decided it. ``delete_job`` stops what Kubernetes would
    continue. ``by_silence`` says that the pod's end was not reported in time, after its script's.
    """

    cause: Cause
    pod_uid: str | None = None
    reason: str | None = None
    message: str = ""
    delete_job: bool = False
    by_silence: bool = False

    @property
    def is_success(self) -> bool:
        """Whether the script succeeded."""
        return self.cause in (Cause.SCRIPT_SUCCEEDED, Cause.JOB_SUCCEEDED)

    @property
    def is_of_the_job(self) -> bool:
        """Whether the Job controller decided; it may know more pods than were observed."""
        return self.cause in (Cause.JOB_SUCCEEDED, Cause.JOB_FAILED, Cause.DEADLINE)

    @property
    def is_timeout(self) -> bool:
        """Whether the time of the run was over, by Kubernetes or by its follower."""
        return self.cause in (Cause.DEADLINE, Cause.TIMEOUT)

    @property
    def is_by_time(self) -> bool:
        """Whether it rests on something that did not happen in time."""
        return self.must_be_confirmed or self.cause is Cause.SILENCE

    @property
    def must_be_confirmed(self) -> bool:
        """Whether it rests on silence, which says nothing while the API server is away."""
        return self.by_silence or self.cause in (
            Cause.SCHEDULE_TIMEOUT, Cause.STARTUP_TIMEOUT, Cause.IMAGE, Cause.NOT_CREATED, Cause.REFUSED,
            Cause.UNREACHABLE,
        )  # fmt: skip

    @property
    def ends_pods(self) -> bool:
        """Whether pods may still run; Kubernetes then deletes them with their logs."""
        return self.by_silence or self.cause in (
            Cause.DEADLINE, Cause.TIMEOUT, Cause.JOB_FAILED, Cause.JOB_DELETED, Cause.UNREACHABLE, Cause.SILENCE,
            Cause.DISRUPTED,
        )  # fmt: skip

    @property
    def is_unknown(self) -> bool:
        """Whether it is unknown how the script ended."""
        return self.cause in (Cause.JOB_DELETED, Cause.UNREACHABLE, Cause.SILENCE, Cause.STOPPED)


@dataclass(frozen=True)
class Wait:
    """Nothing is to be decided before ``until``, unless something changes."""

    until: float | None = None
