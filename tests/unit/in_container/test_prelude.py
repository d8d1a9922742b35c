"""The prelude, run by this machine's sh with stand-ins for the programs of an image."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from airflow_script_provider.kube.request.provision import program

TOOLS = ("cat", "echo", "env", "grep", "mktemp", "rm", "sed", "sh", "tail", "tee")
MANAGERS = ("apt-get", "apk", "dnf", "microdnf")
COMMANDS = {
    "apt-get": ["apt-get update -q", "apt-get install -q -y --no-install-recommends jq less"],
    "apk": ["apk add --no-cache jq less"],
    "dnf": ["dnf install -y jq less"],
    "microdnf": ["microdnf install -y jq less"],
}


@dataclass(frozen=True)
class Ended:
    """The end of a prelude: exit code, output, termination message and calls."""

    code: int
    lines: list[str]
    message: str
    calls: list[str]


class Image:
    """A folder with the programs of an image: those that the prelude needs, and stand-ins."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        for tool in TOOLS:
            (folder / "bin" / tool).symlink_to(shutil.which(tool) or f"/bin/{tool}")
        self.add("id", "echo 0")

    def add(self, name: str, does: str = "true") -> None:
        """Add a stand-in that records its arguments, then runs this code."""
        path = self.folder / "bin" / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> "{self.folder}/calls"\n{does}\n')
        path.chmod(0o755)

    def run(self, *words: str, stdin: str = "", **variables: str) -> Ended:
        """Run the prelude with a command; its termination message goes into the folder."""
        message = self.folder / "message"
        prelude = self.folder / "prelude.sh"
        prelude.write_text(program("prelude.sh").replace("/dev/termination-log", str(message)))
        environment = {"PATH": f"{self.folder}/bin", "TMPDIR": str(self.folder), **variables}
        done = subprocess.run(
            ["sh", prelude, *(words or ("echo", "script"))],
            env=environment, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        calls = self.folder / "calls"
        called = calls.read_text().splitlines() if calls.exists() else []
        return Ended(
            done.returncode,
            done.stdout.splitlines(),
            message.read_text() if message.exists() else "",
            [call for call in called if not call.startswith("id ")],
        )

    def install(self, packages: str = "jq less", **variables: str) -> Ended:
        """Run the prelude with packages to install."""
        return self.run(AIRFLOW_SCRIPT_PACKAGES=packages, AIRFLOW_SCRIPT_MARK="m1", **variables)


@pytest.fixture
def image(tmp_path: Path) -> Image:
    """An image without any package manager."""
    return Image(tmp_path)


@pytest.mark.parametrize("manager", MANAGERS)
def test_each_package_manager_gets_its_own_words(image: Image, manager: str) -> None:
    """Each manager installs without questions and extras; then the script runs."""
    image.add(manager)
    ended = image.install()
    assert ended.calls == COMMANDS[manager]
    assert ended.lines == ["::group::Installing packages: jq less", "::endgroup::m1", "script"]
    assert (ended.code, ended.message) == (0, "")


@pytest.mark.parametrize(("has", "takes"), [(MANAGERS, "apt-get"), (MANAGERS[1:], "apk"), (MANAGERS[2:], "dnf")])
def test_of_several_the_first_one_installs(image: Image, has: tuple[str, ...], takes: str) -> None:
    """An image's own manager installs; Debian also has dnf as a package."""
    for manager in has:
        image.add(manager)
    assert image.install().calls == COMMANDS[takes]


@pytest.mark.parametrize(
    ("manager", "says", "cause"),
    [
        ("apt-get", "Reading package lists...\nE: Unable to locate package jq", "E: Unable to locate package jq"),
        ("apt-get", "E: Package 'jq' has no installation candidate", "E: Package 'jq' has no installation candidate"),
        (
            "apk",
            "ERROR: unable to select packages:\n  jq (no such package):\n    required by: world[jq]",
            "jq (no such package):",
        ),
        ("dnf", "No match for argument: jq\nError: Unable to find a match: jq", "Error: Unable to find a match: jq"),
        ("dnf", "Failed to resolve the transaction:\nNo match for argument: jq", "No match for argument: jq"),
        ("microdnf", "error: No package matches 'jq'", "error: No package matches 'jq'"),
    ],
)
def test_a_package_that_does_not_exist_fails_for_good(image: Image, manager: str, says: str, cause: str) -> None:
    """Exit code 97 with the manager's message; the script does not run."""
    image.add(manager, f'cat <<"END"\n{says}\nEND\n[ "$1" = update ] || exit 1')
    ended = image.install("jq")
    assert (ended.code, ended.message) == (97, f"airflow-script: could not install packages: {cause}")
    assert ended.lines[-2:] == [f"could not install packages: {cause}", "::endgroup::m1"]
    assert "script" not in ended.lines


@pytest.mark.parametrize(
    ("manager", "says", "cause"),
    [
        (
            "apt-get",
            "W: Failed to fetch http://deb/x  Temporary failure resolving 'deb'\nE: Unable to locate package jq",
            "W: Failed to fetch http://deb/x  Temporary failure resolving 'deb'",
        ),
        (
            "apk",
            "WARNING: fetching https://dl/main: temporary error (try again later)\n  jq (no such package):",
            "WARNING: fetching https://dl/main: temporary error (try again later)",
        ),
        (
            "dnf",
            "Error: Failed to download metadata for repo 'base': Cannot download repomd.xml\n"
            "Error: Unable to find a match: jq",
            "Error: Failed to download metadata for repo 'base': Cannot download repomd.xml",
        ),
        (
            "microdnf",
            "error: cannot update repo 'base': Cannot download repomd.xml",
            "error: cannot update repo 'base': Cannot download repomd.xml",
        ),
        ("dnf", "Error: disk I/O error", "Error: disk I/O error"),
    ],
)
def test_a_repository_out_of_reach_is_worth_another_attempt(image: Image, manager: str, says: str, cause: str) -> None:
    """An unreachable repository and an unknown cause are exit code 98."""
    image.add(manager, f'cat <<"END"\n{says}\nEND\n[ "$1" = update ] || exit 1')
    ended = image.install("jq")
    assert (ended.code, ended.message) == (98, f"airflow-script: could not install packages: {cause}")


def test_an_image_without_a_package_manager(image: Image) -> None:
    """An image without a package manager is a permanent failure."""
    ended = image.install()
    assert ended.code == 97
    assert "the image has none of apt-get, apk, dnf and microdnf" in ended.message


def test_a_container_that_is_not_root(image: Image) -> None:
    """A container without root is reported before an attempt to install."""
    image.add("id", "echo 1000")
    image.add("apk")
    ended = image.install()
    assert (ended.code, ended.calls) == (97, [])
    assert ended.message == "airflow-script: could not install packages: the container does not run as root"


def test_the_installer_reads_nothing_of_the_scripts_input(image: Image) -> None:
    """The package manager's stdin is empty, and the script gets all of its own."""
    image.add("dnf", "cat")
    ended = image.run("cat", stdin="input\n", AIRFLOW_SCRIPT_PACKAGES="jq", AIRFLOW_SCRIPT_MARK="m1")
    assert ended.lines == ["::group::Installing packages: jq", "::endgroup::m1", "input"]


def test_the_interpreter_finds_the_requirements_and_its_own_words(image: Image) -> None:
    """Paths follow the image's own, words stay whole, our variables are gone (R24)."""
    show = 'printf "%s\\n" "$PATH" "$PYTHONPATH" "$@"; env | grep -c AIRFLOW'
    ended = image.run("sh", "-c", show, "sh", "a b", "$(id)", "", AIRFLOW_SCRIPT_TARGET="/pkgs", PYTHONPATH="/own")
    assert ended.lines == [f"{image.folder}/bin:/pkgs/bin", "/own:/pkgs", "a b", "$(id)", "", "0"]
    assert image.run("sh", "-c", 'echo "$PYTHONPATH"', AIRFLOW_SCRIPT_TARGET="/pkgs").lines == ["/pkgs"]


def test_the_exit_code_is_the_interpreters(image: Image) -> None:
    """The prelude becomes the interpreter, and ends with its exit code (R27)."""
    assert image.run("sh", "-c", "exit 41").code == 41
