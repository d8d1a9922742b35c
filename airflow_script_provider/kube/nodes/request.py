"""A script on nodes: the author's call, and the request that is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from airflow_script_provider.kube.names import LaunchIdentity, short_digest
from airflow_script_provider.kube.nodes import manifest, record, selection
from airflow_script_provider.kube.nodes.plan import Mode, NodeSettings, OnNodes
from airflow_script_provider.kube.nodes.selection import NodeChoice
from airflow_script_provider.kube.request.inputs import ScriptInputs
from airflow_script_provider.kube.request.options import CheckedOptions, JobOptions
from airflow_script_provider.kube.request.request import JobRequest


@dataclass(frozen=True)
class NodeArguments:
    """A script, the nodes, and how to run it there."""

    inputs: ScriptInputs
    options: JobOptions
    choice: NodeChoice
    settings: NodeSettings

    def check_before_rendering(self) -> None:
        """Refuse values that no rendering can make valid."""
        self.inputs.check_before_rendering()
        self.options.check_before_rendering()
        self.choice.check_before_rendering()
        self.settings.check()
        record.check_max_output(self.inputs.max_output_bytes)
        if self.settings.mode != Mode.NORMAL and self.options.run_as_uid is not None:
            raise ValueError(f"mode={self.settings.mode!r} runs as root, so it excludes run_as_uid")
        if isinstance(self.inputs.env, Mapping):
            manifest.check_variables(list(self.inputs.env))

    @property
    def options_of_pods(self) -> CheckedOptions:
        """The options with the tolerations that nodes need, and with a single attempt.

        The plan says how often the script runs on a node. Read it after rendering only.
        """
        options = self.options.checked()
        given = None if self.options.tolerations is None else options.tolerations
        tolerations = selection.tolerations(given, self.choice, options.startup_timeout)
        return replace(options, tolerations=tolerations, backoff_limit=0, node_selector={})


@dataclass(frozen=True)
class NodesRequest:
    """A checked request, for nodes that are not chosen yet.

    ``request`` is the request of the Job that will own the runs. The plan of ``on_nodes`` has no
    nodes.
    """

    request: JobRequest
    on_nodes: OnNodes
    choice: NodeChoice
    retry_failed_only: bool = True

    def owner(self) -> JobRequest:
        """The request of the owner, for a dry run.

        It is for the named nodes. If the call names no nodes, it is for one node ``NODE``.
        """
        nodes = tuple(self.choice.nodes or ("NODE",))
        return manifest.owner_request(
            self.request, replace(self.on_nodes, plan=replace(self.on_nodes.plan, nodes=nodes))
        )


def identity_on_nodes(identity: LaunchIdentity, choice: NodeChoice, settings: NodeSettings) -> LaunchIdentity:
    """The identity of a request together with its nodes: other nodes make another request."""
    facts, call = (asdict(choice), asdict(settings)), identity.call
    return replace(
        identity,
        launch_id=short_digest(identity.launch_id, *facts),
        request=short_digest(identity.request, *facts) if identity.request else "",
        is_for_nodes=True,
        call=call and short_digest(call, *facts),
    )
