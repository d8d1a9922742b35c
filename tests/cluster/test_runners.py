"""Every runner gives the same exit code, output, argv and result for the same script."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from airflow_script_provider.result import ScriptResult
from airflow_script_provider.runners.container import ContainerRunner
from airflow_script_provider.runners.job import JobRunner
from airflow_script_provider.runners.local import LocalRunner
from airflow_script_provider.runners.pod import PodRunner
from airflow_script_provider.runners.script_run import Runner, ScriptRun, Target
from airflow_script_provider.sources import InlineScript
from tests.cluster.apps import a_deployment, rolled_out
from tests.cluster.kubectl import Kubectl
from tests.docker_engine import IMAGE

RUNNERS: dict[str, type[Runner]] = {
    "local": LocalRunner,
    "container": ContainerRunner,
    "kubernetes": PodRunner,
    "job": JobRunner,
}
SHOWS = "import json, os, sys\nprint(json.dumps([sys.argv[1:], os.environ.get('A'), sys.stdin.read()]))"
EVERYTHING = 'it\'s "quoted"\n$HOME `id` \\ ünï *'


@dataclass
class Shown:
    """A screen that keeps its output."""

    out: bytes = b""
    err: bytes = b""
    notes: list[str] = field(default_factory=list)

    def stdout(self, data: bytes) -> None:
        """Keep the script's stdout."""
        self.out += data

    def stderr(self, data: bytes) -> None:
        """Keep the script's stderr."""
        self.err += data

    def note(self, text: str, *, important: bool = False) -> None:
        """Keep a line of our own."""
        self.notes.append(text)


@dataclass(frozen=True)
class Contract:
    """A runner, and the target of its scripts."""

    name: str
    target: Target

    def run(self, text: str, **arguments: Any) -> tuple[ScriptResult, Shown]:
        """Run a script; return its result and the shown output."""
        script_run = ScriptRun(source=InlineScript(text), target=self.target, **arguments)
        runner, shown = RUNNERS[self.name](), Shown()
        assert runner.why_unavailable(script_run) is None
        return runner.run(script_run, shown), shown

    @property
    def separates_streams(self) -> bool:
        """Whether stdout and stderr are separate; a Job's log mixes them."""
        return self.name != "job"


@pytest.fixture(scope="module")
def api(kubectl: Kubectl, shared_namespace: str) -> str:
    """The namespace of the Deployment ``contract``."""
    rolled_out(kubectl, a_deployment("contract", shared_namespace))
    return shared_namespace


@pytest.fixture(params=list(RUNNERS))
def contract(request: pytest.FixtureRequest, kubeconfig: str, monkeypatch: pytest.MonkeyPatch) -> Contract:
    """Each runner in turn."""
    monkeypatch.setenv("KUBECONFIG", kubeconfig)
    target = Target()
    if request.param == "container":
        monkeypatch.setenv("DOCKER_HOST", request.getfixturevalue("docker_host"))
        target = Target(image=IMAGE)
    elif request.param != "local":
        target = Target(namespace=request.getfixturevalue("api"), deployment="contract")
    return Contract(request.param, target)


def test_success(contract: Contract) -> None:
    """A script that prints nothing succeeds."""
    result, shown = contract.run("pass")
    assert (result.status, result.exit_code, result.output, result.value) == ("completed", 0, "", None)
    assert (result.succeeded, result.failed, result.error, shown.out + shown.err) == (1, 0, None, b"")


def test_failure(contract: Contract) -> None:
    """A failed script has its exit code, and both streams in the order of writing."""
    text = "import os, sys, time\nos.write(1, b'first\\n'); time.sleep(.2)\nos.write(2, b'second\\n'); time.sleep(.2)\n"
    result, shown = contract.run(text + "os.write(1, b'third\\n'); sys.exit(7)")
    assert (result.status, result.exit_code, result.output) == ("failed", 7, "first\nsecond\nthird\n")
    assert (result.succeeded, result.failed) == (0, 1)
    if contract.separates_streams:
        assert (shown.out, shown.err) == (b"first\nthird\n", b"second\n")
        assert (result.stdout_tail, result.stderr_tail) == ("first\nthird\n", "second\n")


def test_args_and_environment(contract: Contract) -> None:
    """``args`` is one JSON in argv[1], the environment is unchanged, stdin is empty (R24)."""
    result, _ = contract.run(SHOWS, args={"text": EVERYTHING}, env={"A": EVERYTHING})
    argv, variable, stdin = result.value
    assert (__import__("json").loads(argv[0]), variable, stdin) == ({"text": EVERYTHING}, EVERYTHING, "")
    assert len(argv) == 1


def test_arguments(contract: Contract) -> None:
    """``arguments`` are words of argv, unchanged (R24)."""
    words = ["-n", "", "a b", EVERYTHING]
    result, _ = contract.run(SHOWS, arguments=words)
    assert result.value[0] == words


def test_any_bytes(contract: Contract) -> None:
    """Bytes that are not text are shown unchanged, and replaced in the result."""
    data = bytes(byte for byte in range(256) if byte != 10) + b"\n"
    result, shown = contract.run("import os\nos.write(1, bytes(b for b in range(256) if b != 10) + b'\\n')")
    assert result.output == data.decode("utf-8", "replace").replace("\0", "\ufffd")
    if contract.separates_streams:
        assert shown.out == data


def test_value(contract: Contract) -> None:
    """The last line that is a JSON object is the value (R21)."""
    result, _ = contract.run('print("loading")\nprint(\'{"rows": [1, 2.5, null]}\')\nprint("done")')
    assert result.value == {"rows": [1, 2.5, None]}


def test_files(contract: Contract) -> None:
    """Files lie beside the script, in folders, and the result lists them."""
    files = {"lib/__init__.py": InlineScript(""), "lib/words.py": InlineScript("WORD = 'found'")}
    result, _ = contract.run("from lib import words\nprint(words.WORD)", files=files)
    assert (result.output, sorted(result.files)) == ("found\n", sorted(files))


def test_interpreter(contract: Contract) -> None:
    """The run's interpreter replaces the default."""
    result, _ = contract.run('echo "$0" >/dev/null; echo "$2-$1"', interpreter=["sh", "-eu"], arguments=["a", "b"])
    assert (result.exit_code, result.output) == (0, "b-a\n")


def test_killed(contract: Contract) -> None:
    """A script that is killed has exit code 137."""
    result, _ = contract.run("import os\nprint('up', flush=True)\nos.kill(os.getpid(), 9)")
    assert (result.status, result.exit_code, result.output) == ("failed", 137, "up\n")


def test_timeout(contract: Contract) -> None:
    """A script that runs too long is ended, and its status says so (R5)."""
    result, _ = contract.run("import time\ntime.sleep(300)", timeout=4)
    assert (result.status, result.succeeded) == ("timeout", 0)
    assert result.error is not None


def test_a_script_that_ended_before_its_timeout(contract: Contract) -> None:
    """What it has left behind may hold its output open until then: its own exit code counts (R1, R5)."""
    timeout = 60 if contract.name == "job" else 4  # a Job's counts the start of its pod, and its end needs no timeout
    text = "import subprocess\nsubprocess.Popen(['sleep', '90'])\nraise SystemExit(4)"
    result, _ = contract.run(text, timeout=timeout)
    assert (result.status, result.exit_code) == ("failed", 4)
