"""What a script on nodes is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from airflow_script_provider.kube.client_models import as_plain
from airflow_script_provider.kube.durations import positive_seconds
from airflow_script_provider.kube.nodes import manifest, record, selection
from airflow_script_provider.kube.nodes.plan import Mode, NodeSettings
from airflow_script_provider.kube.nodes.selection import NodeChoice
from airflow_script_provider.kube.request.inputs import ScriptInputs
from airflow_script_provider.kube.request.options import JobOptions


@dataclass(frozen=True)
class NodeCall:
    """A script, the nodes, and how to run it there."""

    call: ScriptInputs
    options: JobOptions
    choice: NodeChoice
    settings: NodeSettings

    def checked_before_rendering(self) -> NodeCall:
        """Refuse what is wrong whatever the templates turn out to be."""
        self.call.checked_before_rendering()
        self.options.checked_before_rendering()
        self.choice.checked_before_rendering()
        self.settings.checked()
        record.check_max_output(self.call.max_output_bytes)
        if self.settings.mode != Mode.NORMAL and self.options.run_as_uid is not None:
            raise ValueError(f"mode={self.settings.mode!r} runs as root, so it excludes run_as_uid")
        if isinstance(self.call.env, Mapping):
            manifest.check_variables(list(self.call.env))
        return self

    @property
    def options_of_pods(self) -> JobOptions:
        """The options with the tolerations that nodes need, and without attempts: a node's runs are the plan's."""
        options = self.options
        given = None if options.tolerations is None else as_plain(list(options.tolerations), "tolerations")
        startup_timeout = positive_seconds(options.startup_timeout, "startup_timeout") or 0
        tolerations = selection.tolerations(given, self.choice, startup_timeout)
        return replace(options, tolerations=tolerations, backoff_limit=0, node_selector=None)
