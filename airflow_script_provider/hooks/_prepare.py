"""What a hook does before a run: mask what is secret, make the request, log what will run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from airflow_script_provider._airflow import mask_by_name, mask_values, masked
from airflow_script_provider.clusters.access import ClusterAccess
from airflow_script_provider.hooks import _request
from airflow_script_provider.kube.hiding import has_secrets
from airflow_script_provider.kube.job.launched import LaunchedJob
from airflow_script_provider.kube.request import provenance
from airflow_script_provider.kube.request.inputs import ScriptInputs
from airflow_script_provider.kube.request.logins import logins_in
from airflow_script_provider.kube.request.options import CheckedOptions
from airflow_script_provider.kube.request.request import JobRequest
from airflow_script_provider.run_log import Logger
from airflow_script_provider.script import Script


def job_request(access: ClusterAccess, inputs: ScriptInputs, options: CheckedOptions, **others: Any) -> JobRequest:
    """The request of a Job, as ``hooks._request`` makes it; what is secret is masked before."""
    mask_values(logins_in(options.install_dependencies or ()))
    mask_secrets_of(inputs)
    return _request.job_request(access, inputs, options, **others)


def mask_secrets_of(inputs: ScriptInputs) -> None:
    """Mask the secret values of the inputs in the log of this process."""
    mask_by_name(inputs.env)
    mask_by_name(inputs.args)
    mask_values(logins_in(inputs.env.values() if isinstance(inputs.env, Mapping) else ()))


def log_origins(log: Logger, script: Script, files: Mapping[str, Script]) -> None:
    """Log where script and files come from, their sizes and digests."""
    for line in provenance.lines(script, files):
        log.info("%s", line)


def knows_secrets(request: JobRequest) -> bool:
    """Whether Airflow would mask anything of what the script is given."""
    return has_secrets(request.known_texts(), masked)


def resumed_job(job: LaunchedJob, inputs: ScriptInputs | None, log: Logger) -> LaunchedJob:
    """The Job of a trigger's event. Masks what is secret in the inputs that it was launched with.

    Without them nothing can be masked: then no line is shown that a trigger has held.
    """
    if inputs is not None:
        mask_secrets_of(inputs)
    elif job.holds_lines and job.get_logs:
        log.warning("The script knows secrets that cannot be masked now, so its lines are not shown")
        return replace(job, get_logs=False)
    return job
