"""Running a script on Kubernetes from any Python code: in a ``@task``, in an operator, on the command line."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import fields
from types import FrameType
from typing import Any, TypeVar

from airflow_script_provider import exceptions
from airflow_script_provider._airflow import BaseHook, current_task, mask_by_name, mask_values, output_logger
from airflow_script_provider.hooks.kubernetes import DEFAULT_CONN_ID, ClusterAccess, open_api
from airflow_script_provider.jobs import launch as launching
from airflow_script_provider.jobs import reading
from airflow_script_provider.jobs.api import KubernetesApi
from airflow_script_provider.jobs.run import Run
from airflow_script_provider.jobs.runlog import LoggerRunLog
from airflow_script_provider.jobs.tracking import Tracking
from airflow_script_provider.kube import foreign, interpreter, names, outcome, provenance
from airflow_script_provider.kube.call import ScriptCall
from airflow_script_provider.kube.launched import JobRef
from airflow_script_provider.kube.names import LaunchIdentity, TaskIdentity
from airflow_script_provider.kube.outcome import Outcome
from airflow_script_provider.kube.output import DEFAULT_MAX_OUTPUT
from airflow_script_provider.kube.payload import Payload
from airflow_script_provider.kube.provision import logins_in
from airflow_script_provider.kube.request import JobOptions, JobRequest, request_facts
from airflow_script_provider.result import ScriptResult
from airflow_script_provider.script import Script
from airflow_script_provider.sources.parse import parse, parse_file

T = TypeVar("T")

OUTPUT_LOGGER = "airflow.task.script"
"""Name of the logger that scripts' lines go to."""

_launches: Counter[tuple[str, str]] = Counter()
"""Launches of this process by try and request: the ordinal that tells two equal runs in one task apart."""
_counting = threading.Lock()


