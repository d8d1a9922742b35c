"""``airflow-script`` with standard streams and names that are not as usual, and with an unforeseen error."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import PROGRAM, airflow_script, environment
from tests.patience import PATIENCE, wait_for

LOCAL = ("-x", "local")


def test_a_result_holds_any_name_of_a_file(tmp_path: Path) -> None:
    """The result of a script is printed also where its path is not UTF-8 (R24)."""
    path = os.fsencode(tmp_path) + b"/\xff.sh"
    Path(os.fsdecode(path)).write_text("echo ran")
    done = airflow_script("run", os.fsdecode(path), *LOCAL, "--output", "json")
    result = json.loads(done.stdout)
    assert (done.returncode, result["output"], os.fsencode(result["script_origin"])) == (0, "ran\n", b"file://" + path)


@pytest.mark.parametrize(
    ("closed", "arguments", "out"),
    [("<&-", (), b"''\n"), ("<&-", ("-i",), b"''\n"), (">&-", (), b""), ("2>&-", (), b"''\n")],
)
def test_a_closed_stream_is_an_empty_one(closed: str, arguments: tuple[str, ...], out: bytes, tmp_path: Path) -> None:
    """Without stdin, stdout or stderr the script runs as with /dev/null, and no file takes the stream's place (R24)."""
    script = "import sys; print(repr(sys.stdin.read())); print(1, file=sys.stderr); sys.exit(7)"
    log = tmp_path / "log"
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", str(PROGRAM), "run", script, *LOCAL, *arguments]
    done = subprocess.run(
        [*command, "--log-file", str(log)],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    err = b"" if closed == "2>&-" else b"1\nairflow-script: script failed: exit code 7\n"
    assert (done.returncode, done.stdout, done.stderr) == (7, out, err)
    assert sorted(log.read_bytes().splitlines()) == [b"''", b"1", b"airflow-script: script failed: exit code 7"]


def test_an_unforeseen_error_is_not_an_exit_code_of_the_script() -> None:
    """A fault of the program ends it with 125 and a traceback; 1 would be a code of the script (R1)."""
    program = (
        "import sys; from airflow_script_provider.cli import main; main._run = lambda options: 1 // 0; "
        "sys.exit(main.main(['run', 'true ;']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, timeout=PATIENCE)
    assert (done.returncode, b"ZeroDivisionError" in done.stderr) == (125, True), done.stderr


PRINTS = "for n in range(40_000): print(n, file=sys.{}, flush=n % 5000 == 0)"
PRINTED = "".join(f"{n}\n" for n in range(40_000)).encode()


def through_a_full_pipe(stream: str, *arguments: str) -> tuple[int, bytes]:
    """Run with a small, non-blocking pipe as this stream, read once it is full; exit code and what it got."""
    ours, theirs = os.pipe()
    fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(theirs, False)
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | {stream: theirs}
    process = subprocess.Popen([str(PROGRAM), *arguments], env=environment(), **streams)  # type: ignore[call-overload]
    wait_for(lambda: not select.select([], [theirs], [], 0)[1] or process.poll() is not None, "a full pipe")
    os.close(theirs)
    with os.fdopen(ours, "rb") as reader:
        return (reader.read(), process.wait(PATIENCE))[::-1]


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_may_be_slow_where_the_stream_does_not_block(stream: str) -> None:
    """A program that shares the pipe may have made it non-blocking; all output still arrives (R24)."""
    code, got = through_a_full_pipe(stream, "run", f"import sys\n{PRINTS.format(stream)}", *LOCAL)
    assert (code, got) == (0, PRINTED)


def test_a_result_may_be_larger_than_the_pipe() -> None:
    """The result of ``--output json`` waits for its reader as the output does (R24)."""
    arguments = ("run", f"import sys\n{PRINTS.format('stdout')}", *LOCAL, "--output", "json")
    code, got = through_a_full_pipe("stdout", *arguments)
    assert (code, json.loads(got)["output_bytes"]) == (0, len(PRINTED))


@pytest.mark.parametrize(
    ("arguments", "before", "after"),
    [
        (("-i", "import sys; print('ready', flush=True); print(sys.stdin.read())"), b"", b"typed"),
        (("-",), b"print('ready')\n", b"print('typed')"),
    ],
)
def test_a_writer_may_be_slow_where_stdin_does_not_block(
    arguments: tuple[str, ...], before: bytes, after: bytes
) -> None:
    """Nothing to read at the moment is not the end of the input, nor of the script (R24)."""
    theirs, ours = os.pipe()
    os.set_blocking(theirs, False)
    os.write(ours, before)
    command = [str(PROGRAM), "run", *LOCAL, *arguments]
    with subprocess.Popen(command, env=environment(), stdin=theirs, stdout=subprocess.PIPE) as process:
        os.close(theirs)
        with contextlib.suppress(subprocess.TimeoutExpired):  # time to read too early
            process.wait(1)
        with contextlib.suppress(BrokenPipeError):
            os.write(ours, after)
        os.close(ours)
        out, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (0, b"ready\ntyped\n")


def test_a_message_without_a_reader_changes_no_exit_code() -> None:
    """A wrong command line ends with 2 also where stderr is a broken pipe (R1)."""
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run([str(PROGRAM), "run", "missing.py"], stderr=theirs, check=False, timeout=PATIENCE)
    os.close(theirs)
    assert done.returncode == 2
