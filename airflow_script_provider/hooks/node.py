"""Running a script on nodes from any Python code."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from airflow_script_provider._airflow import masked
from airflow_script_provider._task_identity import current_task
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.clusters.access import ClusterAccess
from airflow_script_provider.hooks._held import left_to_trigger, why_not_shown
from airflow_script_provider.hooks._prepare import job_request, log_origins, mask_secrets_of
from airflow_script_provider.hooks._task_run import JobTaskRun
from airflow_script_provider.hooks.base import ScriptHook
from airflow_script_provider.jobs import reattach
from airflow_script_provider.jobs.context import JobContext, Known
from airflow_script_provider.jobs.nodes.task import NodesTask, OnResult
from airflow_script_provider.kube import hiding
from airflow_script_provider.kube.job.follow_state import FollowState
from airflow_script_provider.kube.job.launched import JobRef, LaunchedJob
from airflow_script_provider.kube.names import TaskIdentity
from airflow_script_provider.kube.nodes import result as nodes_result
from airflow_script_provider.kube.nodes.plan import DEFAULT_MAX_RUN_OUTPUT, NodeSettings
from airflow_script_provider.kube.nodes.request import NodeArguments, NodesRequest, identity_on_nodes
from airflow_script_provider.kube.nodes.selection import NodeChoice
from airflow_script_provider.kube.request.inputs import ScriptInputs, split
from airflow_script_provider.kube.request.options import JobOptions
from airflow_script_provider.result import NodesResult
from airflow_script_provider.run_log import RunLog

T = TypeVar("T")


@dataclass(frozen=True)
class NodesDeferral:
    """The Job that owns the runs which a trigger is to start, and its API server."""

    job: LaunchedJob
    server: str


class KubernetesNodeScriptHook(ScriptHook["NodesTaskRun"]):
    """Run scripts on nodes, as a Job on each."""

    hook_name = "Kubernetes node script"

    def _new_task_run(self) -> NodesTaskRun:
        return NodesTaskRun(self.cluster, self.log)

    def run(self, script: Any, *, folder: str | None = None, **arguments: Any) -> NodesResult:
        """Run a script on nodes and wait for all of them.

        :param script: text, URI or source, as the operator takes it.
        :param folder: where relative paths of files start, by default the working directory.
        :param arguments: the operator's arguments of the same names.
        :return: the result of a script that succeeded on every node.

        Raises ``NodesFailedError`` with the result, and what ``KubernetesScriptHook.run`` raises
        before the launch.
        """
        call = node_arguments(script=script, **arguments)
        with self._task_run.ended_by_kill():
            return nodes_result.successful(self._task_run.outcome(call, folder=folder))

    def prepare(self, script: Any, *, folder: str | None = None, **arguments: Any) -> NodesRequest:
        """Read the script and check everything; nothing is created, no nodes are chosen."""
        return self._task_run.prepare(node_arguments(script=script, **arguments), folder=folder)

    def launch(self, request: NodesRequest) -> JobRef:
        """Choose the nodes and create the Job that owns the runs. ``follow`` starts the runs.

        Raises ``LaunchError`` if the request was launched before and its Job exists.
        """

        async def launched(api: KubernetesApi) -> JobRef:
            log = self._task_run.run_log(get_logs=request.request.get_logs)
            return (await self._task_run.begin(api, request, log)).ref

        return self._task_run.launch(launched)

    def follow(self, request: NodesRequest, ref: JobRef) -> NodesResult:
        """Start the runs of a launched request and wait for all; returns and raises as ``run``."""
        with self._task_run.ended_by_kill():
            return nodes_result.successful(self._task_run.followed(ref, lambda: self._task_run.follow(request, ref)))

    async def afollow(self, request: NodesRequest, ref: JobRef) -> NodesResult:
        """``follow`` for code in an event loop. Cancelled, it deletes all Jobs of the request."""
        follow = partial(self._task_run.follow, request, ref)
        return nodes_result.successful(await self._task_run.followed_in_loop(ref, follow))

    def delete(self, ref: JobRef) -> bool:
        """Delete the owner with the Jobs of all runs; False if it was gone already."""
        return self._task_run.delete(ref)


class NodesTaskRun(JobTaskRun):
    """A script on nodes in the place of a task: what operators need beyond the hook."""

    def prepare(
        self, call: NodeArguments, *, folder: str | None = None, task: TaskIdentity | None = None
    ) -> NodesRequest:
        """Read the script and check everything; nothing is created."""
        return _nodes_request(self.cluster.resolve(), call, folder=folder, task=task)

    def outcome(
        self,
        call: NodeArguments,
        *,
        folder: str | None = None,
        task: TaskIdentity | None = None,
        seconds_left: float | None = None,
        on_outcome: OnResult | None = None,
        alone: bool = False,
    ) -> NodesResult:
        """Run and wait; a failure is returned, not raised.

        Raises ``NodesFailedError`` where a retry might begin beside a script. ``on_outcome`` gets
        the result before the runs are marked as read. ``alone`` means that the task
        runs nothing else, so this run uses or deletes what an earlier try left.
        """
        task = task or current_task()

        async def main(nodes: NodesTask, job: LaunchedJob, _: NodesRequest) -> NodesResult:
            return await nodes.see_through(job, task, on_outcome)

        return self._begun(
            call, main, folder=folder, task=task, seconds_left=seconds_left, on_outcome=on_outcome, alone=alone
        )

    def outcome_or_deferral(
        self,
        call: NodeArguments,
        *,
        folder: str | None = None,
        task: TaskIdentity | None = None,
        seconds_left: float | None = None,
        on_outcome: OnResult | None = None,
    ) -> NodesResult | NodesDeferral:
        """As ``outcome`` with ``alone``, but the runs are left to a trigger, for ``resume``.

        Without the right to patch Jobs a trigger could not store the records of runs. Then a
        worker waits.
        """
        with self.unguarded(task=task) as unguarded:

            async def main(nodes: NodesTask, job: LaunchedJob, request: NodesRequest) -> NodesResult | NodesDeferral:
                if not job.may_be_marked:
                    self.log.warning("Without the right to patch jobs the task cannot be deferred; a worker waits")
                    return await nodes.see_through(job, task, on_outcome)
                unguarded.ref = job.ref
                return NodesDeferral(left_to_trigger(job, request.request), nodes.api.host)

            return self._begun(
                call, main, folder=folder, task=task, seconds_left=seconds_left, on_outcome=on_outcome, alone=True
            )

    def resume(
        self,
        event: Mapping[str, Any],
        inputs: ScriptInputs | None = None,
        *,
        task: TaskIdentity | None = None,
        on_outcome: OnResult | None = None,
    ) -> NodesResult:
        """The result from the event of a trigger; goes on where the trigger could not.

        The values of ``inputs`` are hidden in messages. If the runs were launched with others, or
        without ``inputs``, messages have only the name of the script's error. Lines that a trigger
        has held are shown if the secrets in them are masked here.
        """
        job = LaunchedJob.from_dict(event["job"])
        mask_secrets_of(inputs)
        hidden = why_not_shown(job, inputs)
        known = None if hidden else inputs
        log = self.log_of_resumed(job, hidden)
        if event.get("reason"):
            log.note(f"The triggerer could not go on, so a worker does: {event['reason']}", logging.WARNING)
        self._launched.job, self._launched.known = job, Known()
        with self.unguarded(job.ref, task) as unguarded:

            async def main(api: KubernetesApi) -> NodesResult:
                nodes = self._nodes_task(api, log, task, known, outlasts_timeout=True)
                await self.check_server(
                    JobContext(api, job, log), event.get("server"), unguarded, nodes.meaning_of_kill
                )
                outcome = await nodes.see_through(job, task, on_outcome)
                if job.holds_lines and not event.get("reason"):
                    log.output(nodes_result.lines(outcome))
                return outcome

            after_timeout = self._after_timeout(task, on_outcome, known)
            return self.outlasting_timeout(self.cluster.resolve(), main, after_timeout, task, on_outcome)

    async def follow(self, request: NodesRequest, ref: JobRef) -> NodesResult:
        """Start and follow the runs of a launched request. Cancelled, it deletes all Jobs."""
        log, task = self.run_log(get_logs=request.request.get_logs), request.request.identity.task

        async def main(api: KubernetesApi, job: LaunchedJob, start: FollowState) -> NodesResult:
            values = list(hiding.values_in(request.request.payload.variables))
            nodes = replace(self._nodes_task(api, log, None), values=values)
            return await nodes.see_through(replace(job, check_digits=hiding.check_digits(values)), task, None)

        return await self.with_launched(request.request, ref, main)

    async def begin(self, api: KubernetesApi, request: NodesRequest, log: RunLog) -> LaunchedJob:
        """Choose nodes and create the owner of the runs, which belongs to no task."""
        return await self._begin(self._nodes_task(api, log, None), request)

    async def _begin(self, nodes: NodesTask, request: NodesRequest) -> LaunchedJob:
        """Adopt the owner of an earlier try, or choose nodes and create one.

        With ``recovers``, it is the one that this try has created.
        """
        if self.recovers:
            left = await reattach.of_this_try(nodes.api, request.request)
            job = LaunchedJob.of(left.request, left.ref, left.launched_at)
            nodes.on_begun(job)
            if self.on_launch is not None:
                self.on_launch(left.ref)
            return job
        return await nodes.begin(
            request.request,
            request.on_nodes,
            request.choice,
            retry_failed_only=request.retry_failed_only,
            on_launch=self.on_launch,
        )

    def _begun(
        self,
        call: NodeArguments,
        do: Callable[[NodesTask, LaunchedJob, NodesRequest], Coroutine[Any, Any, T]],
        *,
        folder: str | None,
        task: TaskIdentity | None,
        seconds_left: float | None,
        on_outcome: OnResult | None,
        alone: bool,
    ) -> T | NodesResult:
        access = self.cluster.resolve()
        with self.instead_of_earlier(access, call.inputs.namespace, task):
            request = _nodes_request(access, call, folder=folder, task=task, seconds_left=seconds_left)
            log_origins(self.log, request.request.script, request.request.files)
            log = self.run_log(get_logs=request.request.get_logs)

            async def main(api: KubernetesApi) -> T:
                nodes = self._nodes_task(api, log, task, call.inputs, alone=alone, outlasts_timeout=alone)
                job = await self._begin(nodes, request)
                return await do(nodes, job, request)

            if not alone:
                return self.run(access, main)
            after_timeout = self._after_timeout(task, on_outcome, call.inputs)
            return self.outlasting_timeout(access, main, after_timeout, task, on_outcome)

    def _after_timeout(
        self, task: TaskIdentity | None, on_outcome: OnResult | None, inputs: ScriptInputs | None
    ) -> Callable[[KubernetesApi, LaunchedJob], Coroutine[Any, Any, NodesResult | None]]:
        """What concludes the runs, or ends them, after ``execution_timeout``."""

        async def settled(api: KubernetesApi, job: LaunchedJob) -> NodesResult | None:
            nodes = self._nodes_task(api, self.run_log(get_logs=job.get_logs), task, inputs)
            return await nodes.after_timeout(job, task, on_outcome)

        return settled

    def _nodes_task(
        self,
        api: KubernetesApi,
        log: RunLog,
        task: TaskIdentity | None,
        inputs: ScriptInputs | None = None,
        *,
        alone: bool = True,
        outlasts_timeout: bool = False,
    ) -> NodesTask:
        values = inputs.values if inputs else None
        meaning = partial(self.meaning_of_kill, task, alone=alone, outlasts_timeout=outlasts_timeout)
        keep = partial(setattr, self._launched, "job")
        return NodesTask(api, log, meaning, alone, values, masked, self._launched.known, keep)


def node_arguments(**arguments: Any) -> NodeArguments:
    """The operator's arguments by what they are about; ``TypeError`` for an unknown one."""
    given = {"max_output_bytes": DEFAULT_MAX_RUN_OUTPUT} | arguments
    choice, settings, inputs, options = split(given, NodeChoice, NodeSettings, ScriptInputs, JobOptions)
    return NodeArguments(inputs, options, choice, settings)


def _nodes_request(
    access: ClusterAccess,
    call: NodeArguments,
    *,
    folder: str | None,
    task: TaskIdentity | None,
    seconds_left: float | None = None,
) -> NodesRequest:
    call.check_before_rendering()
    call.choice.check()
    request = job_request(access, call.inputs, call.options_of_pods, folder=folder, task=task)
    options, expires_at = request.options, None if seconds_left is None else time.time() + seconds_left
    return NodesRequest(
        replace(request, identity=identity_on_nodes(request.identity, call.choice, call.settings)),
        call.settings.on_nodes(
            timeout=options.timeout,
            begins_within=options.schedule_timeout + options.startup_timeout,
            expires_at=expires_at,
        ),
        call.choice,
        call.settings.retry_failed_only,
    )
