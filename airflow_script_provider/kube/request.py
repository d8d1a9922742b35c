"""Everything that decides a Job, frozen before anything is created."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from airflow_script_provider.kube import interpreter as interpreters
from airflow_script_provider.kube import syntax
from airflow_script_provider.kube.names import MANAGED_BY_LABEL, MANAGER, LaunchIdentity
from airflow_script_provider.kube.node_plan import OnNodes
from airflow_script_provider.kube.overrides import check_volumes
from airflow_script_provider.kube.payload import Payload
from airflow_script_provider.kube.plain import as_plain
from airflow_script_provider.kube.provision import Provision, without_logins
from airflow_script_provider.script import Script

DEFAULT_IMAGE = "python:3.11-slim"
MAX_CONFIG_MAP = 1024 * 1024
"""Bytes that a ConfigMap may hold: the script and its files together."""
MAX_BODY = 3 * 1024 * 1024 - 64 * 1024
"""Bytes of the texts as JSON: the API server takes bodies of 3 MiB, of which names and paths need a little."""
MAX_UID = 2**31 - 1

_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_OBJECTS = ("container_resources", "affinity", "node_selector", "labels", "annotations", "pod_overrides")
_LISTS = ("env_from", "volumes", "volume_mounts", "tolerations", "image_pull_secrets")

Duration = float | timedelta
ExitCodes = int | Collection[int] | None


@dataclass(frozen=True)
class Deadline:
    """Seconds after which Kubernetes ends the Job, None for never, and the argument that they come from."""

    seconds: int | None = None
    argument: str = "timeout"

    @classmethod
    def within(cls, timeout: Duration | None, seconds_left: float | None) -> Deadline:
        """The timeout, or what is left of the task's own time where that is less."""
        seconds = positive_seconds(timeout, "timeout", none_allowed=True)
        left = None if seconds_left is None else max(1, math.ceil(seconds_left))
        if left is not None and (seconds is None or left < seconds):
            return cls(left, "execution_timeout")
        return cls(seconds)


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """How the author wants the Job to be; names and defaults are the operator's.

    Durations are seconds or ``timedelta``. Objects are dicts in API spelling or models of the Kubernetes client.
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
    startup_timeout: Duration = 300
    backoff_limit: int = 3
    ttl_seconds_after_finished: Duration | None = 300
    unread_ttl: Duration = 24 * 60 * 60
    termination_grace_period: Duration = 30
    skip_on_exit_code: ExitCodes = None
    fail_on_exit_code: ExitCodes = None
    install_dependencies: Sequence[str] | None = None
    install_packages: Sequence[str] | None = None

    def checked_before_rendering(self) -> JobOptions:
        """Refuse what is wrong whatever the templates turn out to be; durations become whole seconds."""
        if self.image_pull_policy not in _PULL_POLICIES:
            raise ValueError(f"image_pull_policy={self.image_pull_policy!r} is none of {', '.join(_PULL_POLICIES)}")
        if self.run_as_uid is not None and not (_is_whole(self.run_as_uid, 1) and self.run_as_uid <= MAX_UID):
            raise ValueError(f"run_as_uid={self.run_as_uid!r} must be a user id of at least 1, at most {MAX_UID}")
        if self.install_packages and self.run_as_uid is not None:
            raise ValueError("install_packages needs root, so it excludes run_as_uid; put the packages into the image")
        if not _is_whole(self.backoff_limit, 0):
            raise ValueError(f"backoff_limit={self.backoff_limit!r} must be a whole number, 0 or more")
        if self.interpreter is not None and not _is_argv(self.interpreter):
            raise ValueError("interpreter must be a list of strings such as ['bash', '-eu']")
        for name in (*_OBJECTS, *_LISTS, "install_dependencies", "install_packages"):
            syntax.check_depth(getattr(self, name), name)
        for name in ("timeout", "startup_timeout", "unread_ttl"):
            positive_seconds(getattr(self, name), name, none_allowed=name == "timeout")
        for name in ("ttl_seconds_after_finished", "termination_grace_period"):
            positive_seconds(getattr(self, name), name, none_allowed=name.startswith("ttl"), zero_allowed=True)
        overlap = exit_codes(self.skip_on_exit_code, "skip_on_exit_code") & exit_codes(
            self.fail_on_exit_code, "fail_on_exit_code"
        )
        if overlap:
            raise ValueError(f"exit code {min(overlap)} stands in skip_on_exit_code and in fail_on_exit_code")
        return self

    def checked(self) -> JobOptions:
        """Everything checked and plain: the form that ``manifest`` reads. After rendering only."""
        self.checked_before_rendering()
        syntax.check_image(self.image, "image")
        if self.name:
            syntax.check_dns_label(self.name, "name")
        if self.service_account_name:
            syntax.check_dns_subdomain(self.service_account_name, "service_account_name")
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
        return replace(self, **plain)

    def deadline_within(self, seconds_left: float | None) -> Deadline:
        """The Job's deadline: the timeout, or what is left of the task's own time where that is less."""
        return Deadline.within(self.timeout, seconds_left)

    @property
    def skip_codes(self) -> frozenset[int]:
        """Exit codes that skip the task."""
        return exit_codes(self.skip_on_exit_code, "skip_on_exit_code")

    @property
    def final_codes(self) -> frozenset[int]:
        """Exit codes after which there is no other attempt."""
        return self.skip_codes | exit_codes(self.fail_on_exit_code, "fail_on_exit_code")


@dataclass(frozen=True)
class JobRequest:
    """All that decides one Job.

    ``deadline`` becomes ``activeDeadlineSeconds``. ``files`` are mounted beside the script, by relative path.
    ``may_be_marked`` says whether its Job may be changed when its outcome was read. ``on_nodes``: it runs on nodes.
    """

    script: Script
    options: JobOptions
    namespace: str
    identity: LaunchIdentity
    payload: Payload = field(default_factory=Payload, repr=False)
    files: Mapping[str, Script] = field(default_factory=dict)
    deadline: Deadline = Deadline()
    may_be_marked: bool = True
    on_nodes: OnNodes | None = None

    def __post_init__(self) -> None:
        syntax.check_dns_label(self.namespace, "namespace")
        check_script(self.script)
        check_files(self.files, self.script_file)
        _check_size(self.script, self.files, self.provision.tools())
        _check_body_size(self.script, self.files)

    @cached_property
    def provision(self) -> Provision:
        """What is installed before the script runs."""
        return Provision.of(self.options.install_dependencies, self.options.install_packages)

    @property
    def first_ttl(self) -> int | None:
        """Seconds that the finished Job is kept while nobody has read its outcome; None for ever."""
        unread_ttl = positive_seconds(self.options.unread_ttl, "unread_ttl") or 0
        return self._ttl if self._ttl is None or not self.may_be_marked else max(self._ttl, unread_ttl)

    @property
    def ttl_when_read(self) -> int | None:
        """What that becomes once somebody has; None if it stays."""
        return self._ttl if self._ttl != self.first_ttl else None

    @property
    def _ttl(self) -> int | None:
        ttl = self.options.ttl_seconds_after_finished
        return positive_seconds(ttl, "ttl_seconds_after_finished", none_allowed=True, zero_allowed=True)

    @property
    def secret_variables(self) -> dict[str, str]:
        """Everything that travels in the Secret, by variable."""
        return {**self.payload.variables, **self.provision.secret_variables()}

    @property
    def interpreter(self) -> interpreters.Interpreter:
        """The program that runs the script."""
        return interpreters.choose(self.script, self.options.image, self.options.interpreter)

    @property
    def script_file(self) -> str:
        """File name of the script in its folder."""
        return self.interpreter.script_file(self.script)


def request_facts(
    script: Script, files: Mapping[str, Script], options: JobOptions, payload: Payload, namespace: str
) -> dict[str, Any]:
    """What makes two requests the same, as JSON: no secret value is in it, only the names of variables."""
    as_given = {name: getattr(options, name) for name in options.__dataclass_fields__}
    return {
        "script": script.sha256,
        "files": {path: file.sha256 for path, file in files.items()},
        "namespace": namespace,
        "variables": sorted(payload.variables),
        "options": as_given | {"install_dependencies": without_logins(options.install_dependencies or ())},
    }


def check_script(script: Script) -> None:
    """Refuse a script without anything to run."""
    if not script.text.strip():
        raise ValueError(f"script is empty ({script.origin})")
    if "\0" in script.text:
        raise ValueError(f"script holds a NUL character ({script.origin}): is it a binary file?")


def positive_seconds(
    value: Duration | None, argument: str, *, none_allowed: bool = False, zero_allowed: bool = False
) -> int | None:
    """A duration as whole seconds, rounded up; ``ValueError`` names the argument."""
    if value is None and none_allowed:
        return None
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) <= 2**31:
        raise ValueError(f"{argument}={value!r} must be seconds or a timedelta")
    if number < 0 or (number == 0 and not zero_allowed):
        raise ValueError(f"{argument}={value!r} must be {'at least 0' if zero_allowed else 'more than 0'} seconds")
    return math.ceil(number)


def exit_codes(value: ExitCodes, argument: str) -> frozenset[int]:
    """Exit codes as a set; each from 1 to 255."""
    if isinstance(value, str) or not isinstance(value, int | Collection | None):
        raise ValueError(f"{argument}={value!r} must be an exit code or a list of exit codes")
    codes = frozenset() if value is None else frozenset([value] if isinstance(value, int) else value)
    for code in codes:
        if not _is_whole(code, 1) or code > 255:
            raise ValueError(f"{argument} holds {code!r}; exit codes go from 1 to 255")
    return codes


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
    raise ValueError(f"image_pull_secrets holds {entry!r}; expected names or {{'name': …}}")


def _check_entries(entries: Sequence[Any], argument: str) -> None:
    for position, entry in enumerate(entries):
        if not isinstance(entry, Mapping):
            raise ValueError(f"{argument}[{position}] must be a mapping, not {type(entry).__name__}")


def _refuse_ours(keys: Iterable[str], argument: str) -> None:
    """Our labels and annotations say what a Job is of and find it again: what the author puts there would be lost."""
    for key in keys:
        if key == MANAGED_BY_LABEL or key.startswith(f"{MANAGER}/"):
            raise ValueError(f"{argument} may not set {key!r}: this provider sets it; choose another key")


def check_files(files: Mapping[str, Script], script_file: str) -> None:
    """Refuse files whose places are not free in the script's folder."""
    for path in files:
        syntax.check_relative_path(path, "files")
        if path == script_file:
            raise ValueError(f"files has the path {path!r}, which is the script's own in the container")
    places = {*files, script_file}
    for path in files:
        if folder := next((str(parent) for parent in PurePosixPath(path).parents if str(parent) in places), None):
            raise ValueError(f"files has the path {path!r}, but {folder!r} is a file, not a folder")


def _check_size(script: Script, files: Mapping[str, Script], tools: Mapping[str, str]) -> None:
    total = script.size + sum(file.size for file in files.values()) + sum(len(text.encode()) for text in tools.values())
    if total > MAX_CONFIG_MAP:
        what = "script has" if not files else "script and files have"
        raise ValueError(
            f"{what} {total:,} bytes ({script.origin}), more than the {MAX_CONFIG_MAP:,} that a ConfigMap holds; "
            "put code into the image or onto a volume, and let a short script start it"
        )


def _check_body_size(script: Script, files: Mapping[str, Script]) -> None:
    """JSON spells a control character with six bytes, a quote with two."""
    sizes = {"script": _json_size(script.text)} | {f"files[{path!r}]": _json_size(f.text) for path, f in files.items()}
    if sum(sizes.values()) > MAX_BODY:
        largest = max(sizes, key=lambda name: sizes[name])
        raise ValueError(
            f"{largest} has {sizes[largest]:,} bytes as JSON, and the API server takes {MAX_BODY:,} in all; "
            "control characters and quotes grow there: compress and encode them, or put the data into the image"
        )


def _json_size(text: str) -> int:
    return len(json.dumps(text, ensure_ascii=False).encode())
