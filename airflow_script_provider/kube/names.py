"""Names, labels and digests of a launch's objects."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_script_provider.kube.labels import (
    CALL_ANNOTATION,
    DAG_ID_LABEL,
    LAUNCH_LABEL,
    MANAGED_BY_LABEL,
    MANAGER,
    NODES_LABEL,
    REQUEST_LABEL,
    TASK_ANNOTATIONS,
    TASK_ID_LABEL,
    TASK_INSTANCE_LABEL,
    TRY_NUMBER_LABEL,
)
from airflow_script_provider.kube.syntax import MAX_LABEL

DEFAULT_PREFIX = "script"

_ID_LENGTH = 10
_KEYED_LENGTH = 16
_LAST_INDEX = "-0"
"""What Kubernetes appends to the name of an indexed Job with one completion.

It refuses the Job if the result is longer than a label.
"""
_MAX_GENERATED, _RANDOM = 58, 5
"""The characters of a generated name before, and those that Kubernetes appends."""


@dataclass(frozen=True)
class TaskIdentity:
    """The task instance of a Job. ``instance_id`` is new at each try, as Airflow's ``ti.id`` is.

    ``max_tries`` is Airflow's: the last try that is followed by another one. ``origin`` is the
    same for every try, and differs from that of a task instance that has the same ids in another
    deployment of Airflow, or in a DAG run that was deleted. ``key`` is a secret that all tries
    share and the cluster does not have; it is empty where there is none.
    """

    dag_id: str
    task_id: str
    run_id: str
    map_index: int = -1
    try_number: int = 1
    instance_id: str = ""
    max_tries: int | None = None
    origin: str = ""
    key: str = field(default="", repr=False)

    @property
    def has_tries_left(self) -> bool:
        """Whether Airflow tries again if this try fails."""
        return self.max_tries is not None and self.try_number <= self.max_tries

    @property
    def digest(self) -> str:
        """A digest of the task instance, the same for every try.

        Later tries find its Jobs by it.
        """
        return short_digest(self.dag_id, self.task_id, self.run_id, self.map_index, self.origin)

    def annotations(self) -> dict[str, str]:
        """The raw values, which may be longer than a label can hold."""
        values = {key: getattr(self, name) for name, key in TASK_ANNOTATIONS.items()}
        return {key: str(value) for key, value in values.items() if value is not None}

    def labels(self) -> dict[str, str]:
        """Label values for people and selectors. Only digest and try are exact."""
        return {
            DAG_ID_LABEL: label_value(self.dag_id),
            TASK_ID_LABEL: label_value(self.task_id),
            TASK_INSTANCE_LABEL: self.digest,
            TRY_NUMBER_LABEL: str(self.try_number),
        }


@dataclass(frozen=True)
class LaunchIdentity:
    """Names of what one launch creates.

    ``launch_id`` decides: a create repeated with the same id is the same Job. Another try of the
    task finds the launch by ``request``, and by ``call``, a ``call_digest``, where the task may
    launch several.
    ``is_for_nodes`` means that its Job owns other Jobs.
    """

    launch_id: str
    stem: str = DEFAULT_PREFIX
    task: TaskIdentity | None = None
    request: str = ""
    is_for_nodes: bool = False
    call: str | None = None
    job_name: str = field(init=False)

    def __post_init__(self) -> None:
        room = MAX_LABEL - len(self.launch_id) - 1 - (len(_LAST_INDEX) if self.is_for_nodes else 0)
        stem = self.stem[:room].rstrip("-") or DEFAULT_PREFIX
        object.__setattr__(self, "job_name", f"{stem}-{self.launch_id}")

    @property
    def config_map_name(self) -> str:
        """Name of the ConfigMap that holds the script."""
        return f"{self.job_name}-script"

    @property
    def secret_name(self) -> str:
        """Name of the Secret that holds environment and arguments."""
        return f"{self.job_name}-env"

    def labels(self) -> dict[str, str]:
        """Labels of all objects of the launch, which an author cannot override."""
        ours = {MANAGED_BY_LABEL: MANAGER, LAUNCH_LABEL: self.launch_id}
        ours |= {REQUEST_LABEL: self.request} if self.request else {}
        ours |= {NODES_LABEL: self.launch_id} if self.is_for_nodes else {}
        return ours | (self.task.labels() if self.task else {})

    def annotations(self) -> dict[str, str]:
        """Annotations of Job and pod, which an author cannot override."""
        call = {CALL_ANNOTATION: self.call} if self.call else {}
        return call | (self.task.annotations() if self.task else {})


def is_pod_of(job_name: str, pod_name: str) -> bool:
    """Whether a pod is one of this Job, by its name, which Kubernetes generates."""
    return pod_name[:-_RANDOM] == f"{job_name}-"[:_MAX_GENERATED]


def stem_for(task_id: str | None, name: str | None) -> str:
    """The start of a Job's name: ``name``, or ``script-<task>``, or ``script`` without a task."""
    if name:
        return name
    slug = dns_slug(task_id or "")
    return f"{DEFAULT_PREFIX}-{slug}" if slug else DEFAULT_PREFIX


def launch_id(instance_id: str | None, ordinal: int | str, request_facts: Mapping[str, Any]) -> str:
    """The id of a launch: a digest of try, ordinal within the try and request.

    Outside a task the id is random.
    """
    if not instance_id:
        return secrets.token_hex(_ID_LENGTH // 2)
    return short_digest(instance_id, ordinal, _as_text(request_facts))


def request_digest(ordinal: int | str, request_facts: Mapping[str, Any]) -> str:
    """A digest that the tries of a launch share, and that differs between launches of a task."""
    return short_digest(ordinal, _as_text(request_facts))


def call_digest(
    task: TaskIdentity, request_facts: Mapping[str, Any], arguments: Sequence[str], environment: Mapping[str, str]
) -> str | None:
    """A digest of a request and its values that only the tries of this task instance can make.

    It is made with the task's key, without which nothing can be learnt of the values; None in a
    task without a key.
    """
    if not task.key:
        return None
    parts = [task.digest, request_digest(0, request_facts), [*arguments], sorted(environment.items())]
    return hmac.new(task.key.encode(), json.dumps(parts).encode(), hashlib.sha256).hexdigest()[:_KEYED_LENGTH]


def short_digest(*parts: object) -> str:
    """Ten hexadecimal digits for these parts.

    Moving text from one part to the next changes them.
    """
    text = json.dumps([str(part) for part in parts])
    return hashlib.sha256(text.encode()).hexdigest()[:_ID_LENGTH]


def _as_text(facts: Mapping[str, Any]) -> str:
    return json.dumps(facts, sort_keys=True, default=str)


def dns_slug(text: str) -> str:
    """The text as part of a DNS label: lower case, other characters as single hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def label_value(text: object) -> str:
    """The text as a legal label value, cut and replaced where it must be."""
    legal = re.sub(r"[^A-Za-z0-9_.-]", "_", str(text))[:MAX_LABEL]
    return legal.strip("-_.")
