"""The result of a run: the dict that downstream tasks read from XCom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from airflow_script_provider.script import ScriptFacts

# Keys that the Script tool's result also has.
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
        """The status as a verb: "Job etl/load completed"."""
        return "timed out" if self is Status.TIMEOUT else self.value


class Category(StrEnum):
    """Why a run failed, in one word: a closed list, in which Kubernetes' words keep their meaning.

    ``docs/reference/failures.md`` says of each what it means, and whether a retry can help.
    """

    # The bounds of the run.
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    SCHEDULE_TIMEOUT = "ScheduleTimeout"
    STARTUP_TIMEOUT = "StartupTimeout"
    # No pod is created, or no node takes it.
    FAILED_CREATE = "FailedCreate"
    EXCEEDED_QUOTA = "ExceededQuota"
    POD_SECURITY = "PodSecurity"
    LIMIT_RANGE = "LimitRange"
    ADMISSION_DENIED = "AdmissionDenied"
    SERVICE_ACCOUNT_NOT_FOUND = "ServiceAccountNotFound"
    UNSCHEDULABLE = "Unschedulable"
    SCHEDULING_GATED = "SchedulingGated"
    REJECTED_BY_NODE = "RejectedByNode"
    # A container cannot start.
    IMAGE_NOT_FOUND = "ImageNotFound"
    IMAGE_UNAUTHORIZED = "ImageUnauthorized"
    INVALID_IMAGE_NAME = "InvalidImageName"
    ERR_IMAGE_NEVER_PULL = "ErrImageNeverPull"
    SIGNATURE_VALIDATION_FAILED = "SignatureValidationFailed"
    ERR_IMAGE_PULL = "ErrImagePull"
    FAILED_MOUNT = "FailedMount"
    FAILED_ATTACH_VOLUME = "FailedAttachVolume"
    FAILED_CREATE_POD_SANDBOX = "FailedCreatePodSandBox"
    CREATE_CONTAINER_CONFIG_ERROR = "CreateContainerConfigError"
    CREATE_CONTAINER_ERROR = "CreateContainerError"
    START_ERROR = "StartError"
    PROGRAM_NOT_FOUND = "ProgramNotFound"
    POST_START_HOOK_ERROR = "PostStartHookError"
    INIT_CONTAINER_FAILED = "InitContainerFailed"
    INSTALL_FAILED = "InstallFailed"
    PACKAGE_INDEX_UNREACHABLE = "PackageIndexUnreachable"
    # The cluster, or one of its users, ended the run.
    EVICTED = "Evicted"
    STORAGE_LIMIT_EXCEEDED = "StorageLimitExceeded"
    PREEMPTED = "Preempted"
    EVICTION_BY_API = "EvictionByEvictionAPI"
    NODE_SHUTDOWN = "NodeShutdown"
    NODE_UNREACHABLE = "NodeUnreachable"
    NODE_NOT_READY = "NodeNotReady"
    NODE_GONE = "NodeGone"
    POD_DELETED = "PodDeleted"
    JOB_DELETED = "JobDeleted"
    STOPPED = "Stopped"
    CONTAINER_STATUS_UNKNOWN = "ContainerStatusUnknown"
    BACKOFF_LIMIT_EXCEEDED = "BackoffLimitExceeded"
    POD_FAILURE_POLICY = "PodFailurePolicy"
    # The script ended, and the node says how.
    OOM_KILLED = "OOMKilled"
    CHILD_OOM_KILLED = "ChildOOMKilled"
    KILLED = "Killed"
    SIGNALED = "Signaled"
    COMMAND_NOT_FOUND = "CommandNotFound"
    NOT_EXECUTABLE = "NotExecutable"
    ERROR = "Error"
    # The script ended, and its output says why.
    MODULE_NOT_FOUND = "ModuleNotFound"
    SYNTAX_ERROR = "SyntaxError"
    MEMORY_ERROR = "MemoryError"
    FILE_NOT_FOUND = "FileNotFound"
    PERMISSION_DENIED = "PermissionDenied"
    MISSING_CAPABILITY = "MissingCapability"
    READ_ONLY_FILE_SYSTEM = "ReadOnlyFileSystem"
    NO_SPACE_LEFT = "NoSpaceLeft"
    NAME_NOT_RESOLVED = "NameNotResolved"
    CONNECTION_REFUSED = "ConnectionRefused"
    HOST_UNREACHABLE = "HostUnreachable"
    AUTHENTICATION_FAILED = "AuthenticationFailed"
    CERTIFICATE_INVALID = "CertificateInvalid"
    # A script in a running pod.
    NO_SHELL = "NoShell"
    NO_WORKING_DIRECTORY = "NoWorkingDirectory"
    NO_WRITABLE_FOLDER = "NoWritableFolder"
    POD_ENDED = "PodEnded"
    CONNECTION_BROKEN = "ConnectionBroken"
    SHELL_KILLED = "ShellKilled"
    # Nothing says why.
    NO_ANSWER = "NoAnswer"
    UNKNOWN = "Unknown"


@dataclass(frozen=True)
class Attempt:
    """One pod of the Job.

    ``reason`` is Kubernetes' own word. Times are RFC 3339 in UTC, as Kubernetes reports them.
    """

    pod_name: str
    node_name: str | None = None
    exit_code: int | None = None
    reason: str | None = None
    started_at: str | None = None
    finished_at: str | None = None


class KeptOutput(Protocol):
    """The parts of an output that a result needs. ``size`` is the size of the whole in bytes."""

    size: int

    def tail(self) -> str:
        """The end of the output as text."""

    @property
    def truncated(self) -> bool:
        """Whether the tail is less than the whole."""


@dataclass(frozen=True)
class RunEnd:
    """How a run ended.

    ``error`` is one line and ``reason`` Kubernetes' own word. Both, and the category, are None on
    success.
    """

    status: Status
    exit_code: int | None = None
    error: str | None = None
    reason: str | None = None
    category: Category | None = None


@dataclass(frozen=True, kw_only=True)
class RunLocation:
    """Where a script ran. A name is None where the script's place has no such thing."""

    job_name: str | None = None
    namespace: str | None = None
    pod_name: str | None = None
    container_name: str | None = None


