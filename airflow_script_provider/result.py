"""What a run came to: the dict that downstream tasks read from XCom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

# The result's keys that the Script tool has, too.
_TOOL_KEYS = (
    "status", "job_name", "namespace", "pod_name", "execution_time", "output", "succeeded", "failed", "exit_code",
)  # fmt: skip


class Status(StrEnum):
    """How a run ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"

    @property
    def verb(self) -> str:
        """What the run did, for a sentence."""
        return "timed out" if self is Status.TIMEOUT else self.value


@dataclass(frozen=True)
class Attempt:
    """One pod of the Job. Times are RFC 3339 in UTC, as Kubernetes reports them."""

    pod_name: str
    node_name: str | None = None
    exit_code: int | None = None
    reason: str | None = None
    started_at: str | None = None
    finished_at: str | None = None


@dataclass(frozen=True)
class ScriptResult:
    """Result of a run, the same in synchronous and deferrable mode, on success and on failure.

    ``execution_time`` is in seconds from the launch to the outcome, ``duration_ms`` the same with the reading of the
    script. ``output``, ``pod_name`` and ``exit_code`` are the last attempt's; ``output`` is the tail of what the
    script wrote to stdout and stderr, ``output_bytes`` the size of the whole. ``succeeded`` and ``failed`` count
    pods. ``value`` is the JSON that the script printed. ``error`` is one line, None on success. ``files`` are those
    beside the script: path to ``sha256``, ``origin`` and ``bytes``.

    What ran in a pod that was there already has no ``job_name``; it has ``container_name`` and the two streams apart,
    which a Job's log does not tell apart. Outside of Kubernetes there is no ``namespace`` either.
    """

    status: Status
    job_name: str | None
    namespace: str | None
    pod_name: str | None
    execution_time: float
    output: str
    succeeded: int
    failed: int
    exit_code: int | None
    value: Any = None
    error: str | None = None
    reason: str | None = None
    attempts: tuple[Attempt, ...] = ()
    duration_ms: int = 0
    output_bytes: int = 0
    output_truncated: bool = False
    script_sha256: str | None = None
    script_origin: str | None = None
    script_bytes: int | None = None
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    container_name: str | None = None
    stdout_tail: str | None = None
    stderr_tail: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The result as plain JSON types, in this order of keys."""
        plain = asdict(self)
        return plain | {"status": str(self.status), "attempts": [asdict(attempt) for attempt in self.attempts]}

    def to_envelope(self) -> dict[str, Any]:
        """The Script tool's own form: its nine keys under ``data``; ``error`` is one line, None on success."""
        data = {name: value for name, value in self.to_dict().items() if name in _TOOL_KEYS}
        status = "success" if self.status is Status.COMPLETED else "error"
        return {"status": status, "data": data, "error": self.error, "duration_ms": self.duration_ms}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ScriptResult:
        """The inverse of ``to_dict``; unknown keys of a newer version are dropped."""
        known = _known(cls, data)
        known["status"] = Status(known["status"])
        known["attempts"] = tuple(Attempt(**_known(Attempt, attempt)) for attempt in known.get("attempts", ()))
        return cls(**known)


def _known(cls: type[ScriptResult | Attempt], data: Mapping[str, Any]) -> dict[str, Any]:
    return {field.name: data[field.name] for field in fields(cls) if field.name in data}
