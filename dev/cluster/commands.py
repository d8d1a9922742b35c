"""Runs other programs to their end and reports their last lines when they fail."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from errors import ClusterError

SHOWN_LINES = 15


def run(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    is_progress: Callable[[str], bool] | None = None,
) -> str:
    """Run a command and return its standard output; an error has its exit code and last lines.

    `is_progress` gets each line of stderr as it appears. If it returns true, the line is not kept
    for the message of an error.
    """
    arguments = [str(argument) for argument in command]
    # A file for stdout: a second pipe would have to be read at the same time.
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        process = subprocess.Popen(
            arguments,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        messages = _follow(process, is_progress)
        output.seek(0)
        printed = output.read()
    if process.returncode != 0:
        shown = "\n".join([*printed.splitlines(), *messages][-SHOWN_LINES:])
        raise ClusterError(f"`{shlex.join(arguments)}` failed with exit code {process.returncode}:\n{shown}")
    return printed


def succeeds(command: Sequence[str | Path]) -> bool:
    """Whether a command ends with exit code 0; its output is dropped."""
    return subprocess.run([str(part) for part in command], capture_output=True, check=False).returncode == 0


def _follow(process: subprocess.Popen[str], is_progress: Callable[[str], bool] | None) -> list[str]:
    """Read stderr until the process has ended; return its last lines that are not progress."""
    messages: deque[str] = deque(maxlen=SHOWN_LINES)
    with process:
        try:
            for line in process.stderr or ():
                text = line.rstrip("\n")
                if is_progress is None or not is_progress(text):
                    messages.append(text)
            process.wait()
        except BaseException:
            process.kill()
            raise
    return list(messages)
