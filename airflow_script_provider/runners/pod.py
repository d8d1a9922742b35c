"""Run a script in a running pod of a Deployment."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

from airflow_script_provider import _event_loop, exceptions
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.clusters.access import ClusterRef
from airflow_script_provider.clusters.credentials import open_api
from airflow_script_provider.execs.choose import ChosenPod, choose_pod, why_gone
from airflow_script_provider.execs.look import UNREAD, look
from airflow_script_provider.execs.session import ExecSession, open_exec, reply_of
from airflow_script_provider.kube import refusal
from airflow_script_provider.kube.exec import program
from airflow_script_provider.kube.exec.ends import Termination
from airflow_script_provider.kube.exec.program import Invocation
from airflow_script_provider.kube.exec.protocol import ExecStatus
from airflow_script_provider.kube.exec.workloads import Gone, named
from airflow_script_provider.kube.wording import signal_name
from airflow_script_provider.result import RunLocation, ScriptResult
from airflow_script_provider.runners.recording import ProcessEnd, Recording
from airflow_script_provider.runners.script_run import Screen, ScriptRun, Target
from airflow_script_provider.runners.stdin_feed import STATES, StdinFeed, invocation_of
from airflow_script_provider.runners.supervise import OnOutput, supervise
from airflow_script_provider.runners.terminal import Size
from airflow_script_provider.script import Script

_REPLY_TIMEOUT = 15.0
"""Seconds for a small program beside the process; beyond the grace period for one that ends it."""


class PodRunner:
    """Runs a script by an exec in the first ready pod."""

    def why_unavailable(self, script_run: ScriptRun) -> str | None:
        """Why no pod can be chosen: no pod is ready, or the API server refuses a call."""
        try:
            _event_loop.run(_check_pod(script_run.target))
        except exceptions.ScriptProviderError as error:
            return str(error)
        return None

    def run(self, script_run: ScriptRun, screen: Screen) -> ScriptResult:
        """Run the script in the pod."""
        return _event_loop.run(_run(script_run, script_run.script, screen))


async def _check_pod(target: Target) -> None:
    async with _open_api(target) as api:
        await _choose_pod(api, target)


async def _run(script_run: ScriptRun, script: Script, screen: Screen) -> ScriptResult:
    async with _open_api(script_run.target) as api:
        chosen = await _choose_pod(api, script_run.target)
        pod = chosen.location
        screen.note(f"pod {pod}, container {pod.container} (image {pod.image}), {pod.chosen_as}")
        recording = Recording(script_run, screen)
        end = await _run_in_pod(api, chosen, invocation_of(script, pod.image, script_run), script_run, recording)
    location = RunLocation(namespace=pod.namespace, pod_name=pod.pod, container_name=pod.container)
    return recording.result(end, script, location)


async def _run_in_pod(
    api: KubernetesApi, chosen: ChosenPod, invocation: Invocation, script_run: ScriptRun, recording: Recording
) -> ProcessEnd:
    argv = program.argv(terminal=script_run.terminal)
    try:
        async with open_exec(api, chosen.target, argv, tty=script_run.terminal) as session:
            process = PodProcess(api, chosen, session, invocation, script_run.terminal)
            return await supervise(process, script_run, recording.add)
    except exceptions.ApiForbiddenError as error:
        message = refusal.with_exec_rights(error.message, chosen.location.namespace)
        raise exceptions.ApiForbiddenError(message) from None


@contextlib.asynccontextmanager
async def _open_api(target: Target) -> AsyncIterator[KubernetesApi]:
    access = await asyncio.to_thread(ClusterRef(target.conn_id, cluster_context=target.context).resolve)
    async with open_api(access) as api:
        yield api


async def _choose_pod(api: KubernetesApi, target: Target) -> ChosenPod:
    workload = named(target.namespace or "default", deployment=target.deployment)
    return await choose_pod(api, workload, target.container or target.pod_container)


class PodProcess:
    """A process that an exec runs in a pod."""

    def __init__(
        self, api: KubernetesApi, chosen: ChosenPod, session: ExecSession, invocation: Invocation, terminal: bool
    ) -> None:
        self._api = api
        self._chosen = chosen
        self._session = session
        self._terminal = terminal
        self._feed = StdinFeed(invocation, f"pod {chosen.location}", session.send, terminal=terminal)

    async def follow(self, on_output: OnOutput) -> ProcessEnd:
        """Pass on the output until the status arrives, which means that the process has ended."""
        beginning = asyncio.ensure_future(self._feed.begin())
        try:
            status = await self._read(on_output)
        finally:
            beginning.cancel()
            await asyncio.gather(beginning, return_exceptions=True)
        for piece in self._feed.finish():
            on_output(*piece)
        return await self._with_reason(self._feed.process_end(status), status.exit_code or None)

    async def send(self, data: bytes) -> None:
        """Write to stdin, once the script reads it."""
        await self._feed.wait_until_started()
        with _broken_pipe_if_unreachable():
            await self._session.send(data)

    async def end_input(self) -> None:
        """End stdin; a terminal gets its Ctrl+D."""
        await self._feed.wait_until_started()
        with _broken_pipe_if_unreachable():
            if self._terminal:
                await self._session.send(b"\x04")
            else:
                await self._session.end_stdin()

    async def resize(self, size: Size) -> None:
        """Send the size to the API server, which sets it on the terminal."""
        await self._session.resize(size.columns, size.lines)

    @property
    def reported_end(self) -> ProcessEnd | None:
        """The end by the exit code that the container's shell has reported."""
        return self._feed.reported_end

    async def end(self, grace: float) -> Termination:
        """End the process through a second exec; closing the connection would leave it running."""
        pod, ask = self._chosen.location, functools.partial(self._ask, grace + _REPLY_TIMEOUT)
        enter = f"kubectl exec -n {pod.namespace} {pod.pod} -c {pod.container} --"
        return await self._feed.end_process(ask, grace, enter)

    async def _read(self, on_output: OnOutput) -> ExecStatus:
        try:
            async for channel, data in self._session:
                for piece in await self._feed.filter(channel, data):
                    on_output(*piece)
        except exceptions.ApiUnreachableError as error:
            return ExecStatus(None, message=str(error))
        return self._session.status or ExecStatus(None)

    async def _with_reason(self, end: ProcessEnd, code: int | None) -> ProcessEnd:
        """The end, with the pod's own end as its cause where the exit code does not explain it.

        ``code`` is that of the exec, None without one. A script that got SIGTERM, as from the
        first process of its container, may also end with 0 half-way.
        """
        if end.got_sigterm:
            if_unread = None if end.exit_code else UNREAD
            return await self._feed.end_after_sigterm(end, functools.partial(self._why_gone, if_unread))
        if end.exit_code is not None and not signal_name(end.exit_code):
            return end
        if not end.is_unknown:
            why = await self._why_gone()
            return ProcessEnd(code, cause=f"script failed: {why}") if why else end
        ask = functools.partial(self._ask, _REPLY_TIMEOUT)
        seen = await look(self._api, self._chosen, functools.partial(self._feed.is_running, ask))
        if seen.pod_end:
            return ProcessEnd(code, cause=f"script failed: {seen.pod_end}")
        return replace(end, cause=f"{end.cause}. {STATES[seen.is_running]}")

    async def _why_gone(self, if_unread: Gone | None = None) -> str | None:
        why = await why_gone(self._api, self._chosen, if_unread)
        return str(why) if why else None

    async def _ask(self, within: float, argv: list[str]) -> str | None:
        return await reply_of(self._api, self._chosen.target, argv, within)


@contextlib.contextmanager
def _broken_pipe_if_unreachable() -> Iterator[None]:
    """Raise ``BrokenPipeError`` for a broken connection, as for a process that has ended."""
    try:
        yield
    except exceptions.ApiUnreachableError as error:
        raise BrokenPipeError(str(error)) from None
