"""Running a script on nodes from any Python code."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from airflow_script_provider import exceptions
from airflow_script_provider._airflow import current_task
from airflow_script_provider._interruption import ended_by_sigterm
from airflow_script_provider.clusters.access import ClusterAccess
from airflow_script_provider.clusters.credentials import open_api
from airflow_script_provider.hooks.script import KubernetesScriptHook
from airflow_script_provider.jobs import launching
from airflow_script_provider.jobs.begin import Run
from airflow_script_provider.jobs.nodes.task import NodesTask, OnOutcome
from airflow_script_provider.kube.job.launched import LaunchedJob
from airflow_script_provider.kube.names import LaunchIdentity, TaskIdentity, short_digest
from airflow_script_provider.kube.nodes import manifest
from airflow_script_provider.kube.nodes.call import NodeCall
from airflow_script_provider.kube.nodes.plan import NodeSettings, OnNodes
from airflow_script_provider.kube.nodes.record import DEFAULT_MAX_RUN_OUTPUT
from airflow_script_provider.kube.nodes.result import NodesOutcome
from airflow_script_provider.kube.nodes.selection import NodeChoice
from airflow_script_provider.kube.request.inputs import ScriptInputs, split
from airflow_script_provider.kube.request.options import JobOptions
from airflow_script_provider.kube.request.request import JobRequest

T = TypeVar("T")


@dataclass(frozen=True)
class NodesDeferral:
    """The Job that owns the runs, for a trigger to see to, and the API server that it is on."""

    job: LaunchedJob
    server: str


class KubernetesNodeScriptHook(KubernetesScriptHook):
    """Run scripts on nodes, as Jobs. How the cluster is reached is told as to ``KubernetesScriptHook``."""

    def run_on_nodes(self, script: Any, *, folder: str | None = None, **arguments: Any) -> dict[str, Any]:
        """Run a script on nodes and wait for all of them.

        :param script: text, URI or source, as the operator takes it.
        :param folder: what relative paths of files start from, by default the working directory.
        :param arguments: the operator's arguments of the same names.
        :return: the result of a script that ended well on every node.

        Raises ``NodesFailedError`` with the result, and what ``KubernetesScriptHook.run`` raises before the launch.
        """
        with ended_by_sigterm(self._run):
            outcome = self.nodes_to_outcome(split_node_arguments(script=script, **arguments), folder=folder)
        return successful(outcome)

    def nodes_to_outcome(
        self,
        call: NodeCall,
        *,
        folder: str | None = None,
        task: TaskIdentity | None = None,
        seconds_left: float | None = None,
        on_outcome: OnOutcome | None = None,
    ) -> NodesOutcome:
        """Run and wait, without judging: the outcome of success and failure alike.

        ``on_outcome`` gets it before the runs are marked as read.
        """
        task = task or current_task()

        async def main(nodes: NodesTask, job: LaunchedJob) -> NodesOutcome:
            return await nodes.see_through(job, task, on_outcome)

        return self._on_nodes(call, main, folder=folder, task=task, left=seconds_left)

    def launch_on_nodes(
        self,
        call: NodeCall,
        *,
        folder: str | None = None,
        task: TaskIdentity | None = None,
        seconds_left: float | None = None,
        on_outcome: OnOutcome | None = None,
    ) -> NodesOutcome | NodesDeferral:
        """Create the Job that owns the runs, for a trigger to start them; ``resume_on_nodes`` takes its event.

        Without the right to patch Jobs a trigger could not tell what became of the runs: then a worker waits.
        """
        launched: list[LaunchedJob] = []

        async def main(nodes: NodesTask, job: LaunchedJob) -> NodesOutcome | NodesDeferral:
            if not job.may_be_marked:
                self.log.warning("Without the right to patch jobs the task cannot be deferred; a worker waits")
                return await nodes.see_through(job, task, on_outcome)
            launched.append(job)
            return NodesDeferral(job, nodes.api.host)

        try:
            return self._on_nodes(call, main, folder=folder, task=task, left=seconds_left)
        except exceptions.RunKilledError:
            if launched:  # the kill came while the session was being closed
                raise self.killed(launched[0].ref) from None
            raise

    def resume_on_nodes(
        self, event: Mapping[str, Any], *, task: TaskIdentity | None = None, on_outcome: OnOutcome | None = None
    ) -> NodesOutcome:
        """The outcome from the event of a trigger; goes on where the trigger could not."""
        access, job = self._access(), LaunchedJob.from_dict(event["job"])
        log = self._run_log(get_logs=job.get_logs)
        if event.get("reason"):
            log.note(f"The triggerer could not go on, so a worker does: {event['reason']}", logging.WARNING)
        began: list[LaunchedJob] = []

        async def main() -> NodesOutcome:
            async with open_api(access) as api:
                await launching.check_server(api, job.ref, event.get("server"))
                began.append(job)
                nodes = NodesTask(api, log, lambda: self._meaning_of_kill(task))
                return await nodes.see_through(job, task, on_outcome)

        try:
            return self._run.run(main)
        except exceptions.RunKilledError:
            if not began:  # the kill came while the credentials were loaded
                raise self.killed(job.ref) from None
            raise

    def prepare_on_nodes(
        self, call: NodeCall, *, folder: str | None = None, task: TaskIdentity | None = None
    ) -> JobRequest:
        """Read the script and check everything, without a request to the cluster.

        The plan's nodes are those that are named, otherwise one with the name ``NODE``.
        """
        request, on_nodes = self._prepared(self._access(), call, folder=folder, task=task, left=None)
        names = tuple(call.choice.nodes or ("NODE",))
        return manifest.owning(request, replace(on_nodes, plan=replace(on_nodes.plan, nodes=names)))

    def _on_nodes(
        self,
        call: NodeCall,
        do: Callable[[NodesTask, LaunchedJob], Coroutine[Any, Any, T]],
        *,
        folder: str | None,
        task: TaskIdentity | None,
        left: float | None,
    ) -> T:
        access = self._access()
        request, on_nodes = self._prepared(access, call, folder=folder, task=task, left=left)
        self._say_read(request)
        log = self._run_log(get_logs=call.call.get_logs)

        async def main() -> T:
            async with open_api(access) as api:
                nodes = NodesTask(api, log, lambda: self._meaning_of_kill(task))
                bounds = Run(api, request, log, call.call.max_output_bytes, get_logs=call.call.get_logs)
                retried = call.settings.retry_failed_only
                job = await nodes.begin(request, on_nodes, call.choice, bounds=bounds, retry_failed_only=retried)
                if self.on_launch is not None:
                    async with nodes.guard.protecting(job.ref):
                        self.on_launch(job.ref)
                return await do(nodes, job)

        return self._run.run(main)

    def _prepared(
        self,
        access: ClusterAccess,
        call: NodeCall,
        *,
        folder: str | None,
        task: TaskIdentity | None,
        left: float | None,
    ) -> tuple[JobRequest, OnNodes]:
        call.check_before_rendering()
        call.choice.check()
        request = self._prepare(access, call.call, call.options_of_pods, folder=folder, task=task, left=None)
        expires_at = None if left is None else time.time() + left
        identity = _for_nodes(request.identity, call.choice, call.settings)
        on_nodes = call.settings.on_nodes(timeout=request.options.timeout, expires_at=expires_at)
        return replace(request, identity=identity), on_nodes


def _for_nodes(identity: LaunchIdentity, choice: NodeChoice, settings: NodeSettings) -> LaunchIdentity:
    """The identity of a request with what it says of nodes: other nodes are another request."""
    facts = (asdict(choice), asdict(settings))
    return replace(
        identity,
        launch_id=short_digest(identity.launch_id, *facts),
        request=short_digest(identity.request, *facts) if identity.request else "",
        is_for_nodes=True,
    )


def split_node_arguments(**arguments: Any) -> NodeCall:
    """The operator's arguments by what they are about; ``TypeError`` for one that nobody knows."""
    given = {"max_output_bytes": DEFAULT_MAX_RUN_OUTPUT} | arguments
    choice, settings, call, options = split(given, NodeChoice, NodeSettings, ScriptInputs, JobOptions)
    return NodeCall(call, options, choice, settings)


def successful(outcome: NodesOutcome) -> dict[str, Any]:
    """The result of a success. Raises ``NodesFailedError`` with it where a node failed."""
    if outcome.error is not None:
        raise exceptions.NodesFailedError(outcome.error, result=outcome.result)
    return outcome.result
