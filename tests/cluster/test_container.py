"""The container runner on a real Docker engine."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from airflow_script_provider.runners.container import PROJECT_LABEL, SERVICE_LABEL
from tests.cluster.execs import PASSES_TERM_ON, SLEEPS, STOPS_HALF_WAY
from tests.command_line import airflow_script, interrupted, started
from tests.docker_engine import IMAGE, NO_SHELL
from tests.patience import PATIENCE, wait_for, with_time_to_begin
from tests.relay import relay

HEEDS_NO_TERM = """
import signal, time
signal.signal(15, lambda *_: print("asked to end", flush=True))
print("up", flush=True)
while True:
    time.sleep(1)
"""
NEW = ("-x", "container", "--image", IMAGE)
OF_THE_TASK = ("-x", "container")
TASKS = "tasks: {show: {script: 'echo $WHERE', component: api}}"


@pytest.fixture
def engine(docker_host: str) -> Iterator[Any]:
    """The engine, whose containers are removed after the test."""
    client = docker.DockerClient(base_url=docker_host)
    yield client
    for container in client.containers.list(all=True):
        container.remove(force=True)
    client.close()


@pytest.fixture
def env(docker_host: str) -> dict[str, str]:
    """The environment with the engine's address."""
    return {"DOCKER_HOST": docker_host}


@pytest.fixture
def compose(engine: Any, tmp_path: Path) -> Callable[..., Any]:
    """Start a service's container as Compose does; a task file uses the service ``api``."""
    (tmp_path / "airflow-script.yaml").write_text(TASKS)

    def up(service: str = "api", project: str = "shop", image: str = IMAGE, **settings: Any) -> Any:
        labels = {SERVICE_LABEL: service, PROJECT_LABEL: project}
        command = None if image == NO_SHELL else ["sleep", "infinity"]
        name = f"{project}-{service}-1"
        return engine.containers.run(image, command, name=name, labels=labels, detach=True, **settings)

    return up


def processes_in(container: Any) -> list[str]:
    """The command lines of a container's processes, without its first process."""
    return [words[-1] for words in container.top()["Processes"] if words[-1] != "sleep infinity"]


def nothing_runs_in(container: Any) -> bool:
    """Wait until a container has only its own process."""
    return wait_for(lambda: not processes_in(container), "the end of every process")


