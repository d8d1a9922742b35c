"""``airflow-script run -t`` on this machine, on a real pseudo-terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command_line import ASKS, airflow_script, answered, around_a_terminal, ended, on_a_terminal
from tests.patience import with_time_to_begin

LOCAL = ("-x", "local", "-t")


def a_shell_script(folder: Path, text: str) -> str:
    """A shell script in a file."""
    (folder / "script.sh").write_text(text)
    return str(folder / "script.sh")


def test_the_script_has_a_terminal(tmp_path: Path) -> None:
    """The script's stdin and stdout are a terminal of our size, and it gets our input."""
    script = a_shell_script(tmp_path, ASKS)
    assert answered(on_a_terminal("run", script, *LOCAL, size=(31, 77))) == 5


def test_a_new_size_is_passed_on(tmp_path: Path) -> None:
    """When the window changes, the script gets SIGWINCH and finds the new size."""
    script = a_shell_script(tmp_path, "trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.1; done")
    child = on_a_terminal("run", script, *LOCAL)
    child.expect_exact("ready")
    child.setwinsize(40, 132)
    child.expect_exact("40 132")
    ended(child)


def test_ctrl_c_reaches_the_script(tmp_path: Path) -> None:
    """The script gets Ctrl+C, may handle it, and its exit code is passed on."""
    script = a_shell_script(tmp_path, "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.1; done")
    child = on_a_terminal("run", script, *LOCAL)
    child.expect_exact("ready")
    child.sendintr()
    child.expect_exact("caught")
    assert ended(child) == 9


def test_ctrl_d_ends_the_input(tmp_path: Path) -> None:
    """Ctrl+D ends the script's input."""
    child = on_a_terminal("run", a_shell_script(tmp_path, "echo ready; cat; echo over"), *LOCAL)
    child.expect_exact("ready")
    child.sendline("line")
    child.sendeof()
    child.expect_exact("over")
    ended(child)


@pytest.mark.parametrize("end", ["exit 3", "kill -KILL $$", "sleep 3600"])
def test_the_terminal_is_as_before(tmp_path: Path, end: str) -> None:
    """After every kind of end the terminal has its old settings."""
    script = a_shell_script(tmp_path, f"stty raw -echo; echo ready; {end}")

    def printed(seconds: float) -> str:
        shell = around_a_terminal("run", script, *LOCAL, "--timeout", str(seconds), folder=tmp_path)
        ended(shell)
        return str(shell.before)

    with_time_to_begin(printed, lambda printed: "ready" in printed, 1)
    assert (tmp_path / "after").read_text() == (tmp_path / "before").read_text()


def test_a_spinner_is_shown_on_a_terminal_only_until_output_comes(tmp_path: Path) -> None:
    """A terminal shows a spinner until the first output; NO_COLOR removes colours."""
    script = a_shell_script(tmp_path, "sleep 1; echo out")
    coloured = on_a_terminal("run", script, "-x", "local")
    ended(coloured)
    plain = on_a_terminal("run", script, "-x", "local", env={"NO_COLOR": "1"})
    ended(plain)
    assert b"\x1b[32m" in coloured.before
    assert b"\x1b[32m" not in plain.before
    assert b"local: file" in plain.before


def test_an_interactive_task_has_a_terminal_where_there_is_one(tmp_path: Path) -> None:
    """A task with ``interactive`` gets our terminal, or our stdin in a pipe."""
    tasks = 'tasks: {shell: {script: "tty; read line; echo got $line", interactive: true, executor: local}}'
    (tmp_path / "tasks.yaml").write_text(tasks)
    arguments = ("run", "shell", "-f", str(tmp_path / "tasks.yaml"))
    child = on_a_terminal(*arguments)
    child.expect_exact("/dev/pts/")
    child.sendline("typed")
    child.expect_exact("got typed")
    ended(child)
    done = airflow_script(*arguments, stdin=b"piped\n")
    assert done.stdout == b"not a tty\ngot piped\n"
