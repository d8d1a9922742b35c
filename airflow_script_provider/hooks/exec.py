"""Running a script or a command in a pod that is there, from any Python code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_script_provider._interruption import ended_by_sigterm
from airflow_script_provider.clusters.access import ClusterAccess
from airflow_script_provider.clusters.credentials import open_api
from airflow_script_provider.execs.run import ExecRun
from airflow_script_provider.hooks.base import ConnectedHook
from airflow_script_provider.kube.durations import Deadline, positive_seconds
from airflow_script_provider.kube.exec import workloads
from airflow_script_provider.kube.exec.request import ExecOptions, ExecRequest
from airflow_script_provider.kube.job import outcomes
from airflow_script_provider.kube.job.outcomes import Outcome
from airflow_script_provider.kube.request import provenance
from airflow_script_provider.kube.request.inputs import ScriptInputs, split
from airflow_script_provider.kube.syntax import check_dns_label
from airflow_script_provider.result import ScriptResult
from airflow_script_provider.sources.fetching import fetch


class KubernetesExecScriptHook(ConnectedHook):
    """Run scripts and commands in pods that run already."""

    hook_name = "Kubernetes exec"
    _nothing_begun = "Nothing was started."

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
        :param command: a list in the script's place.
        :param folder: what relative paths of files start from, by default the working directory.
        :param arguments: the operator's arguments of the same names.
        :return: the result of what ended well.

        Raises ``ScriptFailedError`` with the result, ``ValueError`` for a bad argument, ``ScriptSourceError`` where the
        script cannot be read, ``TargetError`` and ``KubernetesApiError`` where there is no pod to run in.
        """
        with ended_by_sigterm(self._run):
            result = self.run_to_outcome(*split_arguments(script=script, command=command, **arguments), folder=folder)
        if (error := outcomes.failure(result)) is not None:
            raise error
        return result.result

    def run_to_outcome(
        self, call: ScriptInputs, options: ExecOptions, *, folder: str | None = None, seconds_left: float | None = None
    ) -> Outcome:
        """Run and wait, without judging: the outcome of success and failure alike."""
        access = self._access()
        request = self._prepare(access, call, options, folder, seconds_left)
        if request.script is not None:
            for line in provenance.lines(request.script, request.files):
                self.log.info("%s", line)
        log = self._run_log(get_logs=call.get_logs)

        async def main() -> Outcome:
            async with open_api(access) as api:
                return await ExecRun(api, request, log, call.max_output_bytes).outcome()

        return self._run.run(main)

    def prepare(self, call: ScriptInputs, options: ExecOptions, *, folder: str | None = None) -> ExecRequest:
        """Read the script and check everything; nothing is started, and the cluster is not asked."""
        return self._prepare(self._access(), call, options, folder, None)

    def _prepare(
        self,
        access: ClusterAccess,
        call: ScriptInputs,
        options: ExecOptions,
        folder: str | None,
        seconds_left: float | None,
    ) -> ExecRequest:
        call.check_before_rendering()
        options.check_before_rendering(call)
        namespace = access.namespace_for(call.namespace)
        check_dns_label(namespace, "namespace")
        place = workloads.named(namespace, **options.places)
        script, files = fetch(call, folder)
        timeout = positive_seconds(options.timeout, "timeout", none_allowed=True)
        return ExecRequest(place, options, call, script, files, Deadline.within(timeout, seconds_left))


def split_arguments(**arguments: Any) -> tuple[ScriptInputs, ExecOptions]:
    """The operator's arguments as call and options; ``TypeError`` for one that nobody knows."""
    call, options = split(arguments, ScriptInputs, ExecOptions)
    return call, options