@dataclass(frozen=True)
class ScriptResult:
    """Result of a run, the same in synchronous and deferrable mode, on success and on failure.

    ``execution_time`` is the time from the launch to the outcome in seconds. ``duration_ms``
    also contains the reading of the script. ``output``, ``pod_name`` and ``exit_code`` are the
    last attempt's. ``output`` is the tail of what the script wrote to stdout and stderr, and
    ``output_bytes`` the size of the whole. ``disruptions`` has a line for each pod that the
    cluster ended, which counts as no attempt. ``succeeded`` and ``failed`` count pods.
    ``value`` is the JSON that the script printed. ``error`` is the failure in one line,
    ``category`` one word of ours for it, and ``reason`` Kubernetes' own word, if it has one.
    All are None on success. ``files`` are the files beside the script: path to ``sha256``,
    ``origin`` and ``bytes``.

    A run in a running pod has no ``job_name``. It has ``container_name``, ``stdout_tail`` and
    ``stderr_tail``; a Job's log does not separate the two streams. A run outside of Kubernetes
    also has no ``namespace``.
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
    category: Category | None = None
    attempts: tuple[Attempt, ...] = ()
    disruptions: tuple[str, ...] = ()
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

    @classmethod
    def of_run(
        cls,
        end: RunEnd,
        location: RunLocation,
        output: KeptOutput,
        seconds: float,
        *,
        script: ScriptFacts | None,
        files: Mapping[str, Mapping[str, Any]],
        failed: int | None = None,
        **facts: Any,
    ) -> ScriptResult:
        """The result of a run that took so many seconds.

        ``failed`` counts the pods that failed; None stands for the one run itself. ``facts`` are
        further fields of the result.
        """
        succeeded = int(end.status is Status.COMPLETED)
        return cls(
            **asdict(end),
            **asdict(location),
            execution_time=round(seconds, 3),
            duration_ms=round(seconds * 1000),
            succeeded=succeeded,
            failed=1 - succeeded if failed is None else failed,
            output=output.tail(),
            output_bytes=output.size,
            output_truncated=output.truncated,
            script_sha256=script.sha256 if script else None,
            script_origin=script.origin if script else None,
            script_bytes=script.size if script else None,
            files=files,
            **facts,
        )

    def to_dict(self) -> dict[str, Any]:
        """The result as plain JSON types, in the order of the fields."""
        plain = asdict(self)
        category = None if self.category is None else str(self.category)
        attempts = [asdict(attempt) for attempt in self.attempts]
        changed = {"status": str(self.status), "category": category, "attempts": attempts}
        return plain | changed | {"disruptions": list(self.disruptions)}

    def to_envelope(self) -> dict[str, Any]:
        """The result in the Script tool's form: its nine keys under ``data``, and ``error``."""
        data = {name: value for name, value in self.to_dict().items() if name in _TOOL_KEYS}
        status = "success" if self.status is Status.COMPLETED else "error"
        return {"status": status, "data": data, "error": self.error, "duration_ms": self.duration_ms}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ScriptResult:
        """Read what ``to_dict`` wrote; the keys of a newer version are dropped."""
        known = _known(cls, data)
        known["status"] = Status(known["status"])
        known["category"] = category_named(known.get("category"))
        known["disruptions"] = tuple(known.get("disruptions", ()))
        known["attempts"] = tuple(Attempt(**_known(Attempt, attempt)) for attempt in known.get("attempts", ()))
        return cls(**known)


