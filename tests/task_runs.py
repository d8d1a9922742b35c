"""Runs as operators hold them: with a kubeconfig and without a connection."""

from __future__ import annotations

from typing import Any

import structlog

from airflow_script_provider.clusters.access import ClusterRef
from airflow_script_provider.hooks.node import NodesTaskRun
from airflow_script_provider.hooks.script import ScriptTaskRun
from airflow_script_provider.kube.request.inputs import ScriptInputs, split
from airflow_script_provider.kube.request.options import JobOptions

_LOG = structlog.get_logger("script")  # as an operator's is


def a_script_run(config_file: str = "/none") -> ScriptTaskRun:
    """The run of a script operator."""
    return ScriptTaskRun(ClusterRef(None, config_file=config_file), _LOG)


def a_nodes_run(config_file: str = "/none") -> NodesTaskRun:
    """The run of a node operator."""
    return NodesTaskRun(ClusterRef(None, config_file=config_file), _LOG)


def inputs_and_options(**arguments: Any) -> tuple[ScriptInputs, JobOptions]:
    """An operator's arguments as it passes them to its run."""
    inputs, options = split(arguments, ScriptInputs, JobOptions)
    return inputs, options
