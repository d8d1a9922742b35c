"""The command line of the development cluster."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CLUSTER = Path(__file__).parents[3] / "dev" / "cluster"
# Another user may lack access to this Python or checkout, so imports come first.
AS_ANOTHER_USER = """
import os, runpy, sys
sys.path.insert(0, sys.argv[1])
main = runpy.run_path(sys.argv.pop(1) + "/__main__.py")["main"]
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
sys.exit(main())
"""


@pytest.mark.parametrize("command", ["up", "down", "status"])
def test_without_root_one_line_says_what_is_missing(command: str) -> None:
    """There is no traceback, and nothing is changed."""
    arguments = [sys.executable, "-B", "-c", AS_ANOTHER_USER, str(CLUSTER), command]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    line = "dev/cluster: the development cluster needs root (mounts, cgroups, bridges): run it with sudo\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", line)


def test_an_unknown_version_names_those_that_there_are() -> None:
    """A wrong choice is told before anything is done, with an exit code of its own."""
    arguments = [sys.executable, "-B", str(CLUSTER), "up", "--kubernetes", "1.30"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "invalid choice: '1.30'" in done.stderr
    assert "1.37" in done.stderr
