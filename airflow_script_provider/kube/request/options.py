"""The author's options of a Job, and their checks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_script_provider.kube import syntax
from airflow_script_provider.kube.client_models import as_plain
from airflow_script_provider.kube.durations import (
    DEFAULT_SCHEDULE_TIMEOUT,
    MAX_SECONDS,
    Deadline,
    Duration,
    positive_seconds,
)
from airflow_script_provider.kube.labels import MANAGED_BY_LABEL, MANAGER
from airflow_script_provider.kube.request.overrides import check_volumes

DEFAULT_IMAGE = "python:3.11-slim"
MAX_UID = 2**31 - 1
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_OBJECTS = ("container_resources", "affinity", "node_selector", "labels", "annotations", "pod_overrides")
_LISTS = ("env_from", "volumes", "volume_mounts", "tolerations", "image_pull_secrets")
_DURATIONS = (
    "timeout",
    "schedule_timeout",
    "startup_timeout",
    "ttl_seconds_after_finished",
    "keep_failed",
    "unread_ttl",
    "termination_grace_period",
)
_SINCE: Mapping[str, Any] = {"schedule_timeout": DEFAULT_SCHEDULE_TIMEOUT, "keep_failed": None}
"""Arguments that earlier versions do not have, with the values that leave a Job as it was."""
_NONE_ALLOWED = ("timeout", "ttl_seconds_after_finished", "keep_failed")
_ZERO_ALLOWED = ("ttl_seconds_after_finished", "keep_failed", "termination_grace_period")
_EXIT_CODES = ("skip_on_exit_code", "fail_on_exit_code")
ExitCodes = int | Collection[int] | None


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """The author's options of a Job. Names and defaults are those of the operator.

    Durations are seconds or ``timedelta``. Objects are dicts in API spelling, or models of the
    Kubernetes client.
    """

    image: str = DEFAULT_IMAGE
    interpreter: Sequence[str] | None = None
    run_as_uid: int | None = None
    container_resources: Any = None
    env_from: Sequence[Any] | None = None
    volumes: Sequence[Any] | None = None
    volume_mounts: Sequence[Any] | None = None
    affinity: Any = None
    tolerations: Sequence[Any] | None = None
    node_selector: Mapping[str, str] | None = None
    labels: Mapping[str, str] | None = None
    annotations: Mapping[str, str] | None = None
    image_pull_secrets: Sequence[Any] | None = None
    image_pull_policy: str = "IfNotPresent"
    service_account_name: str | None = None
    pod_overrides: Any = None
    name: str | None = None
    timeout: Duration | None = 600
    schedule_timeout: Duration = DEFAULT_SCHEDULE_TIMEOUT
    startup_timeout: Duration = 300
    backoff_limit: int = 3
    ttl_seconds_after_finished: Duration | None = 300
    keep_failed: Duration | None = None
    unread_ttl: Duration = 24 * 60 * 60
    termination_grace_period: Duration = 30
    skip_on_exit_code: ExitCodes = None
    fail_on_exit_code: ExitCodes = None
    install_dependencies: Sequence[str] | None = None
    install_packages: Sequence[str] | None = None

    def check_before_rendering(self) -> None:
        """Refuse values that no rendering can make valid."""
        if self.image_pull_policy not in _PULL_POLICIES:
            raise ValueError(f"image_pull_policy={self.image_pull_policy!r} must be one of {', '.join(_PULL_POLICIES)}")
        if self.run_as_uid is not None and not (_is_whole(self.run_as_uid, 1) and self.run_as_uid <= MAX_UID):
            raise ValueError(f"run_as_uid={self.run_as_uid!r} must be a user id from 1 to {MAX_UID}")
        if self.install_packages and self.run_as_uid is not None:
            raise ValueError("install_packages needs root, so it excludes run_as_uid; put the packages into the image")
        if not _is_whole(self.backoff_limit, 0):
            raise ValueError(f"backoff_limit={self.backoff_limit!r} must be a whole number, 0 or more")
        if self.interpreter is not None and not _is_argv(self.interpreter):
            raise ValueError("interpreter must be a list of strings such as ['bash', '-eu']")
        for name in (*_OBJECTS, *_LISTS, "install_dependencies", "install_packages"):
            syntax.check_depth(getattr(self, name), name)
        self._seconds()
        self._exit_codes()

    def checked(self) -> CheckedOptions:
        """Check all options and bring them into one form. Call it after rendering only."""
        self.check_before_rendering()
        syntax.check_image(self.image, "image")
        if self.name:
            syntax.check_dns_label(self.name, "name")
        if self.service_account_name:
            syntax.check_dns_subdomain(self.service_account_name, "service_account_name")
        as_written = {name: _as_written(getattr(self, name)) for name in (*_DURATIONS, *_EXIT_CODES)}
        same = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in as_written}
        converted = self._plain() | self._seconds() | self._exit_codes()
        return CheckedOptions(**same | converted, as_written=as_written)

    def _plain(self) -> dict[str, Any]:
        """The objects as plain dicts and lists.

        ``ValueError`` names an argument that the API server would refuse.
        """
        plain: dict[str, Any] = {name: _plain_mapping(getattr(self, name), name) for name in _OBJECTS}
        plain |= {name: _plain_list(getattr(self, name), name) for name in _LISTS}
        plain["image_pull_secrets"] = [_pull_secret(entry) for entry in plain["image_pull_secrets"]]
        for name in _LISTS:
            _check_entries(plain[name], name)
        check_volumes(plain["volumes"], plain["volume_mounts"])
        syntax.check_labels(plain["labels"], "labels")
        syntax.check_labels(plain["node_selector"], "node_selector")
        syntax.check_annotations(plain["annotations"], "annotations")
        _refuse_ours(plain["labels"], "labels")
        _refuse_ours(plain["annotations"], "annotations")
        syntax.check_resources(plain["container_resources"], "container_resources")
        return plain

    def _seconds(self) -> dict[str, int | None]:
        return {
            name: positive_seconds(
                getattr(self, name), name, none_allowed=name in _NONE_ALLOWED, zero_allowed=name in _ZERO_ALLOWED
            )
            for name in _DURATIONS
        }

    def _exit_codes(self) -> dict[str, frozenset[int]]:
        skip, fail = (exit_codes(getattr(self, name), name) for name in _EXIT_CODES)
        if overlap := skip & fail:
            raise ValueError(
                f"exit code {min(overlap)} is in both skip_on_exit_code and fail_on_exit_code; remove it from one"
            )
        return {"skip_codes": skip, "final_codes": skip | fail}


@dataclass(frozen=True, kw_only=True)
class CheckedOptions:
    """``JobOptions`` after the check: whole seconds, plain dicts and lists.

    ``skip_codes`` are the exit codes that skip the task. After one of ``final_codes`` no attempt
    follows. ``as_written`` has the author's own values of durations and exit codes, by argument.
    """

    image: str
    interpreter: Sequence[str] | None
    run_as_uid: int | None
    container_resources: dict[str, Any]
    env_from: list[Any]
    volumes: list[Any]
    volume_mounts: list[Any]
    affinity: dict[str, Any]
    tolerations: list[Any]
    node_selector: dict[str, Any]
    labels: dict[str, str]
    annotations: dict[str, str]
    image_pull_secrets: list[Any]
    image_pull_policy: str
    service_account_name: str | None
    pod_overrides: dict[str, Any]
    name: str | None
    timeout: int | None
    schedule_timeout: int
    startup_timeout: int
    backoff_limit: int
    ttl_seconds_after_finished: int | None
    keep_failed: int | None
    unread_ttl: int
    termination_grace_period: int
    skip_codes: frozenset[int]
    final_codes: frozenset[int]
    install_dependencies: Sequence[str] | None
    install_packages: Sequence[str] | None
    as_written: Mapping[str, Any]

    @property
    def longest_run(self) -> int | None:
        """Seconds of a wait for a node, of the start there and of the work; None without limit."""
        if self.timeout is None:
            return None
        return min(self.schedule_timeout + self.startup_timeout + self.timeout, MAX_SECONDS)

    def deadline_within(self, seconds_left: float | None) -> Deadline:
        """The Job's deadline: its longest run, or the task's remaining time if that is less.

        The follower of a run ends it at its limits. The deadline is for a run without a follower.
        """
        return Deadline.within(self.longest_run, seconds_left)

    @property
    def by_argument(self) -> dict[str, Any]:
        """The values by argument. Durations and exit codes are as the author wrote them."""
        names = JobOptions.__dataclass_fields__
        return {name: getattr(self, name) for name in names if name not in self.as_written} | dict(self.as_written)

    @property
    def telling(self) -> dict[str, Any]:
        """The arguments that a request's digest is made of.

        An argument that earlier versions do not have is one of them if it changes something: a
        retry finds the Job that such a version has launched.
        """
        arguments = self.by_argument.items()
        return {name: value for name, value in arguments if name not in _SINCE or value != _SINCE[name]}

    @property
    def given(self) -> list[str]:
        """Names of the arguments that are not empty."""
        return [name for name, value in self.by_argument.items() if value]


def exit_codes(value: ExitCodes, argument: str) -> frozenset[int]:
    """Return exit codes as a set. ``ValueError`` for a code outside 1 to 255."""
    if isinstance(value, str) or not isinstance(value, int | Collection | None):
        raise ValueError(f"{argument}={value!r} must be an exit code or a list of exit codes")
    codes = frozenset() if value is None else frozenset([value] if isinstance(value, int) else value)
    for code in codes:
        if not _is_whole(code, 1) or code > 255:
            raise ValueError(f"{argument} contains {code!r}; exit codes are whole numbers from 1 to 255")
    return codes


def _as_written(value: Any) -> Any:
    """The value; a collection of an own type as a list: its repr may hold an address."""
    is_known = not isinstance(value, Collection) or isinstance(value, list | tuple | range | set | frozenset | str)
    return value if is_known else sorted(value)


def _is_whole(value: Any, minimum: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= minimum


def _is_argv(value: Any) -> bool:
    is_list = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    return is_list and bool(value) and all(isinstance(word, str) and word for word in value)


def _plain_mapping(value: Any, argument: str) -> dict[str, Any]:
    plain = as_plain(value, argument) if value is not None else {}
    if not isinstance(plain, dict):
        raise ValueError(f"{argument} must be a mapping, not {type(value).__name__}")
    return plain


def _plain_list(value: Any, argument: str) -> list[Any]:
    plain = as_plain(value, argument) if value is not None else []
    if not isinstance(plain, list):
        raise ValueError(f"{argument} must be a list, not {type(value).__name__}")
    return plain


def _pull_secret(entry: Any) -> dict[str, Any]:
    if isinstance(entry, dict):
        return entry
    if isinstance(entry, str) and entry:
        return {"name": entry}
    raise ValueError(f"image_pull_secrets contains {entry!r}; each entry must be a name or {{'name': …}}")


def _check_entries(entries: Sequence[Any], argument: str) -> None:
    for position, entry in enumerate(entries):
        if not isinstance(entry, Mapping):
            raise ValueError(f"{argument}[{position}] must be a mapping, not {type(entry).__name__}")


def _refuse_ours(keys: Iterable[str], argument: str) -> None:
    """Refuse the keys of our labels and annotations, by which this provider finds Jobs."""
    for key in keys:
        if key == MANAGED_BY_LABEL or key.startswith(f"{MANAGER}/"):
            raise ValueError(f"{argument} may not set {key!r}: this provider sets it; choose another key")
