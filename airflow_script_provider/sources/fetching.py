"""Reading a script and its files from wherever they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_script_provider import exceptions
from airflow_script_provider._airflow import mask_by_name, mask_values
from airflow_script_provider.kube.request.inputs import ScriptInputs
from airflow_script_provider.kube.request.logins import logins_in
from airflow_script_provider.script import Script
from airflow_script_provider.sources.base import ScriptSource
from airflow_script_provider.sources.parse import parse, parse_file


def fetch(call: ScriptInputs, folder: str | None) -> tuple[Script | None, dict[str, Script]]:
    """Read the script, None for a call without one, and the files by path.

    Secret values of the call are masked first. Raises ``ScriptSourceError`` if a source cannot be
    read, or if the script has another digest than the expected one.
    """
    mask_by_name(call.env)
    mask_by_name(call.args)
    mask_values(logins_in(call.env.values() if isinstance(call.env, Mapping) else ()))
    script = None
    if call.script is not None:
        script = _verified(_source_of(call).fetch(folder=folder), call.sha256)
    return script, {path: _source_of_file(file, path).fetch(folder=folder) for path, file in (call.files or {}).items()}


def _source_of(call: ScriptInputs) -> ScriptSource:
    """The script's source. An operator has parsed it before; a caller of a hook may give text."""
    if isinstance(call.script, ScriptSource) and not call.script_conn_id:
        return call.script
    return parse(call.script, conn_id=call.script_conn_id)


def _source_of_file(file: Any, path: str) -> ScriptSource:
    return file if isinstance(file, ScriptSource) else parse_file(file, path)


def _verified(script: Script, sha256: str | None) -> Script:
    if sha256 is not None and not script.is_pinned_by(sha256):
        expected = sha256 or "one, which is empty"
        raise exceptions.ScriptSourceError(
            f"{script.origin} has the sha256 {script.sha256}, not the expected {expected}; nothing was created",
            origin=script.origin,
            retryable=False,
        )
    return script
