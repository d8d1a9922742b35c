"""Lines of a script with secrets: a trigger holds them, and a worker shows those that it masks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from airflow_script_provider._airflow import masked
from airflow_script_provider.hooks._prepare import knows_secrets
from airflow_script_provider.kube.hiding import check_digits, has_secrets, values_in
from airflow_script_provider.kube.job.launched import LaunchedJob
from airflow_script_provider.kube.logs.value import storable
from airflow_script_provider.kube.request import provenance
from airflow_script_provider.kube.request.inputs import ScriptInputs
from airflow_script_provider.kube.request.request import JobRequest
from airflow_script_provider.sources.fetching import fetch
from airflow_script_provider.sources.inline import InlineScript


def left_to_trigger(job: LaunchedJob, request: JobRequest) -> LaunchedJob:
    """The Job with what its trigger and the worker after it need to know of the secrets in it."""
    if not knows_secrets(request):
        return replace(job, holds_lines=False, held_by_script=False)
    # The worker also knows these; a password such as postgres may stand in a script by chance.
    values = [value for value in values_in(request.payload.variables) if masked(value) != value]
    texts = (_without(values, text) for text in request.texts)
    return replace(job, holds_lines=True, held_by_script=has_secrets(texts, masked))


def why_not_shown(job: LaunchedJob, inputs: ScriptInputs | None) -> str:
    """Why a worker does not show the lines that a trigger has held; empty if it can mask them.

    ``inputs`` are those of the task as this worker has rendered them, None if it could not.
    """
    if not job.holds_lines:
        return ""
    if inputs is None or check_digits(inputs.values) != job.check_digits:
        return "the values of env, args and arguments may be others than those it was launched with"
    if job.held_by_script and not _has_same_texts(inputs, job):
        return "there is a secret in the script itself, which is not rendered again"
    return ""


def _without(values: Iterable[str], text: str) -> str:
    for value in values:
        text = text.replace(value, "")
    return text


def _has_same_texts(inputs: ScriptInputs, job: LaunchedJob) -> bool:
    """Whether script and files are texts of the task, and rendered as they were launched."""
    if not all(isinstance(source, InlineScript) for source in (inputs.script, *(inputs.files or {}).values())):
        return False
    script, files = fetch(replace(inputs, sha256=None), None)
    return (
        script is not None
        and script.sha256 == job.script.sha256
        and storable(provenance.of_files(files)).value == job.files
    )
