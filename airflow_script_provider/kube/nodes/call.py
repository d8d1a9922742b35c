"""What a script on nodes is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from airflow_script_provider.kube.nodes import manifest, record, selection
from airflow_script_provider.kube.nodes.plan import Mode, NodeSettings
from airflow_script_provider.kube.nodes.selection import NodeChoice
from airflow_script_provider.kube.request.inputs import ScriptInputs
from airflow_script_provider.kube.request.options import CheckedOptions, JobOptions


@dataclass(frozen=True)
class NodeCall:
    """A script, the nodes, and how to run it there."""

    call: ScriptInputs
    options: JobOptions
    choice: NodeChoice
    settings: NodeSettings

    def check_before_rendering(self) -> None:
        """Refuse what is wrong whatever the templates turn out to be."""
        self.call.check_before_rendering()
        self.options.check_before_rendering()
        self.choice.check_before_rendering()
        self.settings.check()
        record.check_max_output(self.call.max_output_bytes)
        if self.settings.mode != Mode.NORMAL and self.options.run_as_uid is not None:
            raise ValueError(f"mode={self.settings.mode!r} runs as root, so it excludes run_as_uid")
        if isinstance(self.call.env, Mapping):
            manifest.check_variables(list(self.call.env))

    @property
    def options_of_pods(self) -> CheckedOptions:
        """The options with the tolerations that nodes need and a single attempt: the plan says how often a node runs.

        After rendering only.
        """
        options = self.options.checked()
        given = None if self.options.tolerations is None else options.tolerations
        tolerations = selection.tolerations(given, self.choice, options.startup_timeout)
        return replace(options, tolerations=tolerations, backoff_limit=0, node_selector={})
