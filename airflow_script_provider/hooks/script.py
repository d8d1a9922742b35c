"""Running a script on Kubernetes from any Python code: in a ``@task``, in an operator, on the command line."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from airflow_script_provider import _event_loop, exceptions
from airflow_script_provider._airflow import current_task, mask_values, task_state
from airflow_script_provider._interruption import answer_of, ended_by_sigterm
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.clusters.access import ClusterAccess
from airflow_script_provider.clusters.credentials import open_api
from airflow_script_provider.hooks.base import ConnectedHook
from airflow_script_provider.jobs import launching, read_mark
from airflow_script_provider.jobs.begin import Deferral, OnOutcome, Run, see_through
from airflow_script_provider.jobs.conclude import Tracking
from airflow_script_provider.jobs.guard import JobGuard
from airflow_script_provider.kube import names
from airflow_script_provider.kube.job import adoption, outcomes
from airflow_script_provider.kube.job.follow_state import FollowState, from_event
from airflow_script_provider.kube.job.launched import JobRef
from airflow_script_provider.kube.job.outcomes import Outcome
from airflow_script_provider.kube.logs.output import DEFAULT_MAX_OUTPUT
from airflow_script_provider.kube.names import LaunchIdentity, TaskIdentity
from airflow_script_provider.kube.request import interpreters, provenance
from airflow_script_provider.kube.request.inputs import ScriptInputs, split
from airflow_script_provider.kube.request.logins import logins_in
from airflow_script_provider.kube.request.options import CheckedOptions, JobOptions
from airflow_script_provider.kube.request.payload import Payload
from airflow_script_provider.kube.request.request import JobRequest, request_facts
from airflow_script_provider.result import ScriptResult
from airflow_script_provider.sources.fetching import fetch

T = TypeVar("T")

STATE_TIMEOUT = 2.0
"""Seconds for Airflow to tell the state of a task that is killed; SIGKILL comes five seconds after SIGTERM."""

_launches: Counter[tuple[str, str]] = Counter()
"""Launches of this process by try and request: the ordinal that tells two equal runs in one task apart."""
_counting = threading.Lock()


class KubernetesScriptHook(ConnectedHook):
    """Run scripts as Kubernetes Jobs. ``on_launch`` is told the Job as soon as there is one."""

    hook_name = "Kubernetes script"
    on_launch: Callable[[JobRef], None] | None = None

    def run(self, script: Any, *, folder: str | None = None, **arguments: Any) -> ScriptResult:
        """Run a script and wait for it.

        :param script: text, URI or source, as the operator takes it.
        :param folder: what relative paths of files start from, by default the working directory.
        :param arguments: the operator's arguments of the same names.
        :return: the result of a script that ended well.

        Raises ``ScriptFailedError`` with the result, ``ValueError`` for a bad argument, ``ScriptSourceError`` where the
        script cannot be read, ``KubernetesApiError`` and ``LaunchError`` where the Job cannot be created.
        """
        with ended_by_sigterm(self._run):
            result = self.run_to_outcome(*split_arguments(script=script, **arguments), folder=folder)
        if (error := outcomes.failure(result)) is not None:
            raise error
        return result.result

    def run_to_outcome(
        self,
        call: ScriptInputs,
        options: JobOptions,
        *,
        folder: str | None = None,
        task: TaskIdentity | None = None,
        seconds_left: float | None = None,
        on_outcome: OnOutcome | None = None,
        alone: bool = False,
    ) -> Outcome:
        """Run and wait, without judging: the outcome of success and failure alike.

        ``on_outcome`` gets it before the Job is marked as read: until then another try of the task would take it over.
        ``alone`` says that the task runs nothing else, so what an earlier try has left is this run's, or nobody's.
        """
        return self._begun(
            call, options, lambda run: run.run(on_outcome), folder=folder, task=task, left=seconds_left, alone=alone
        )

    def run_or_defer(
        self,
        call: ScriptInputs,
        options: JobOptions,
        defer_after: float,
        *,
        folder: str | None = None,
        task: TaskIdentity | None = None,
        seconds_left: float | None = None,
        on_outcome: OnOutcome | None = None,
    ) -> Outcome | Deferral:
        """As ``run_to_outcome`` with ``alone``; but a Job that is not over after so many seconds is a trigger's.

        ``resume`` takes that trigger's event.
        """
        deferred: list[Deferral] = []

        async def run_or_defer(run: Run) -> Outcome | Deferral:
            followed = await run.run_or_defer(defer_after, on_outcome)
            if isinstance(followed, Deferral):
                deferred.append(followed)
            return followed

        try:
            return self._begun(call, options, run_or_defer, folder=folder, task=task, left=seconds_left, alone=True)
        except exceptions.RunKilledError:
            if deferred:  # the kill came while the session was being closed
                raise self.killed(deferred[0].job.ref) from None
            raise

    def resume(
        self, event: Mapping[str, Any], *, task: TaskIdentity | None = None, on_outcome: OnOutcome | None = None
    ) -> Outcome:
        """The outcome of a run from the event of its trigger; follows on where the trigger could not."""
        access = self._access()
        job, told = from_event(event)
        log = self._run_log(get_logs=job.get_logs)
        if event.get("reason"):
            log.note(f"The triggerer could not follow the Job, so a worker does: {event['reason']}", logging.WARNING)

        guards: list[JobGuard] = []

        async def main() -> Outcome:
            async with open_api(access) as api:
                await launching.check_server(api, job.ref, event.get("server"))
                guards.append(JobGuard(api, log, lambda: self._meaning_of_kill(task)))
                return await see_through(Tracking(api, job, log), guards[0], told, task, on_outcome)

        try:
            return self._run.run(main)
        except exceptions.RunKilledError:
            if not guards:  # the kill came while the credentials were loaded
                raise self.killed(job.ref) from None
            raise

    def killed(self, ref: JobRef) -> exceptions.RunKilledError:
        """Delete the Job of a run that was killed when nothing followed it; the error that says so."""
        try:
            self.delete(ref)
            fate = launching.fate(ref, deleted=True)
        except exceptions.KubernetesApiError:
            fate = launching.fate(ref, deleted=False)
        return exceptions.RunKilledError(f"the run was killed. {fate}")

    def prepare(
        self, call: ScriptInputs, options: JobOptions, *, folder: str | None = None, task: TaskIdentity | None = None
    ) -> JobRequest:
        """Read the script and check everything; nothing is created."""
        return self._prepare(self._access(), call, options.checked(), folder=folder, task=task, left=None)

    def launch(self, request: JobRequest) -> JobRef:
        """Create the Job of a request and return at once; unless it is followed, it is kept for ``unread_ttl``."""

        async def launched(api: KubernetesApi) -> JobRef:
            return await launching.launch(api, await read_mark.allowed(api, request, self._run_log()))

        return self._once(launched)

    async def follow(self, request: JobRequest, ref: JobRef, *, max_output_bytes: int = DEFAULT_MAX_OUTPUT) -> Outcome:
        """Follow a launched Job to its outcome; its log goes into this hook's."""
        access = await asyncio.to_thread(self._access)
        async with open_api(access) as api:
            run = Run(api, request, self._run_log(), max_output_bytes)
            job = run.launched(ref, time.time())
            guard = JobGuard(api, run.log)
            return await see_through(Tracking(api, job, run.log), guard, FollowState(), request.identity.task)

    def delete(self, ref: JobRef) -> bool:
        """Delete a Job with all that belongs to it; False if it was gone already."""
        return self._once(lambda api: launching.delete(api, ref))

    def _begun(
        self,
        call: ScriptInputs,
        options: JobOptions,
        do: Callable[[Run], Coroutine[Any, Any, T]],
        *,
        folder: str | None,
        task: TaskIdentity | None,
        left: float | None,
        alone: bool,
    ) -> T:
        access, task = self._access(), task or current_task()
        request = self._prepare(access, call, options.checked(), folder=folder, task=task, left=left)
        self._say_read(request)
        log = self._run_log(get_logs=call.get_logs)

        async def main() -> T:
            async with open_api(access) as api:
                limit, meaning = call.max_output_bytes, lambda: self._meaning_of_kill(task)
                return await do(Run(api, request, log, limit, alone, meaning, call.get_logs, self.on_launch))

        return self._run.run(main)

    async def _meaning_of_kill(self, task: TaskIdentity | None) -> adoption.Kill | None:
        """What an interruption means if it is a kill of a task that is tried again; None otherwise."""
        if not self._run.is_killed or task is None or not task.has_tries_left:
            return None
        return adoption.meaning_of_kill(await answer_of(lambda: task_state(task), STATE_TIMEOUT))

    def _prepare(
        self,
        access: ClusterAccess,
        call: ScriptInputs,
        options: CheckedOptions,
        *,
        folder: str | None,
        task: TaskIdentity | None,
        left: float | None,
    ) -> JobRequest:
        call.check_before_rendering()
        mask_values(logins_in(options.install_dependencies or ()))
        script, files = fetch(call, folder)
        if script is None:
            raise ValueError("script is missing: text, a URI or a source such as FileScript(…)")
        chosen = interpreters.choose(script, options.image, options.interpreter)
        is_sql = chosen.program == "psql"
        payload = Payload.of(call.args, call.arguments, call.env, as_psql_variables=is_sql)
        namespace = access.namespace_for(call.namespace)
        return JobRequest(
            script=script,
            options=options,
            namespace=namespace,
            identity=_identity(task, options, request_facts(script, files, options, payload, namespace)),
            interpreter=chosen,
            payload=payload,
            files=files,
            deadline=options.deadline_within(left),
        )

    def _once(self, do: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        access = self._access()

        async def main() -> T:
            async with open_api(access) as api:
                return await do(api)

        return _event_loop.run(main())

    def _say_read(self, request: JobRequest) -> None:
        for line in provenance.lines(request.script, request.files):
            self.log.info("%s", line)


def split_arguments(**arguments: Any) -> tuple[ScriptInputs, JobOptions]:
    """The operator's arguments as call and options; ``TypeError`` for one that nobody knows."""
    call, options = split(arguments, ScriptInputs, JobOptions)
    return call, options


def _identity(task: TaskIdentity | None, options: CheckedOptions, facts: Mapping[str, Any]) -> LaunchIdentity:
    if task is None:
        return LaunchIdentity(names.launch_id(None, 0, facts), names.stem_for(None, options.name))
    ordinal = _ordinal(task, facts)
    launch_id = names.launch_id(task.instance_id, ordinal, facts)
    return LaunchIdentity(
        launch_id, names.stem_for(task.task_id, options.name), task, names.request_digest(ordinal, facts)
    )


def _ordinal(task: TaskIdentity, facts: Mapping[str, Any]) -> int:
    """Which of the equal launches of this try it is: whatever order threads start theirs in, each try has the same."""
    launch = (task.instance_id, names.request_digest(0, facts))
    with _counting:
        _launches[launch] += 1
        return _launches[launch] - 1
