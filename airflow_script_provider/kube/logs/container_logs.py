"""Which containers' logs are to be read: decisions on what was seen of a Job's pods."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

from airflow_script_provider.kube.labels import SCRIPT_CONTAINER
from airflow_script_provider.kube.logs.pod_lines import LogPosition

LogKey = tuple[str, str]
"""Names a log: a pod's uid and a container's name."""
_UNREAD = LogPosition()


@dataclass(frozen=True)
class ContainerLog:
    """The log of a container that has started; without ``exit_code`` it was not seen to end."""

    uid: str
    pod_name: str
    container: str
    exit_code: int | None = None

    @property
    def key(self) -> LogKey:
        """What this log is known by."""
        return self.uid, self.container


def logs_to_begin(
    seen: Iterable[ContainerLog],
    begun: Container[LogKey],
    earlier: Mapping[LogKey, LogPosition],
    *,
    keeps_output: bool,
    get_logs: bool,
) -> list[ContainerLog]:
    """The logs to begin to read now, in the order of ``seen``.

    ``begun`` are those that this reader has begun already, ``earlier`` the positions of an earlier
    reader. A reader that ``keeps_output`` makes the result, for which it needs every log from its
    start. Any other reader only shows lines: with ``get_logs`` those that the earlier reader has
    not shown. It leaves a script alone that had succeeded before its log was begun, because the
    worker reads that log in any case.
    """
    if not (keeps_output or get_logs):
        return []
    return [log for log in seen if log.key not in begun and (keeps_output or _is_to_be_shown(log, earlier))]


def logs_left(
    seen: Iterable[ContainerLog],
    earlier: Mapping[LogKey, LogPosition],
    deciding_pod: str | None,
    *,
    get_logs: bool,
) -> list[ContainerLog]:
    """The logs that are still to be read of a Job that an earlier reader saw end.

    The result needs the script's log of the pod that decided. The others are read where the
    earlier reader did not finish; those of installations are only shown, with ``get_logs``.
    """
    return [log for log in seen if _is_left(log, earlier, deciding_pod, get_logs=get_logs)]


def _is_left(
    log: ContainerLog, earlier: Mapping[LogKey, LogPosition], deciding_pod: str | None, *, get_logs: bool
) -> bool:
    if log.container == SCRIPT_CONTAINER:
        return log.uid == deciding_pod or not _is_complete(log, earlier)
    return get_logs and not _is_complete(log, earlier)


def _is_to_be_shown(log: ContainerLog, earlier: Mapping[LogKey, LogPosition]) -> bool:
    has_succeeded = log.container == SCRIPT_CONTAINER and log.exit_code == 0
    return not has_succeeded and not _is_complete(log, earlier)


def _is_complete(log: ContainerLog, earlier: Mapping[LogKey, LogPosition]) -> bool:
    return earlier.get(log.key, _UNREAD).complete
