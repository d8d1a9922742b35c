"""``airflow-script run -t`` in a container and in a pod, on a real pseudo-terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cluster.apps import a_deployment, rolled_out
from tests.cluster.kubectl import Kubectl
from tests.command_line import ASKS, answered, around_a_terminal, ended, on_a_terminal
from tests.docker_engine import IMAGE

HANDLES_INT = "trap 'echo caught; exit 9' INT; echo begun; while :; do sleep 0.1; done"
SHOWS_SIZE = "trap 'stty size' WINCH; echo begun; while :; do sleep 0.1; done"


class Place:
    """Options and environment for a target with a terminal."""

    def __init__(self, options: list[str], env: dict[str, str]) -> None:
        self.options = [*options, "--interpreter", "sh", "-t"]
        self.env = env

    def run(self, script: str, **settings: Any) -> Any:
        """Start a shell script in the target."""
        return on_a_terminal("run", script, *self.options, env=self.env, **settings)


@pytest.fixture(params=["container", "kubernetes"])
def place(request: pytest.FixtureRequest) -> Place:
    """A container of our engine, and a pod."""
    if request.param == "container":
        host = request.getfixturevalue("docker_host")
        return Place(["-x", "container", "--image", IMAGE], {"DOCKER_HOST": host})
    namespace, kubeconfig = (request.getfixturevalue(name) for name in ("pod", "kubeconfig"))
    return Place(["-x", "kubernetes", "--deployment", "shell", "-n", namespace], {"KUBECONFIG": kubeconfig})


@pytest.fixture(scope="module")
def pod(kubectl: Kubectl, shared_namespace: str) -> str:
    """The namespace of a Deployment ``shell``."""
    rolled_out(kubectl, a_deployment("shell", shared_namespace))
    return shared_namespace


def test_the_script_has_a_terminal(place: Place) -> None:
    """The terminal has our size, and only the script's input and output."""
    assert answered(place.run(ASKS, size=(31, 77))) == 5


def test_a_new_size_is_passed_on(place: Place) -> None:
    """The script gets the window's new size; Ctrl+C signals it."""
    child = place.run(SHOWS_SIZE)
    child.expect_exact("begun")
    child.setwinsize(40, 132)
    child.expect_exact("40 132")
    child.sendintr()
    assert ended(child) == 130


def test_ctrl_c_reaches_the_script_and_the_terminal_is_as_before(place: Place, tmp_path: Path) -> None:
    """The script handles Ctrl+C; our terminal has its old settings."""
    shell = around_a_terminal("run", HANDLES_INT, *place.options, env=place.env, folder=tmp_path)
    shell.expect_exact("begun")
    shell.sendintr()
    shell.expect_exact("caught")
    shell.expect_exact("code 9")
    ended(shell)
    assert (tmp_path / "after").read_text() == (tmp_path / "before").read_text()


def test_nothing_is_seen_of_how_the_script_came(place: Place) -> None:
    """The terminal shows neither the code that is sent nor our own lines."""
    child = place.run("echo only this ; true", size=(24, 200))
    ended(child)
    lines = [line for line in child.before.decode().splitlines() if "airflow-script:" not in line]
    assert "only this" in lines
    assert not any("airflow_" in line or "eval" in line for line in lines)
