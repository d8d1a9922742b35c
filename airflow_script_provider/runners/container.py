"""Run a script in a running container, in a Compose service, or in a new container."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from airflow_script_provider import _event_loop
from airflow_script_provider.exceptions import TargetError
from airflow_script_provider.kube.exec import program
from airflow_script_provider.kube.exec.ends import Termination
from airflow_script_provider.kube.exec.program import Invocation
from airflow_script_provider.kube.exec.protocol import Channel, ExecStatus
from airflow_script_provider.kube.wording import one_line
from airflow_script_provider.result import RunLocation, ScriptResult
from airflow_script_provider.runners.docker_stream import FrameDecoder
from airflow_script_provider.runners.recording import ProcessEnd, Recording
from airflow_script_provider.runners.script_run import GRACE, Screen, ScriptRun, Target
from airflow_script_provider.runners.stdin_feed import STATES, StdinFeed, invocation_of
from airflow_script_provider.runners.supervise import OnOutput, supervise
from airflow_script_provider.runners.terminal import Size

SERVICE_LABEL = "com.docker.compose.service"
PROJECT_LABEL = "com.docker.compose.project"
OWN_LABEL = "airflow-script"
"""Label of the containers that this module creates."""

_PIECE = 64 * 1024
_MAX_LIFETIME = 24 * 60 * 60
_CALL_TIMEOUT = 60
_UNDO_TIMEOUT = 10.0
_RESIZE_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)
_REPORT_PAUSES = (0.0, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds between the looks for what the engine may report a moment after the connection's end."""


class ContainerRunner:
    """Runs a script through the Docker engine at ``DOCKER_HOST``."""

    def why_unavailable(self, script_run: ScriptRun) -> str | None:
        """Why the script has no container: no engine answers, or the container does not run."""
        target = script_run.target
        try:
            with _connected_engine() as engine:
                if target.container or target.service:
                    _find_running(engine, target)
        except TargetError as error:
            return error.message
        return None

    def run(self, script_run: ScriptRun, screen: Screen) -> ScriptResult:
        """Run the script in the container."""
        script = script_run.script
        with _connected_engine() as engine, _running_container(engine, script_run, screen) as container:
            image = str(container.attrs.get("Config", {}).get("Image") or "")
            invocation = invocation_of(script, image, script_run)
            recording = Recording(script_run, screen)
            end = _event_loop.run(_run(engine, container, invocation, script_run, recording.add))
            return recording.result(end, script, RunLocation(container_name=container.name))


@contextlib.contextmanager
def _connected_engine() -> Iterator[Any]:
    """The Docker engine; ``TargetError`` says why it cannot be used."""
    try:
        import docker
        from requests import RequestException
    except ImportError:
        raise TargetError(
            "No module named 'docker': the Docker SDK is not installed. Run: pip install 'airflow-script-provider[cli]'"
        ) from None
    address = os.environ.get("DOCKER_HOST") or "the default socket"
    try:
        engine = docker.from_env(timeout=_CALL_TIMEOUT)
        engine.ping()
    except (docker.errors.DockerException, OSError) as error:
        raise TargetError(f"no Docker engine answers at {address}: {one_line(str(error))}") from None
    try:
        yield engine
    except (docker.errors.DockerException, RequestException) as error:
        raise TargetError(f"the Docker engine at {address} reported: {one_line(str(error))}") from None
    finally:
        engine.close()


@contextlib.contextmanager
def _running_container(engine: Any, script_run: ScriptRun, screen: Screen) -> Iterator[Any]:
    """The target's running container, or a new one of its image, which is removed at the end."""
    target = script_run.target
    if target.image is None or target.container or target.service:
        container = _find_running(engine, target)
        screen.note(f"Running in container {container.name}")
        yield container
        return
    _pull_if_missing(engine, target.image, screen)
    # If this process is killed, the container still ends by itself.
    seconds = _MAX_LIFETIME if script_run.timeout is None else int(script_run.timeout + 2 * GRACE) + 60
    name = f"{OWN_LABEL}-{secrets.token_hex(5)}"
    try:
        container = _create(engine, target.image, name, seconds, screen)
        container.start()
        container.reload()
        screen.note(f"Running in a new container of {target.image}")
        yield container
    finally:
        _remove(engine, name)