def test_a_new_container_is_removed(engine: Any, env: dict[str, str]) -> None:
    """``--image`` makes a container, and removes it after every exit code."""
    done = airflow_script("run", "import sys; print(1); sys.exit(3)", *NEW, env=env)
    assert (done.returncode, done.stdout) == (3, b"1\n")
    assert not engine.containers.list(all=True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_who_ends_us_ends_the_new_container(engine: Any, env: dict[str, str], number: int, code: int) -> None:
    """Ctrl+C and SIGTERM also remove the container."""
    ended, _, _ = interrupted(started("run", SLEEPS, *NEW, env=env), number)
    assert ended == code
    assert not engine.containers.list(all=True)


def test_a_new_container_ends_even_if_we_are_killed(engine: Any, env: dict[str, str]) -> None:
    """Without us the container ends soon after the timeout (R6)."""
    process = started("run", SLEEPS, *NEW, "--timeout", "60", env=env)
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    process.communicate()
    (container,) = engine.containers.list()
    assert container.attrs["Config"]["Entrypoint"] == ["sleep", "140"]
    assert container.attrs["HostConfig"]["AutoRemove"]


def test_a_service_of_compose(compose: Callable[..., Any], env: dict[str, str], tmp_path: Path) -> None:
    """A component's task runs in its service, with the service's environment."""
    container = compose(environment={"WHERE": "in the service"})
    compose("web")
    done = airflow_script("run", "show", *OF_THE_TASK, env=env, folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"in the service\n")
    assert nothing_runs_in(container)


def test_container_goes_before_kubernetes(compose: Callable[..., Any], env: dict[str, str], tmp_path: Path) -> None:
    """A task runs in its service while it is up, and on this machine otherwise."""
    listed = TASKS.replace("component: api", "component: api, executors: [container, local]")
    container = compose(environment={"WHERE": "in the service"})
    (tmp_path / "airflow-script.yaml").write_text(listed)
    assert airflow_script("run", "show", env=env, folder=tmp_path).stdout == b"in the service\n"
    container.remove(force=True)
    assert airflow_script("run", "show", env=env | {"WHERE": "here"}, folder=tmp_path).stdout == b"here\n"


def test_a_service_of_several_projects(compose: Callable[..., Any], env: dict[str, str], tmp_path: Path) -> None:
    """The error lists both projects, and COMPOSE_PROJECT_NAME chooses one."""
    compose(project="one", environment={"WHERE": "in one"})
    compose(project="two")
    done = airflow_script("run", "show", *OF_THE_TASK, env=env, folder=tmp_path)
    assert (done.returncode, b"several projects: one, two" in done.stderr) == (125, True)
    chosen = airflow_script("run", "show", *OF_THE_TASK, env=env | {"COMPOSE_PROJECT_NAME": "one"}, folder=tmp_path)
    assert chosen.stdout == b"in one\n"


def test_an_image_on_the_command_line_goes_before_the_service(
    compose: Callable[..., Any], env: dict[str, str], tmp_path: Path
) -> None:
    """``--image`` makes a new container even if the service runs."""
    compose(environment={"WHERE": "in the service"})
    done = airflow_script("run", "show", *NEW, "-e", "WHERE=in a new one", env=env, folder=tmp_path)
    assert done.stdout == b"in a new one\n"


def test_a_service_that_does_not_run(compose: Callable[..., Any], env: dict[str, str], tmp_path: Path) -> None:
    """The error lists the running services."""
    compose("web")
    done = airflow_script("run", "show", *OF_THE_TASK, env=env, folder=tmp_path)
    assert done.returncode == 125
    assert b"no container of the Compose service 'api' is running; running services: web. Run: docker" in done.stderr


def test_a_container_by_name(compose: Callable[..., Any], env: dict[str, str]) -> None:
    """``--container`` names a running container; the error lists all of them."""
    compose(environment={"WHERE": "by name"})
    show = ("run", "echo $WHERE ; true", "-x", "container", "--interpreter", "sh")
    assert airflow_script(*show, "-c", "shop-api-1", env=env).stdout == b"by name\n"
    done = airflow_script(*show, "-c", "shop-apy-1", env=env)
    assert (done.returncode, b"no such container: 'shop-apy-1'; running containers: shop-api-1" in done.stderr) == (
        125,
        True,
    )


def test_an_image_without_a_shell(compose: Callable[..., Any], env: dict[str, str], tmp_path: Path) -> None:
    """The error says that the container has no sh to read the script."""
    compose(image=NO_SHELL)
    done = airflow_script("run", "show", *OF_THE_TASK, env=env, folder=tmp_path)
    assert (done.returncode, done.stdout) == (125, b"")
    assert b"container shop-api-1 has no 'sh' (executable file not found), which must read the script" in done.stderr


def test_an_image_that_cannot_be_pulled(engine: Any, env: dict[str, str]) -> None:
    """The error has the engine's own message."""
    done = airflow_script("run", "print(1); print(2)", "-x", "container", "--image", "127.0.0.1:1/none:1", env=env)
    assert (done.returncode, done.stderr.count(b"\n")) == (125, 1)
    assert b"127.0.0.1:1" in done.stderr


def test_ctrl_c_ends_what_runs_in_a_service(compose: Callable[..., Any], env: dict[str, str]) -> None:
    """Script and children end, and the service's container goes on."""
    container = compose()
    ended, _, _ = interrupted(started("run", SLEEPS, "-x", "container", "-c", "shop-api-1", env=env))
    assert ended == 130
    assert nothing_runs_in(container)
    container.reload()
    assert container.status == "running"


def test_a_timeout_kills_what_ignores_it(compose: Callable[..., Any], env: dict[str, str]) -> None:
    """The group gets TERM, and KILL after the grace period (R5)."""
    container = compose()
    run = ("run", HEEDS_NO_TERM, "-x", "container", "-c", "shop-api-1", "--timeout")
    _, done = with_time_to_begin(lambda seconds: airflow_script(*run, str(seconds), env=env), lambda run: run.stdout, 2)
    assert (done.returncode, done.stdout) == (124, b"up\nasked to end\n")
    assert nothing_runs_in(container)


def test_working_directory_and_its_error(engine: Any, env: dict[str, str]) -> None:
    """``--workdir`` is a folder of the container; the error names a missing one."""
    where = ("run", "import os; print(os.getcwd())", *NEW)
    assert airflow_script(*where, "-w", "/var", env=env).stdout == b"/var\n"
    done = airflow_script(*where, "-w", "/nowhere", env=env)
    assert b"script was not started: the working directory cannot be entered" in done.stderr


def test_large_output_arrives_byte_for_byte(engine: Any, env: dict[str, str]) -> None:
    """20 MB of any bytes arrive unchanged."""
    data = hashlib.shake_256(b"seed").digest(20_000_000)
    script = "import hashlib, os, sys; sys.stdout.buffer.write(hashlib.shake_256(b'seed').digest(20_000_000))"
    assert airflow_script("run", script, *NEW, env=env).stdout == data


def test_input_is_passed_on(engine: Any, env: dict[str, str]) -> None:
    """``-i`` passes stdin on to its end."""
    script = "import sys, hashlib; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())"
    data = bytes(range(256)) * 8000
    done = airflow_script("run", script, *NEW, "-i", env=env, stdin=data)
    assert done.stdout.decode().strip() == hashlib.sha256(data).hexdigest()


@pytest.mark.usefixtures("engine")
def test_an_engine_that_goes_away(docker_host: str, tmp_path: Path) -> None:
    """The error says that the outcome is unknown (R1, R36)."""
    address = tmp_path / "docker.sock"
    with relay(address, docker_host.removeprefix("unix://")) as connections:
        process = started("run", SLEEPS, *NEW, env={"DOCKER_HOST": f"unix://{address}"})
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        connections.end()
        _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, b"outcome unknown" in err, err.count(b"\n")) == (125, True, 1), err


