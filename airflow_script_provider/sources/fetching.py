"""Reads a script and its files from their sources."""

from __future__ import annotations

from typing import Any

from airflow_script_provider import exceptions
from airflow_script_provider.kube.request.inputs import ScriptInputs
from airflow_script_provider.kube.wording import reported
from airflow_script_provider.script import Script
from airflow_script_provider.sources.base import ScriptSource, fetch_file
from airflow_script_provider.sources.parse import parse, parse_file


def fetch(inputs: ScriptInputs, folder: str | None) -> tuple[Script | None, dict[str, Script]]:
    """Read the script, None if there is none, and the files by path.

    Raises ``ScriptSourceError`` if a source cannot be read, or if the script has another digest
    than the expected one.
    """
    script = None
    files = inputs.files or {}
    try:
        if inputs.script is not None:
            read = _source_of(inputs).fetch(folder=folder)
            script = read.as_run()
            _check_digest(read, script, inputs.sha256)
        return script, {path: fetch_file(_source_of_file(file, path), path, folder) for path, file in files.items()}
    except exceptions.ScriptSourceError as error:  # it may quote a server
        raise error.with_message(reported(error.message)) from error.__cause__


def _source_of(inputs: ScriptInputs) -> ScriptSource:
    """The script's source. An operator has already parsed it; a hook's caller may pass text."""
    if isinstance(inputs.script, ScriptSource) and not inputs.script_conn_id:
        return inputs.script
    return parse(inputs.script, conn_id=inputs.script_conn_id)


def _source_of_file(file: Any, path: str) -> ScriptSource:
    return file if isinstance(file, ScriptSource) else parse_file(file, path)


def _check_digest(read: Script, script: Script, sha256: str | None) -> None:
    """Refuse another digest than that of the source's bytes, or of the script that runs."""
    if sha256 is not None and not read.is_pinned_by(sha256) and not script.is_pinned_by(sha256):
        expected = sha256 or "one: the argument sha256 is empty"
        raise exceptions.ScriptSourceError(
            f"{script.origin} has the sha256 {script.sha256}, not the expected {expected}; nothing was created",
            origin=script.origin,
            retryable=False,
        )
