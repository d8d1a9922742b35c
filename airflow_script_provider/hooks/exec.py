"""Running a script or a command in a running pod from any Python code."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from airflow_script_provider import exceptions
from airflow_script_provider._airflow import AirflowTaskTimeout, masked
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.clusters.access import ClusterAccess
from airflow_script_provider.execs.run import ExecRun
from airflow_script_provider.hooks._prepare import log_origins, mask_secrets_of
from airflow_script_provider.hooks._task_run import TaskRun
from airflow_script_provider.hooks.base import ScriptHook
from airflow_script_provider.kube.durations import Deadline, positive_seconds
from airflow_script_provider.kube.exec import workloads
from airflow_script_provider.kube.exec.request import ExecOptions, ExecRequest
from airflow_script_provider.kube.job import outcomes
from airflow_script_provider.kube.job.outcomes import Outcome
from airflow_script_provider.kube.request.inputs import ScriptInputs, split
from airflow_script_provider.kube.syntax import check_dns_label
from airflow_script_provider.result import ScriptResult
from airflow_script_provider.sources.fetching import fetch


class KubernetesExecScriptHook(ScriptHook["ExecTaskRun"]):
    """
    Run scripts and commands in running pods.

    An exec lives as long as its connection, so there is nothing to launch now and to follow later.
    """

    hook_name = "Kubernetes exec"

    def _new_task_run(self) -> ExecTaskRun:
        return ExecTaskRun(self.cluster, self.log)

    def run(
        self,
        script: Any = None,
        *,
        command: Sequence[str] | None = None,
        folder: str | None = None,
        **arguments: Any,
    ) -> ScriptResult:
        """Run a script, or a command, and wait for it.

        :param script: text, URI or source, as the operator takes it.
        :param command: a list of words instead of a script.
        :param folder: where relative paths of files start, by default the working directory.
        :param arguments: the operator's arguments of the same names.
        :return: the result of a run that succeeded.

        Raises ``ScriptFailedError`` with the result, ``ValueError`` for a bad argument,
        ``ScriptSourceError`` if the script cannot be read, ``TargetError`` and
        ``KubernetesApiError`` if there is no pod to run in.
        """
        inputs, options = split(arguments | {"script": script, "command": command}, ScriptInputs, ExecOptions)
        with self._task_run.ended_by_kill():
            return outcomes.successful(self._task_run.outcome(inputs, options, folder=folder))

    def prepare(
        self,
        script: Any = None,
        *,
        command: Sequence[str] | None = None,
        folder: str | None = None,
        **arguments: Any,
    ) -> ExecRequest:
        """Read the script and check everything; nothing is started."""
        inputs, options = split(arguments | {"script": script, "command": command}, ScriptInputs, ExecOptions)
        return self._task_run.prepare(inputs, options, folder=folder)


class ExecTaskRun(TaskRun):
    """A run in a running pod in the place of a task: what operators need beyond the hook."""

    nothing_begun = "Nothing was started."

    def prepare(self, inputs: ScriptInputs, options: ExecOptions, *, folder: str | None = None) -> ExecRequest:
        """Read the script and check everything; nothing is started."""
        return _exec_request(self.cluster.resolve(), inputs, options, folder, None)

    def outcome(
        self,
        inputs: ScriptInputs,
        options: ExecOptions,
        *,
        folder: str | None = None,
        seconds_left: float | None = None,
        on_outcome: Callable[[Outcome], None] | None = None,
    ) -> Outcome:
        """Run and wait; a failure is returned, not raised.

        ``seconds_left`` is the task's own time, if the task runs nothing else. After it another
        try may follow at once, so the end of the process is waited for. The outcome of a process
        that may still run is not tried again. ``on_outcome`` gets the outcome. If the time is over
        meanwhile, it gets the outcome again: a next try would run the script again.
        """
        access = self.cluster.resolve()
        request = _exec_request(access, inputs, options, folder, seconds_left)
        if request.script is not None:
            log_origins(self.log, request.script, request.files)
        log = self.run_log(get_logs=inputs.get_logs)
        begun: ExecRun | None = None  # of this call: a hook may run several scripts, also in threads

        async def main(api: KubernetesApi) -> Outcome:
            nonlocal begun
            begun = ExecRun(api, request, log, inputs.max_output_bytes, mask=masked)
            return await begun.outcome()

        def hand_over(outcome: Outcome) -> Outcome:
            if on_outcome is not None:
                on_outcome(outcome)
            return outcome

        try:
            return hand_over(self.run(access, main))
        except (AirflowTaskTimeout, exceptions.RunKilledError) as interruption:
            found = self._outlasting(interruption, begun, access, Deadline.within(None, seconds_left))
            if found is None:
                raise
        return hand_over(found)

    def _outlasting(
        self, interruption: BaseException, begun: ExecRun | None, access: ClusterAccess, deadline: Deadline
    ) -> Outcome | None:
        """The outcome of a run that an interruption does not undo, None without one."""
        if begun is None:
            return None
        if isinstance(interruption, AirflowTaskTimeout):
            return self._after_timeout(begun, access, deadline)
        return begun.own_outcome("the run was killed")

    def _after_timeout(self, begun: ExecRun, access: ClusterAccess, deadline: Deadline) -> Outcome | None:
        """The outcome at the deadline of the task itself; None if another try may follow."""
        if deadline.seconds is None:
            return None
        if begun.may_still_run:
            self.log.info("execution_timeout is over; waiting for the end of the process")
            with contextlib.suppress(exceptions.ScriptProviderError, AirflowTaskTimeout):
                self.run(access, begun.outlast_timeout)
        return begun.outcome_of_timeout(deadline)


def _exec_request(
    access: ClusterAccess,
    inputs: ScriptInputs,
    options: ExecOptions,
    folder: str | None,
    seconds_left: float | None,
) -> ExecRequest:
    inputs.check_before_rendering()
    options.check_before_rendering(inputs)
    namespace = access.namespace_for(inputs.namespace)
    check_dns_label(namespace, "namespace")
    workload = workloads.named(namespace, **options.places)
    mask_secrets_of(inputs)
    script, files = fetch(inputs, folder)
    timeout = positive_seconds(options.timeout, "timeout", none_allowed=True)
    return ExecRequest(workload, options, inputs, script, files, Deadline.within(timeout, seconds_left))