def test_a_killed_shell_says_nothing_of_its_script(engine: Any, env: dict[str, str]) -> None:
    """If the kernel kills the shell for memory, the script may end with any code (R1, R36)."""
    killed = "import os, time\nos.kill(os.getppid(), 9)\ntime.sleep(1)\nprint('all rows loaded')"
    done = airflow_script("run", killed, *NEW, env=env)
    assert (done.returncode, done.stdout) == (125, b"all rows loaded\n")
    assert b"outcome unknown: script lost the shell" in done.stderr
    assert b"It is no longer running" in done.stderr


def test_a_container_that_is_killed(compose: Callable[..., Any], env: dict[str, str], tmp_path: Path) -> None:
    """Its end is the cause, and the script has ended with it (R22)."""
    container = compose()
    process = started("run", SLEEPS, "--container", container.name, env=env)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    container.kill()
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, b"ended while it ran" in err) == (137, True), err


@pytest.mark.parametrize("change", ["stop", "restart"])
def test_a_container_that_is_stopped(change: str, engine: Any, env: dict[str, str]) -> None:
    """Its first process passes SIGTERM on, and the script ends with 0 half-way: not a success (R1, R36)."""
    container = engine.containers.run(IMAGE, ["python3", "-c", PASSES_TERM_ON], name="shop-api-1", detach=True)
    process = started("run", STOPS_HALF_WAY, "--container", container.name, env=env)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    getattr(container, change)()
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (125, b"bye\n"), err
    assert b"outcome unknown: script ended with exit code 0 after a SIGTERM; container shop-api-1 ended" in err
