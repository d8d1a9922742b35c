"""Runs ``airflow-script`` as a user does: as a process, with a terminal where one is wanted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pexpect

from tests.patience import PATIENCE, wait_for

PROGRAM = Path(sys.executable).with_name("airflow-script")
# A machine's own settings must not decide what a test sees.
_FOREIGN = (
    "K8S_NAMESPACE", "KUBECONFIG", "DOCKER_HOST", "COMPOSE_PROJECT_NAME", "NO_COLOR", "AIRFLOW__CORE__UNIT_TEST_MODE",
)  # fmt: skip


def environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """What the program finds in its environment."""
    own = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    return own | {"PYTHONFAULTHANDLER": "1"} | dict(env or {})


def airflow_script(
    *arguments: str, env: Mapping[str, str] | None = None, stdin: bytes = b"", folder: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run to the end, in pipes."""
    command = [str(PROGRAM), *arguments]
    return subprocess.run(
        command, env=environment(env), input=stdin, capture_output=True, cwd=folder, timeout=PATIENCE, check=False
    )


def started(*arguments: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Started in pipes. It heeds SIGHUP and SIGQUIT, which tests that nohup or a script's & started may ignore."""
    command = ["env", "--default-signal=HUP,QUIT", str(PROGRAM), *arguments]
    return subprocess.Popen(command, env=environment(env), stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def on_a_terminal(*arguments: str, env: Mapping[str, str] | None = None, size: tuple[int, int] = (24, 80)) -> Any:
    """Started on a pseudo-terminal of so many lines and columns."""
    settings = environment({"TERM": "xterm", **(env or {})})
    return pexpect.spawn(str(PROGRAM), list(arguments), env=settings, dimensions=size, timeout=PATIENCE)


ASKS = "test -t 0 && test -t 1 && test -t 2 && stty size; read line; echo got $line; tty; exit 5"
"""A shell script that uses its terminal."""


def answered(child: Any) -> int | None:
    """Talk with that script on a terminal of 31 lines and 77 columns; its exit code."""
    child.expect_exact("31 77")
    child.sendline("typed")
    child.expect_exact("got typed")
    child.expect_exact("/dev/pts/")
    return ended(child)


def ended(child: Any) -> int | None:
    """The exit code of what runs on a terminal, once it has ended by itself."""
    child.expect(pexpect.EOF)
    child.wait()
    child.close()
    code: int | None = child.exitstatus
    return code


def around_a_terminal(*arguments: str, env: Mapping[str, str] | None = None, folder: Path) -> Any:
    """Started on a pseudo-terminal by a shell that writes into ``before`` and ``after`` how the terminal is set."""
    around = 'stty -a > before; "$@"; echo "code $?"; stty -a > after'
    command = ["-c", around, "sh", str(PROGRAM), *arguments]
    return pexpect.spawn("sh", command, cwd=folder, env=environment(env), timeout=PATIENCE)


def interrupted(process: subprocess.Popen[bytes], number: int = signal.SIGINT) -> tuple[int, bytes, bytes]:
    """Send a signal after the first output; exit code, the rest of stdout, stderr."""
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(number)
    try:
        rest, err = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # where it hangs is then in its stderr
        rest, err = process.communicate()
        raise AssertionError(f"not ended by signal {number}: {err.decode()[-4000:]}") from None
    return process.returncode, first + rest, err


def wait_until_gone(pid: int) -> None:
    """Wait until the process has ended."""
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), f"the end of process {pid}")