class KubernetesScriptHook(BaseHook):
    """Run scripts as Kubernetes Jobs.

    :param kubernetes_conn_id: connection to the cluster, as the cncf.kubernetes provider defines it; the default one
        need not exist: then the pod's service account or the usual kubeconfig is used.
    :param in_cluster: use the pod's service account.
    :param config_file: path of a kubeconfig.
    :param cluster_context: context of the kubeconfig.
    """

    conn_name_attr = "kubernetes_conn_id"
    default_conn_name = DEFAULT_CONN_ID
    conn_type = "kubernetes"
    hook_name = "Kubernetes script"

    def __init__(
        self,
        kubernetes_conn_id: str | None = DEFAULT_CONN_ID,
        *,
        in_cluster: bool | None = None,
        config_file: str | None = None,
        cluster_context: str | None = None,
    ) -> None:
        super().__init__(logger_name="script")
        self.kubernetes_conn_id = kubernetes_conn_id
        self.in_cluster = in_cluster
        self.config_file = config_file
        self.cluster_context = cluster_context
        self._run = InterruptibleRun()

    def run(self, script: Any, *, folder: str | None = None, **arguments: Any) -> ScriptResult:
        """Run a script and wait for it.

        :param script: text, URI or source, as the operator takes it.
        :param folder: what relative paths of files start from, by default the working directory.
        :param arguments: the operator's arguments of the same names.
        :return: the result of a script that ended well.

        Raises ``JobFailedError`` with the result, ``ValueError`` for a bad argument, ``ScriptSourceError`` where the
        script cannot be read, ``KubernetesApiError`` and ``LaunchError`` where the Job cannot be created.
        """
        with _ended_by_sigterm(self._run):
            result = self.run_to_outcome(*split_arguments(script=script, **arguments), folder=folder)
        if (error := outcome.failure(result)) is not None:
            raise error
        return result.result

    def run_to_outcome(
        self,
        call: ScriptCall,
        options: JobOptions,
        *,
        folder: str | None = None,
        task: TaskIdentity | None = None,
        seconds_left: float | None = None,
        hand_over: Callable[[Outcome], None] | None = None,
        alone: bool = False,
    ) -> Outcome:
        """Run and wait, without judging: the outcome of success and failure alike.

        ``hand_over`` gets it before the Job is marked as read: until then another try of the task would take it over.
        ``alone`` says that the task runs nothing else, so what an earlier try has left is this run's, or nobody's.
        """
        access = self._access()
        request = self._prepare(access, call, options, folder=folder, task=task or current_task(), left=seconds_left)
        self._say_read(request)
        log = self._run_log(get_logs=call.get_logs)

        async def main() -> Outcome:
            async with open_api(access) as api:
                return await Run(api, request, log, call.max_output_bytes, alone).run(hand_over)

        return self._run.run(main)

    def prepare(
        self, call: ScriptCall, options: JobOptions, *, folder: str | None = None, task: TaskIdentity | None = None
    ) -> JobRequest:
        """Read the script and check everything; nothing is created."""
        return self._prepare(self._access(), call, options, folder=folder, task=task, left=None)

    def launch(self, request: JobRequest) -> JobRef:
        """Create the Job of a request and return at once; unless it is followed, it is kept for ``unread_ttl``."""

        async def launched(api: KubernetesApi) -> JobRef:
            return await launching.launch(api, await reading.allowed(api, request, self._run_log()))

        return self._once(launched)

    async def follow(self, request: JobRequest, ref: JobRef, *, max_output_bytes: int = DEFAULT_MAX_OUTPUT) -> Outcome:
        """Follow a launched Job to its outcome; its log goes into this hook's."""
        access = await asyncio.to_thread(self._access)
        async with open_api(access) as api:
            run = Run(api, request, self._run_log(), max_output_bytes)
            job = run.launched(ref, time.time())
            concluded = await Tracking(api, job, run.log).follow()
            await run.close(job, concluded)
            return concluded

    def delete(self, ref: JobRef) -> bool:
        """Delete a Job with all that belongs to it; False if it was gone already."""
        return self._once(lambda api: launching.delete(api, ref))

    def kill(self) -> None:
        """End the run that is under way and delete its Job. May be called from a signal handler."""
        self._run.kill()

    def _access(self) -> ClusterAccess:
        return ClusterAccess.resolve(
            self.kubernetes_conn_id,
            in_cluster=self.in_cluster,
            config_file=self.config_file,
            cluster_context=self.cluster_context,
        )

    def _prepare(
        self,
        access: ClusterAccess,
        call: ScriptCall,
        options: JobOptions,
        *,
        folder: str | None,
        task: TaskIdentity | None,
        left: float | None,
    ) -> JobRequest:
        call.checked_before_rendering()
        options = options.checked()
        mask_by_name(call.env)
        mask_by_name(call.args)
        mask_values(logins_in(options.install_dependencies or ()))
        mask_values(logins_in(call.env.values() if isinstance(call.env, Mapping) else ()))
        source = parse(call.script, conn_id=call.script_conn_id)
        script = _verified(source.fetch(folder=folder), call.sha256)
        files = {path: parse_file(file, path).fetch(folder=folder) for path, file in (call.files or {}).items()}
        chosen = interpreter.choose(script, options.image, options.interpreter)
        is_sql = chosen.program == "psql"
        payload = Payload.of(call.args, call.arguments, call.env, as_psql_variables=is_sql)
        namespace = access.namespace_for(call.namespace)
        return JobRequest(
            script=script,
            options=options,
            namespace=namespace,
            identity=_identity(task, options, request_facts(script, files, options, payload, namespace)),
            payload=payload,
            files=files,
            deadline=options.deadline_within(left),
        )

    def _run_log(self, *, get_logs: bool = True) -> LoggerRunLog:
        return LoggerRunLog(self.log, output_logger(OUTPUT_LOGGER) if get_logs else None)

    def _once(self, do: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        access = self._access()

        async def main() -> T:
            async with open_api(access) as api:
                return await do(api)

        return asyncio.run(main())

    def _say_read(self, request: JobRequest) -> None:
        for line in provenance.lines(request.script, request.files):
            self.log.info("%s", line)


class InterruptibleRun:
    """A coroutine run to its end in this thread, which a signal handler may interrupt.

    The handler must do no I/O: it cancels the coroutine, which then deletes its Job by itself.
    """

    def __init__(self) -> None:
        self._killed = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._stray: BaseException | None = None

    def kill(self) -> None:
        """Interrupt the run, or keep one that has not begun from beginning."""
        if self._killed.is_set():
            return  # once is enough: a second cancellation would only disturb the clearing up
        self._killed.set()
        if self._loop is not None and self._task is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._task.cancel)

    def run(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run to the end; ``RunKilledError`` if it was killed."""
        if self._killed.is_set():
            raise self._killed_error()
        try:
            with asyncio.Runner() as runner:
                self._loop = runner.get_loop()
                self._loop.set_exception_handler(self._on_stray)
                return runner.run(self._main(main))
        except asyncio.CancelledError as error:
            raise self._cause_of(error) from None
        except BaseExceptionGroup as group:
            raise _interruption_in(group) from None
        finally:
            self._loop = self._task = None

    async def _main(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        self._task = asyncio.current_task()
        if self._killed.is_set():
            raise self._killed_error()
        return await main()

    def _on_stray(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An interruption that Python raised in a callback of the loop, which would swallow it."""
        error = context.get("exception")
        if isinstance(error, BaseException) and not isinstance(error, Exception):
            self._stray = error
            if self._task is not None:
                self._task.cancel()
        else:
            loop.default_exception_handler(context)

    def _cause_of(self, error: BaseException) -> BaseException:
        if self._stray is not None:
            return self._stray
        if self._killed.is_set() and isinstance(error, asyncio.CancelledError):
            return self._killed_error(error)
        return error

    @staticmethod
    def _killed_error(error: BaseException | None = None) -> exceptions.RunKilledError:
        """With what became of the Job, which the interruption bears as a note."""
        notes = getattr(error, "__notes__", None) or ["No Job was created."]
        return exceptions.RunKilledError(f"the run was killed. {notes[0]}")


@contextlib.contextmanager
def _ended_by_sigterm(run: InterruptibleRun) -> Iterator[None]:
    """End the run at SIGTERM: inside a ``@task`` nobody else tells it; an operator's ``on_kill`` does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.getsignal(signal.SIGTERM)

    def end(number: int, frame: FrameType | None) -> None:
        run.kill()
        if callable(previous):
            previous(number, frame)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def split_arguments(**arguments: Any) -> tuple[ScriptCall, JobOptions]:
    """The operator's arguments as call and options; ``TypeError`` for one that nobody knows."""
    for_call = {field.name for field in fields(ScriptCall)}
    for_options = {field.name for field in fields(JobOptions)}
    foreign.refuse_unknown(arguments, for_call | for_options)
    call = ScriptCall(**{name: value for name, value in arguments.items() if name in for_call})
    return call, JobOptions(**{name: value for name, value in arguments.items() if name in for_options})


def _interruption_in(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first interruption in a group: what Airflow raised wherever Python happened to be."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            return _interruption_in(error)
        if not isinstance(error, Exception):
            return error
    return group.exceptions[0]


def _verified(script: Script, sha256: str | None) -> Script:
    if sha256 is not None and not script.is_pinned_by(sha256):
        expected = sha256 or "one, which is empty"
        raise exceptions.ScriptSourceError(
            f"{script.origin} has the sha256 {script.sha256}, not the expected {expected}; nothing was created",
            origin=script.origin,
            retryable=False,
        )
    return script


def _identity(task: TaskIdentity | None, options: JobOptions, facts: Mapping[str, Any]) -> LaunchIdentity:
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