@dataclass(frozen=True, kw_only=True)
class NodesResult:
    """Result of a script on nodes, in both modes, on success and on failure.

    ``nodes`` has an entry for each chosen node: ``status`` (``completed``, ``failed`` or
    ``skipped``), ``runs``, the newest last, and where the status needs one a ``message``.
    ``category`` and ``reason`` are those of the failed run that decided.
    ``succeeded``, ``failed`` and ``skipped`` count nodes. ``execution_time`` is in seconds.
    ``error`` is the line that names the nodes that failed, None on success. ``truncated`` says
    whether outputs were cut to bound the result's size.
    """

    status: Status
    nodes: Mapping[str, Mapping[str, Any]]
    succeeded: int
    failed: int
    skipped: int
    execution_time: float
    error: str | None = None
    truncated: bool = False
    job_name: str | None = None
    namespace: str | None = None
    script_sha256: str | None = None
    script_origin: str | None = None
    script_bytes: int | None = None

    @property
    def is_success(self) -> bool:
        """Whether no node failed."""
        return self.error is None

    @property
    def values(self) -> dict[str, Any]:
        """The JSON that the newest run of each node printed, by node."""
        return {name: node["runs"][-1]["value"] for name, node in self.nodes.items() if node["runs"]}

    def to_dict(self) -> dict[str, Any]:
        """The result as plain JSON types, in the order of the fields."""
        return {field.name: getattr(self, field.name) for field in fields(self)} | {"status": str(self.status)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> NodesResult:
        """Read what ``to_dict`` wrote; the keys of a newer version are dropped."""
        known = _known(cls, data)
        return cls(**known | {"status": Status(known["status"])})


def category_named(word: str | None) -> Category | None:
    """The category of a word; a word of a newer version is ``Unknown``."""
    if word is None:
        return None
    return Category(word) if word in frozenset(Category) else Category.UNKNOWN


def _known(cls: type[ScriptResult | NodesResult | Attempt], data: Mapping[str, Any]) -> dict[str, Any]:
    return {field.name: data[field.name] for field in fields(cls) if field.name in data}
