"""Read the ``job`` part of a step: the settings of the Job."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airflow_script_provider.kube.syntax import check_keys
from airflow_script_provider.spec.settings import a_list, a_mapping, as_number, one_of

WHERE = "job"

_DEADLINE = ("activeDeadlineSeconds", "active_deadline_seconds")

# The operator's arguments, and their spellings in the Script tool's two forms.
SPELLINGS = {
    "image": ("image",),
    "namespace": ("namespace",),
    "timeout": ("timeout", *_DEADLINE),
    "backoff_limit": ("backoff_limit", "backoffLimit"),
    "ttl_seconds_after_finished": ("ttl_seconds_after_finished", "ttlSecondsAfterFinished"),
    "install_dependencies": ("install_dependencies", "installDependencies"),
    "image_pull_policy": ("image_pull_policy", "imagePullPolicy"),
    "container_resources": ("resources",),
    "env": ("env",),
}
NUMBERS = ("timeout", "backoff_limit", "ttl_seconds_after_finished")
TEMPLATES_OF_A_SPEC = (*NUMBERS, "image_pull_policy")
"""Arguments that may be templates only in a spec; the operator checks them at DAG parse."""

_SPELLINGS_OF_NUMBERS = tuple(spelling for argument in NUMBERS for spelling in SPELLINGS[argument])


def job_arguments(job: Any) -> dict[str, Any]:
    """The operator's arguments in ``job``; missing and empty settings are left out."""
    job = a_mapping(job, WHERE)
    check_keys(job, (name for spellings in SPELLINGS.values() for name in spellings), WHERE)
    job = {name: as_number(value) if name in _SPELLINGS_OF_NUMBERS else value for name, value in job.items()}
    found = {argument: one_of(job, names, WHERE) for argument, names in SPELLINGS.items() if argument != "timeout"}
    found["timeout"] = _timeout(job)
    given = {argument: value for argument, value in found.items() if value is not None}
    if "install_dependencies" in given:
        given["install_dependencies"] = a_list(given["install_dependencies"], f"{WHERE}.install_dependencies")
    if "env" in given:
        given["env"] = _as_text(a_mapping(given["env"], f"{WHERE}.env"))
    return given


def _timeout(job: Mapping[str, Any]) -> Any:
    """The shorter one of the Job's deadline and the time that the tool waits for the Job.

    A run ends with the first of them. A template can only stand alone, or beside its equal.
    """
    deadline, waits = one_of(job, _DEADLINE, WHERE), job.get("timeout")
    if isinstance(deadline, int | float) and isinstance(waits, int | float):
        return min(deadline, waits)
    return one_of({"timeout": waits, _DEADLINE[0]: deadline}, ("timeout", _DEADLINE[0]), WHERE)


def _as_text(env: Mapping[str, Any]) -> dict[str, Any]:
    """The environment; other values than text become JSON, as in the Script tool."""
    return {name: json.dumps(value) if _is_json_value(value) else value for name, value in env.items()}


def _is_json_value(value: Any) -> bool:
    return isinstance(value, bool | int | float | list | dict)
