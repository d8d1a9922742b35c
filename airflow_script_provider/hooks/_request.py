"""The request of a Job from an author's arguments: reads the script, checks everything.

It does not load Airflow, for the command line.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

from airflow_script_provider.clusters.access import ClusterAccess
from airflow_script_provider.kube import names
from airflow_script_provider.kube.job import manifest
from airflow_script_provider.kube.names import LaunchIdentity, TaskIdentity
from airflow_script_provider.kube.request import interpreters
from airflow_script_provider.kube.request.inputs import ScriptInputs
from airflow_script_provider.kube.request.options import CheckedOptions
from airflow_script_provider.kube.request.payload import Payload
from airflow_script_provider.kube.request.request import JobRequest, request_facts
from airflow_script_provider.sources.fetching import fetch

_launches: Counter[tuple[str, str]] = Counter()
"""Launches of this process by try and request: ordinals distinguish equal runs in one task."""
_counting = threading.Lock()


def job_request(
    access: ClusterAccess,
    inputs: ScriptInputs,
    options: CheckedOptions,
    *,
    folder: str | None,
    task: TaskIdentity | None,
    seconds_left: float | None = None,
) -> JobRequest:
    """Read the script and check everything; nothing is created, and the cluster is not asked.

    ``folder`` is where relative paths start. ``seconds_left`` is the rest of the task's own time.
    """
    inputs.check_before_rendering()
    script, files = fetch(inputs, folder)
    if script is None:
        raise ValueError("script is missing: text, a URI or a source such as FileScript(…)")
    interpreter = interpreters.choose(script, options.image, options.interpreter)
    is_sql = interpreter.program == "psql"
    payload = Payload.of(inputs.args, inputs.arguments, inputs.env, as_psql_variables=is_sql)
    namespace = access.namespace_for(inputs.namespace)
    request = JobRequest(
        script=script,
        options=options,
        namespace=namespace,
        identity=_identity(task, options, payload, request_facts(script, files, options, payload, namespace)),
        interpreter=interpreter,
        payload=payload,
        files=files,
        deadline=options.deadline_within(seconds_left),
        get_logs=inputs.get_logs,
        max_output_bytes=inputs.max_output_bytes,
    )
    manifest.job(request)  # refuses overrides and sizes, as long as nothing is created
    return request


def _identity(
    task: TaskIdentity | None, options: CheckedOptions, payload: Payload, facts: Mapping[str, Any]
) -> LaunchIdentity:
    if task is None:
        return LaunchIdentity(names.launch_id(None, 0, facts), names.stem_for(None, options.name))
    ordinal = _ordinal(task, facts)
    launch_id = names.launch_id(task.instance_id, ordinal, facts)
    return LaunchIdentity(
        launch_id,
        names.stem_for(task.task_id, options.name),
        task,
        names.request_digest(ordinal, facts),
        call=names.call_digest(task, facts, payload.arguments, payload.environment),
    )


def _ordinal(task: TaskIdentity, facts: Mapping[str, Any]) -> int:
    """The number of this launch among the equal launches of the try, in the order of calls."""
    launch = (task.instance_id, names.request_digest(0, facts))
    with _counting:
        _launches[launch] += 1
        return _launches[launch] - 1
