"""Runs other programs to their end and tells what they said when they fail."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from errors import ClusterError

SHOWN_LINES = 15


def run(command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Run a command and return its standard output; a failure shows the last lines of all that it printed."""
    arguments = [str(argument) for argument in command]
    done = subprocess.run(
        arguments,
        env={**os.environ, **(env or {})},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-SHOWN_LINES:])
        raise ClusterError(f"`{shlex.join(arguments)}` failed with exit code {done.returncode}:\n{said}")
    return done.stdout


def succeeds(command: Sequence[str | Path]) -> bool:
    """Whether a command whose output does not matter ends with exit code 0."""
    return subprocess.run([str(part) for part in command], capture_output=True, check=False).returncode == 0
