"""A container: one of a running Docker Compose service, or a new one of an image, removed at the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from typing import Any

from airflow_script_provider import _event_loop
from airflow_script_provider.exceptions import TargetError
from airflow_script_provider.kube.exec import program
from airflow_script_provider.kube.exec.program import Invocation
from airflow_script_provider.kube.exec.protocol import Channel, ExecStatus
from airflow_script_provider.result import ScriptResult
from airflow_script_provider.runners.docker_stream import Frames
from airflow_script_provider.runners.recording import End, Recording, Whereabouts
from airflow_script_provider.runners.script_run import GRACE, Screen, ScriptRun, Target
from airflow_script_provider.runners.stdin_feed import Sent, invocation_of
from airflow_script_provider.runners.supervise import Take, see_through
from airflow_script_provider.runners.terminal import Size

SERVICE_LABEL = "com.docker.compose.service"
PROJECT_LABEL = "com.docker.compose.project"
OWN_LABEL = "airflow-script"
"""Label of the containers that are made here."""

_PIECE = 64 * 1024
_NO_END = 24 * 60 * 60
_CALL_TIMEOUT = 60
_RESIZE_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)


class ContainerRunner:
    """Runs a script through the Docker engine that ``DOCKER_HOST`` names."""

    def unavailable(self, task: ScriptRun) -> str | None:
        """What the engine lacks, or that there is none."""
        place = task.place
        try:
            with _engine() as engine:
                if place.container or place.service:
                    _running(engine, place)
        except TargetError as error:
            return error.message
        return None

    def run(self, task: ScriptRun, screen: Screen) -> ScriptResult:
        """Run it in the container."""
        script = task.script
        with _engine() as engine, _container(engine, task, screen) as container:
            image = str(container.attrs.get("Config", {}).get("Image") or "")
            invocation = invocation_of(script, image, task)
            recording = Recording(task, screen)
            end = _event_loop.run(_run(engine, container, invocation, task, recording.take))
            return recording.result(end, script, Whereabouts(container_name=container.name))


@contextlib.contextmanager
def _engine() -> Iterator[Any]:
    """The engine; ``TargetError`` says why there is none."""
    try:
        import docker
        from requests import RequestException
    except ImportError:
        raise TargetError("the Docker SDK is missing: pip install 'airflow-script-provider[cli]'") from None
    where = os.environ.get("DOCKER_HOST") or "its usual socket"
    try:
        engine = docker.from_env(timeout=_CALL_TIMEOUT)
        engine.ping()
    except (docker.errors.DockerException, OSError) as error:
        raise TargetError(f"no Docker engine answers at {where}: {' '.join(str(error).split())}") from None
    try:
        yield engine
    except (docker.errors.DockerException, RequestException) as error:
        raise TargetError(f"the Docker engine at {where} said: {' '.join(str(error).split())}") from None
    finally:
        engine.close()


@contextlib.contextmanager
def _container(engine: Any, task: ScriptRun, screen: Screen) -> Iterator[Any]:
    """A running container; a new one of the image is removed at the end."""
    if task.place.image is None or task.place.container or task.place.service:
        container = _running(engine, task.place)
        screen.note(f"Running in container {container.name}")
        yield container
        return
    _see_to_image(engine, task.place.image, screen)
    # It ends by itself even if nobody is left to remove it.
    seconds = _NO_END if task.timeout is None else int(task.timeout + 2 * GRACE) + 60
    container = engine.containers.create(
        task.place.image,
        entrypoint=["sleep", str(seconds)],
        command=[],
        auto_remove=True,
        labels={OWN_LABEL: "run"},
    )
    try:
        container.start()
        screen.note(f"Running in a new container of {task.place.image}")
        yield container
    finally:
        _remove(container)


def _see_to_image(engine: Any, image: str, screen: Screen) -> None:
    from docker.errors import ImageNotFound

    try:
        engine.images.get(image)
    except ImageNotFound:
        screen.note(f"Pulling {image}")
        engine.images.pull(*_with_tag(image))


def _with_tag(image: str) -> tuple[str, str | None]:
    """Without a tag the engine would pull all there are."""
    name = image.rpartition("/")[2]
    return (image, None) if ":" in name or "@" in name else (image, "latest")


def _remove(container: Any) -> None:
    """What an engine that has gone does not remove removes itself."""
    from docker.errors import APIError, NotFound
    from requests import RequestException

    with contextlib.suppress(NotFound, RequestException):
        try:
            container.remove(force=True, v=True)
        except APIError as error:
            if error.status_code != 409:  # the engine removes it already
                raise


def _running(engine: Any, place: Target) -> Any:
    """The running container of this name or Compose service, the first by name; ``TargetError`` if there is none."""
    if place.container:
        return _named(engine, place.container)
    project = place.project or os.environ.get("COMPOSE_PROJECT_NAME")
    labels = [f"{SERVICE_LABEL}={place.service}", *([f"{PROJECT_LABEL}={project}"] if project else [])]
    found = sorted(engine.containers.list(filters={"label": labels}), key=lambda container: str(container.name))
    of_project = f" of project {project!r}" if project else ""
    if not found:
        known = ", ".join(sorted({c.labels[SERVICE_LABEL] for c in _of_compose(engine)})) or "none"
        raise TargetError(
            f"no container of the Compose service {place.service!r}{of_project} runs (docker compose up); "
            f"running services: {known}"
        )
    projects = sorted({str(container.labels.get(PROJECT_LABEL)) for container in found})
    if len(projects) > 1:
        raise TargetError(
            f"the Compose service {place.service!r} runs in several projects: {', '.join(projects)}; "
            "choose with COMPOSE_PROJECT_NAME"
        )
    return found[0]


def _of_compose(engine: Any) -> list[Any]:
    found: list[Any] = engine.containers.list(filters={"label": SERVICE_LABEL})
    return found


def _named(engine: Any, name: str) -> Any:
    from docker.errors import NotFound

    try:
        container = engine.containers.get(name)
    except NotFound:
        known = ", ".join(sorted(str(container.name) for container in engine.containers.list())) or "none"
        raise TargetError(f"there is no container {name!r}; running: {known}") from None
    if container.status != "running":
        raise TargetError(f"container {name!r} is {container.status}, not running; docker start {name}")
    return container


async def _run(engine: Any, container: Any, invocation: Invocation, task: ScriptRun, take: Take) -> End:
    process = ContainerProcess(engine, container, invocation, task.terminal)
    try:
        return await see_through(process, task, take)
    finally:
        process.close()


class ContainerProcess:
    """An exec in a container, attached by one connection."""

    def __init__(self, engine: Any, container: Any, invocation: Invocation, terminal: bool) -> None:
        self._api = engine.api
        self._container = container
        command = program.argv(terminal=terminal)
        self._exec = str(self._api.exec_create(container.id, command, stdin=True, tty=terminal)["Id"])
        self._frames = None if terminal else Frames()
        self._attached = self._api.exec_start(self._exec, tty=terminal, socket=True)
        self._socket: socket.socket = getattr(self._attached, "_sock", self._attached)
        self._socket.settimeout(None)
        self._sent = Sent(invocation, f"container {container.name}", self._write, terminal=terminal)

    async def follow(self, take: Take) -> End:
        """Until the connection ends, which is when the process has."""
        await self._sent.begin()
        while data := await asyncio.to_thread(self._receive):
            for channel, piece in self._apart(data):
                if own := await self._sent.own(channel, piece):
                    take(channel, own)
        if rest := self._sent.rest():
            take(Channel.STDOUT, rest)
        return self._sent.end(ExecStatus(await asyncio.to_thread(self._exit_code)))

    async def send(self, data: bytes) -> None:
        """Write to stdin, once the script is what reads it."""
        await self._sent.announced()
        await self._write(data)

    async def end_input(self) -> None:
        """End stdin; a terminal gets its Ctrl+D."""
        await self._sent.announced()
        if self._frames is None:
            await self._write(b"\x04")
        else:
            self._socket.shutdown(socket.SHUT_WR)

    async def resize(self, size: Size) -> None:
        """Tell the engine, which tells the terminal; it knows none until the process has begun."""
        from docker.errors import APIError

        for pause in _RESIZE_PAUSES:
            with contextlib.suppress(APIError):
                await asyncio.to_thread(self._api.exec_resize, self._exec, height=size.lines, width=size.columns)
                return
            await asyncio.sleep(pause)

    async def end(self, grace: float) -> None:
        """Through a second exec: Docker itself ends containers only."""
        process = await self._sent.process()
        if process is not None:
            command = program.end_argv(process, self._sent.invocation, grace)
            await asyncio.to_thread(self._container.exec_run, command)

    def close(self) -> None:
        """Close the connection, which ends a thread that still reads from it."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._attached.close()
        self._socket.close()

    async def _write(self, data: bytes) -> None:
        await asyncio.to_thread(self._socket.sendall, data)

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(_PIECE)
        except OSError:
            return b""

    def _apart(self, data: bytes) -> list[tuple[Channel, bytes]]:
        return [(Channel.STDOUT, data)] if self._frames is None else self._frames.feed(data)

    def _exit_code(self) -> int | None:
        """None where the engine does not know, or has gone."""
        from requests import RequestException

        try:
            code = self._api.exec_inspect(self._exec)["ExitCode"]
        except RequestException:
            return None
        return None if code is None else int(code)