def _create(engine: Any, image: str, name: str, seconds: int, screen: Screen) -> Any:
    """Create a container that sleeps for so many seconds.

    The engine creates it also if Ctrl+C interrupts the call. The container can be removed only
    then, so an interruption waits for the engine's answer.
    """
    creating: Future[Any] = Future()

    def create() -> None:
        command = ["sleep", str(seconds)]
        settings = {"name": name, "entrypoint": command, "command": [], "labels": {OWN_LABEL: "run"}}
        try:
            creating.set_result(engine.containers.create(image, auto_remove=True, **settings))
        except Exception as error:  # noqa: BLE001  # it is the caller's
            creating.set_exception(error)

    try:
        threading.Thread(target=create, daemon=True).start()
        return creating.result()
    except KeyboardInterrupt:
        try:
            concurrent.futures.wait([creating], _UNDO_TIMEOUT)
        finally:
            if not creating.done():
                words = f"Whether container {name} was created is unknown. Run: docker rm -f {name}"
                screen.note(words, important=True)
        raise


def _pull_if_missing(engine: Any, image: str, screen: Screen) -> None:
    from docker.errors import ImageNotFound

    try:
        engine.images.get(image)
    except ImageNotFound:
        screen.note(f"Pulling {image}")
        engine.images.pull(*_split_tag(image))


def _split_tag(image: str) -> tuple[str, str | None]:
    """The image and its tag; without a tag the engine would pull all tags."""
    name = image.rpartition("/")[2]
    return (image, None) if ":" in name or "@" in name else (image, "latest")


def _remove(engine: Any, name: str) -> None:
    """Remove a container, if it exists.

    If the engine is gone, the container removes itself later.
    """
    from docker.errors import APIError, NotFound
    from requests import RequestException

    with contextlib.suppress(NotFound, RequestException):
        try:
            engine.api.remove_container(name, force=True, v=True)
        except APIError as error:
            if error.status_code != 409:  # the engine is already removing it
                raise


def _find_running(engine: Any, target: Target) -> Any:
    """The running container of this name, or the first one of the Compose service by name."""
    if target.container:
        return _find_by_name(engine, target.container)
    project = target.project or os.environ.get("COMPOSE_PROJECT_NAME")
    labels = [f"{SERVICE_LABEL}={target.service}", *([f"{PROJECT_LABEL}={project}"] if project else [])]
    found = sorted(engine.containers.list(filters={"label": labels}), key=lambda container: str(container.name))
    of_project = f" of project {project!r}" if project else ""
    if not found:
        known = ", ".join(sorted({c.labels[SERVICE_LABEL] for c in _list_compose_containers(engine)})) or "none"
        raise TargetError(
            f"no container of the Compose service {target.service!r}{of_project} is running; "
            f"running services: {known}. Run: docker compose up -d {target.service}"
        )
    projects = sorted({str(container.labels.get(PROJECT_LABEL)) for container in found})
    if len(projects) > 1:
        raise TargetError(
            f"the Compose service {target.service!r} runs in several projects: {', '.join(projects)}. "
            "Set COMPOSE_PROJECT_NAME to one of them"
        )
    return found[0]


def _list_compose_containers(engine: Any) -> list[Any]:
    found: list[Any] = engine.containers.list(filters={"label": SERVICE_LABEL})
    return found


def _find_by_name(engine: Any, name: str) -> Any:
    from docker.errors import NotFound

    try:
        container = engine.containers.get(name)
    except NotFound:
        known = ", ".join(sorted(str(container.name) for container in engine.containers.list())) or "none"
        raise TargetError(f"no such container: {name!r}; running containers: {known}") from None
    if container.status != "running":
        raise TargetError(f"container {name!r} is not running: it is {container.status}. Run: docker start {name}")
    return container


async def _run(
    engine: Any, container: Any, invocation: Invocation, script_run: ScriptRun, on_output: OnOutput
) -> ProcessEnd:
    process = ContainerProcess(engine, container, invocation, script_run.terminal)
    try:
        return await supervise(process, script_run, on_output)
    finally:
        process.close()


