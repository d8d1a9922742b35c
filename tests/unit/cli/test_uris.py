"""Runs that need Airflow without its database: scripts over HTTP, and connections."""

from __future__ import annotations

from pathlib import Path

from tests.command_line import airflow_script
from tests.servers import Answer, web_server


def test_a_script_over_http(tmp_path: Path) -> None:
    """A URL runs like a file; its extension decides the language."""
    with web_server() as scripts:
        scripts.answers("/hello.sh", b"echo hello from $0 | cut -c1-10")
        env = {"AIRFLOW_HOME": str(tmp_path)}
        done = airflow_script("run", f"{scripts.url}/hello.sh", "-x", "local", env=env)
    assert (done.returncode, done.stdout) == (0, b"hello from"[:10] + b"\n"), done.stderr
    assert not list(tmp_path.glob("*.db"))


def test_a_script_that_is_not_there(tmp_path: Path) -> None:
    """The server's error is one line, and the exit code is 125."""
    with web_server() as scripts:
        scripts.answers("/hello.sh", Answer(b"no", 404))
        env = {"AIRFLOW_HOME": str(tmp_path)}
        done = airflow_script("run", f"{scripts.url}/hello.sh", "-x", "local", env=env)
    assert (done.returncode, b"404" in done.stderr, done.stdout) == (125, True, b"")


def test_a_connection_that_nobody_has_defined(tmp_path: Path) -> None:
    """Airflow's errors are also one line, with exit code 125 and no traceback."""
    env = {"AIRFLOW_HOME": str(tmp_path)}
    done = airflow_script("run", "echo 1", "-x", "job", "-n", "x", "--conn-id", "not_defined", env=env)
    said = done.stderr.decode().splitlines()[-1]
    assert (done.returncode, said.startswith("airflow-script: "), "not_defined" in said) == (125, True, True)
    assert "Traceback" not in done.stderr.decode()
