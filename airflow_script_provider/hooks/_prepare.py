"""What a hook does before a run: mask what is secret, make the request, log what will run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_script_provider._airflow import mask_by_name, mask_values, masked
from airflow_script_provider.clusters.access import ClusterAccess
from airflow_script_provider.hooks import _request
from airflow_script_provider.kube.hiding import has_secrets
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


def mask_secrets_of(inputs: ScriptInputs | None) -> None:
    """Mask the secret values of the inputs, if they are known, in the log of this process."""
    if inputs is None:
        return
    mask_by_name(inputs.env)
    mask_by_name(inputs.args)
    mask_values(logins_in(inputs.env.values() if isinstance(inputs.env, Mapping) else ()))


def log_origins(log: Logger, script: Script, files: Mapping[str, Script]) -> None:
    """Log where script and files come from, their sizes and digests."""
    for line in provenance.lines(script, files):
        log.info("%s", line)


def knows_secrets(request: JobRequest) -> bool:
    """Whether Airflow would mask anything of what the script is given."""
    return has_secrets(request.known_to_script(), masked)