class ContainerProcess:
    """A process that an exec runs in a container, over one connection."""

    def __init__(self, engine: Any, container: Any, invocation: Invocation, terminal: bool) -> None:
        self._api = engine.api
        self._container = container
        self._started_at = container.attrs["State"]["StartedAt"]
        command = program.argv(terminal=terminal)
        self._exec = str(self._api.exec_create(container.id, command, stdin=True, tty=terminal)["Id"])
        self._decoder = None if terminal else FrameDecoder()
        self._attached = self._api.exec_start(self._exec, tty=terminal, socket=True)
        self._socket: socket.socket = getattr(self._attached, "_sock", self._attached)
        self._socket.settimeout(None)
        self._feed = StdinFeed(invocation, f"container {container.name}", self._write, terminal=terminal)

    async def follow(self, on_output: OnOutput) -> ProcessEnd:
        """Pass on the output until the connection ends, which means that the process has ended."""
        await self._feed.begin()
        while data := await asyncio.to_thread(self._receive):
            for channel, received in self._split_streams(data):
                for piece in await self._feed.filter(channel, received):
                    on_output(*piece)
        for piece in self._feed.finish():
            on_output(*piece)
        code = await self._exit_code()
        return await self._with_reason(self._feed.process_end(ExecStatus(code)), code or None)

    async def send(self, data: bytes) -> None:
        """Write to stdin, once the script reads it."""
        await self._feed.wait_until_started()
        await self._write(data)

    async def end_input(self) -> None:
        """End stdin; a terminal gets its Ctrl+D."""
        await self._feed.wait_until_started()
        if self._decoder is None:
            await self._write(b"\x04")
        else:
            self._socket.shutdown(socket.SHUT_WR)

    async def resize(self, size: Size) -> None:
        """Set the terminal's size; try again while the engine says that nothing has begun."""
        from docker.errors import APIError

        for pause in _RESIZE_PAUSES:
            with contextlib.suppress(APIError):
                await asyncio.to_thread(self._api.exec_resize, self._exec, height=size.lines, width=size.columns)
                return
            await asyncio.sleep(pause)

    @property
    def reported_end(self) -> ProcessEnd | None:
        """The end by the exit code that the container's shell has reported."""
        return self._feed.reported_end

    async def end(self, grace: float) -> Termination:
        """End the process through a second exec; Docker can only end containers."""
        return await self._feed.end_process(self._ask, grace, f"docker exec {self._container.name}")

    def close(self) -> None:
        """Close the connection, which ends a thread that still reads from it."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._attached.close()
        self._socket.close()

    async def _with_reason(self, end: ProcessEnd, code: int | None) -> ProcessEnd:
        """The end, with the container's as its cause, or with whether the script still runs.

        A script that got SIGTERM, as from the container's first process, may also end with 0
        half-way.
        """
        from requests import RequestException

        if end.got_sigterm:
            return await self._feed.end_after_sigterm(end, functools.partial(self._why_gone, end.exit_code))
        if not end.is_unknown:
            return end
        is_running = None
        for pause in _REPORT_PAUSES:
            await asyncio.sleep(pause)
            with contextlib.suppress(RequestException):
                is_running = await self._feed.is_running(self._ask)
            if await asyncio.to_thread(self._has_ended):
                return ProcessEnd(code, cause=f"script failed: container {self._container.name} ended while it ran")
            if is_running:
                break
        return replace(end, cause=f"{end.cause}. {STATES[is_running]}")

    async def _why_gone(self, code: int | None) -> str | None:
        """Why the container ended after a SIGTERM, None if it goes on."""
        name = f"container {self._container.name}"
        match await asyncio.to_thread(self._has_ended):
            case None if code == 0:
                return f"the Docker engine does not answer, so {name} may have ended as well"
            case True:
                return f"{name} ended while the script ran"
            case _:
                return None

    async def _ask(self, argv: list[str]) -> str | None:
        _, printed = await asyncio.to_thread(self._container.exec_run, argv, stderr=False)
        return (printed or b"").decode(errors="replace").strip() or None

    async def _write(self, data: bytes) -> None:
        await asyncio.to_thread(self._socket.sendall, data)

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(_PIECE)
        except OSError:
            return b""

    def _split_streams(self, data: bytes) -> list[tuple[Channel, bytes]]:
        return [(Channel.STDOUT, data)] if self._decoder is None else self._decoder.feed(data)

    async def _exit_code(self) -> int | None:
        """The exit code, None if the engine does not know it or is gone."""
        for pause in _REPORT_PAUSES:
            await asyncio.sleep(pause)
            if (code := await asyncio.to_thread(self._reported_code)) is not None:
                return code
        return None

    def _reported_code(self) -> int | None:
        from requests import RequestException

        try:
            code = self._api.exec_inspect(self._exec)["ExitCode"]
        except RequestException:
            return None
        return None if code is None else int(code)

    def _has_ended(self) -> bool | None:
        """Whether the container has ended, perhaps to start again; None if the engine is gone."""
        from docker.errors import NotFound
        from requests import RequestException

        try:
            self._container.reload()
        except NotFound:
            return True
        except RequestException:
            return None
        is_same = self._container.attrs["State"]["StartedAt"] == self._started_at
        return bool(self._container.status != "running" or not is_same)
