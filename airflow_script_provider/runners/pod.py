"""A running pod of a Deployment."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

from airflow_script_provider import _event_loop, exceptions
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.clusters.access import ClusterRef
from airflow_script_provider.clusters.credentials import open_api
from airflow_script_provider.execs.choose import Chosen, choose, why_gone
from airflow_script_provider.execs.session import ExecSession, open_exec
from airflow_script_provider.kube import refusal
from airflow_script_provider.kube.exec import program
from airflow_script_provider.kube.exec.program import Invocation
from airflow_script_provider.kube.exec.protocol import Channel, ExecStatus
from airflow_script_provider.kube.exec.workloads import named
from airflow_script_provider.result import ScriptResult
from airflow_script_provider.runners.recording import End, Recording, Whereabouts
from airflow_script_provider.runners.script_run import Screen, ScriptRun, Target
from airflow_script_provider.runners.stdin_feed import Sent, invocation_of
from airflow_script_provider.runners.supervise import Take, see_through
from airflow_script_provider.runners.terminal import Size
from airflow_script_provider.script import Script

_ANSWER = 15.0
"""Seconds beyond the grace period for the exec that ends a process."""
_FIRST_SIGNAL = 128


class PodRunner:
    """Runs a script by an exec in the first ready pod."""

    def unavailable(self, task: ScriptRun) -> str | None:
        """That none of the Deployment's pods is ready, or what the API server refuses."""
        try:
            _event_loop.run(_look(task.place))
        except exceptions.ScriptProviderError as error:
            return str(error)
        return None

    def run(self, task: ScriptRun, screen: Screen) -> ScriptResult:
        """Run it in the pod."""
        return _event_loop.run(_run(task, task.script, screen))


async def _look(place: Target) -> None:
    async with _api(place) as api:
        await _chosen(api, place)


async def _run(task: ScriptRun, script: Script, screen: Screen) -> ScriptResult:
    async with _api(task.place) as api:
        chosen = await _chosen(api, task.place)
        place = chosen.place
        screen.note(f"pod {place}, container {place.container} (image {place.image}), {place.owner}")
        recording = Recording(task, screen)
        end = await _seen_through(api, chosen, invocation_of(script, place.image, task), task, recording)
    whereabouts = Whereabouts(namespace=place.namespace, pod_name=place.pod, container_name=place.container)
    return recording.result(end, script, whereabouts)


async def _seen_through(
    api: KubernetesApi, chosen: Chosen, invocation: Invocation, task: ScriptRun, recording: Recording
) -> End:
    argv = program.argv(terminal=task.terminal)
    try:
        async with open_exec(api, chosen.target, argv, tty=task.terminal) as session:
            process = PodProcess(api, chosen, session, invocation, task.terminal)
            return await see_through(process, task, recording.take)
    except exceptions.ApiForbiddenError as error:
        raise exceptions.ApiForbiddenError(refusal.with_exec_rights(error.message, chosen.place.namespace)) from None


@contextlib.asynccontextmanager
async def _api(place: Target) -> AsyncIterator[KubernetesApi]:
    access = await asyncio.to_thread(ClusterRef(place.conn_id, cluster_context=place.context).resolve)
    async with open_api(access) as api:
        yield api


async def _chosen(api: KubernetesApi, place: Target) -> Chosen:
    workload = named(place.namespace or "default", deployment=place.deployment)
    return await choose(api, workload, place.container or place.pod_container)


class PodProcess:
    """An exec in a pod."""

    def __init__(
        self, api: KubernetesApi, chosen: Chosen, session: ExecSession, invocation: Invocation, terminal: bool
    ) -> None:
        self._api = api
        self._chosen = chosen
        self._session = session
        self._terminal = terminal
        self._sent = Sent(invocation, f"pod {chosen.place}", session.send, terminal=terminal)

    async def follow(self, take: Take) -> End:
        """Until the status comes, which is when the process has ended."""
        beginning = asyncio.ensure_future(self._sent.begin())
        try:
            status = await self._read(take)
        finally:
            beginning.cancel()
            await asyncio.gather(beginning, return_exceptions=True)
        if rest := self._sent.rest():
            take(Channel.STDOUT, rest)
        return await self._with_reason(self._sent.end(status))

    async def send(self, data: bytes) -> None:
        """Write to stdin, once the script is what reads it."""
        await self._sent.announced()
        with _as_broken_pipe():
            await self._session.send(data)

    async def end_input(self) -> None:
        """End stdin; a terminal gets its Ctrl+D."""
        await self._sent.announced()
        with _as_broken_pipe():
            if self._terminal:
                await self._session.send(b"\x04")
            else:
                await self._session.end_stdin()

    async def resize(self, size: Size) -> None:
        """Tell the API server, which tells the terminal."""
        await self._session.resize(size.columns, size.lines)

    async def end(self, grace: float) -> None:
        """Through a second exec: closing the connection would leave the process running."""
        process = await self._sent.process()
        if process is None:
            return
        command = program.end_argv(process, self._sent.invocation, grace)
        with contextlib.suppress(TimeoutError, exceptions.KubernetesApiError):
            async with (
                asyncio.timeout(grace + _ANSWER),
                open_exec(self._api, self._chosen.target, command, stdin=False) as ending,
            ):
                async for _ in ending:
                    pass

    async def _read(self, take: Take) -> ExecStatus:
        try:
            async for channel, data in self._session:
                if own := await self._sent.own(channel, data):
                    take(channel, own)
        except exceptions.ApiUnreachableError as error:
            return ExecStatus(None, message=str(error))
        return self._session.status or ExecStatus(None)

    async def _with_reason(self, end: End) -> End:
        """Whether the pod went away, where the end itself does not tell."""
        if end.exit_code is not None and end.exit_code <= _FIRST_SIGNAL:
            return end
        why = await why_gone(self._api, self._chosen)
        return End(end.exit_code, cause=f"script failed: {why}") if why else end


@contextlib.contextmanager
def _as_broken_pipe() -> Iterator[None]:
    """A connection that is gone is what a process that has ended is: nobody reads."""
    try:
        yield
    except exceptions.ApiUnreachableError as error:
        raise BrokenPipeError(str(error)) from None
