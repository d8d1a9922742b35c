"""``airflow-script run`` on this machine, as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from airflow_script_provider.cli import inputs
from tests.command_line import PROGRAM, airflow_script, environment, interrupted, started, wait_until_gone
from tests.patience import PATIENCE, with_time_to_begin

LOCAL = ("-x", "local")
SHOWS = "import json, os, sys; print(json.dumps([sys.argv[1:], os.environ.get('A')]))"


def a_file(folder: Path, text: str, name: str = "script.py") -> str:
    """A script in a file."""
    (folder / name).write_text(text)
    return str(folder / name)


def test_output_arrives_unchanged_in_its_streams(tmp_path: Path) -> None:
    """Bytes arrive unchanged in stdout and stderr; in a pipe nothing is added."""
    script = "import os; os.write(1, bytes(range(256))); os.write(2, b'no line end')"
    done = airflow_script("run", a_file(tmp_path, script), *LOCAL)
    assert (done.returncode, done.stdout, done.stderr) == (0, bytes(range(256)), b"no line end")


def test_the_exit_code_is_passed_on(tmp_path: Path) -> None:
    """The program ends with the script's exit code, and one line reports it."""
    done = airflow_script("run", a_file(tmp_path, "raise SystemExit(7)"))
    assert (done.returncode, done.stderr) == (7, b"airflow-script: script failed: exit code 7\n")


def test_death_by_signal_is_told_as_a_shell_tells_it(tmp_path: Path) -> None:
    """A script that a signal ends has exit code 128 + n, and the signal is named."""
    done = airflow_script("run", a_file(tmp_path, "kill -SEGV $$", "x.sh"))
    assert (done.returncode, b"SIGSEGV" in done.stderr) == (128 + signal.SIGSEGV, True)


@pytest.mark.parametrize("name", ["script.py", "x.sh", "script"])
@pytest.mark.parametrize("before", [b"\n", b"\xef\xbb\xbf", b"\r\n  ", b"\xef\xbb\xbf\n"])
def test_a_shebang_may_come_after_blanks(tmp_path: Path, name: str, before: bytes) -> None:
    """Blank lines, blanks or a byte order mark do not hide the program's name (R23)."""
    (tmp_path / name).write_bytes(before + b"#!/bin/bash\nset -euo pipefail\n[[ 1 == 1 ]] && echo ok\n")
    done = airflow_script("run", str(tmp_path / name), *LOCAL)
    assert (done.returncode, done.stdout) == (0, b"ok\n"), done.stderr


def test_a_script_may_have_another_encoding(tmp_path: Path) -> None:
    """Python reads its bytes as they are; without the coding line nothing is started (R24)."""
    (tmp_path / "x.py").write_bytes(b"# coding: latin-1\nprint(ascii('\xe9'))")
    assert airflow_script("run", str(tmp_path / "x.py"), *LOCAL).stdout == b"'\\xe9'\n"
    (tmp_path / "x.py").write_bytes(b"print(ascii('\xe9'))")
    done = airflow_script("run", str(tmp_path / "x.py"), *LOCAL)
    assert (done.returncode, b"is not UTF-8 text" in done.stderr) == (2, True), done.stderr


def test_death_by_a_real_time_signal_is_told_too(tmp_path: Path) -> None:
    """Such signals have numbers only; they are named by their distance from the first one."""
    done = airflow_script("run", a_file(tmp_path, "kill -37 $$", "x.sh"))
    assert (done.returncode, done.stderr) == (
        128 + 37, b"airflow-script: script was ended by SIGRTMIN+3 (exit code 165)\n"
    )  # fmt: skip


def test_args_and_environment_arrive(tmp_path: Path) -> None:
    """``--arg`` is one JSON in argv[1]; ``--env`` keeps quotes and line ends."""
    done = airflow_script("run", a_file(tmp_path, SHOWS), "--arg", "name=it's", "--env", "A=x\n\"y'")
    assert json.loads(done.stdout) == [['{"name": "it\'s"}'], "x\n\"y'"]


def test_words_after_two_dashes_are_arguments(tmp_path: Path) -> None:
    """Words after ``--`` are the script's arguments, even those that begin with ``-``."""
    done = airflow_script("run", a_file(tmp_path, SHOWS), "--", "--output", "-x", "a b")
    assert json.loads(done.stdout)[0] == ["--output", "-x", "a b"]


def test_an_env_file_is_read(tmp_path: Path) -> None:
    """``--env-file`` has Docker's format, and ``--env`` replaces its values."""
    file = a_file(tmp_path, '\ufeff# comment\n\nA="quoted" # kept\u2028and on\nB=b\n', "env")
    show = "import os; print([os.environ[name] for name in 'ABC'])"
    done = airflow_script("run", show, *LOCAL, "--env-file", file, "-e", "B=2", "-e", "C", env={"C": "ours"})
    assert done.stdout.decode().strip() == str(['"quoted" # kept\u2028and on', "2", "ours"])


def test_an_env_file_splits_only_at_line_feeds(tmp_path: Path) -> None:
    """A carriage return stays in a value, unless the line ends with it; Docker does the same (R24)."""
    (tmp_path / "env").write_bytes(b"A=x\ry\r\nB=\r\n\r\nC\r\n")
    assert inputs.env(None, [str(tmp_path / "env")], {"C": "ours"}) == {"A": "x\ry", "B": "", "C": "ours"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("hunter3secret", " is neither NAME=VALUE nor a variable of this environment"),
        ("-----END PRIVATE KEY-----", " is neither NAME=VALUE nor a variable of this environment"),
        ("hunter3/secret==", " must be NAME=VALUE, and has no legal name before ="),
        ("hunter3 secret: x='y'", " must be NAME=VALUE, and has no legal name before ="),
        ("='hunter3secret'", " must be NAME=VALUE, and has no legal name before ="),
    ],
)
def test_a_line_of_an_env_file_is_not_shown(tmp_path: Path, line: str, words: str) -> None:
    """It may be the second line of a secret, so the error has only its file and number (R26)."""
    file = a_file(tmp_path, f"# comment\nA=first\n{line}\n", "env")
    done = airflow_script("run", "echo 1", *LOCAL, "--env-file", file)
    assert (done.returncode, done.stderr.decode()) == (
        2, f"airflow-script: --env-file {file}, line 3{words}; a value has one line\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('A="x y"', "A"),
        ("A='x y' ", "A"),
        ('A="x y"  # why', "A"),
        ("A=x y\nB=\"x\"\nC='x'", "B, C"),
        ("A=x y", None),
        ('A={"a": 1}', None),
        ("A=it's", None),
        ('A="', None),
        ("A=\nB=", None),
    ],
)
def test_quotes_in_an_env_file_are_warned_of(tmp_path: Path, text: str, names: str | None) -> None:
    """A shell would remove the quotes; the warning names the variables and never their values (R26)."""
    file = a_file(tmp_path, text, "env")
    warned = inputs.warnings([file])
    expected = f"--env-file {file}: the quotes around {names} are part of the value, as with docker run --env-file; "
    assert warned == ([f"{expected}write NAME=VALUE without them"] if names else [])


def test_the_warning_of_quotes_is_shown(tmp_path: Path) -> None:
    """It is on stderr, and the value is passed as it stands."""
    file = a_file(tmp_path, "A='x y'\n", "env")
    done = airflow_script("run", "import os; print(os.environ['A'])", *LOCAL, "--env-file", file)
    assert (done.stdout, b"the quotes around A are part of the value" in done.stderr) == (b"'x y'\n", True)


def test_the_script_reads_nothing_of_our_stdin(tmp_path: Path) -> None:
    """As in a Job, stdin is empty, unless ``-i`` passes it on."""
    script = a_file(tmp_path, "import sys; print(repr(sys.stdin.read()))")
    assert airflow_script("run", script, stdin=b"text").stdout == b"''\n"
    assert airflow_script("run", script, "-i", stdin=b"text").stdout == b"'text'\n"


def test_large_input_is_passed_on_to_its_end(tmp_path: Path) -> None:
    """With ``-i`` the script gets megabytes from a pipe, and the end of the pipe."""
    script = a_file(tmp_path, "import sys, hashlib; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())")
    data = bytes(range(256)) * 12_000
    done = airflow_script("run", script, "-i", stdin=data)
    assert done.stdout.decode().strip() == __import__("hashlib").sha256(data).hexdigest()


@pytest.mark.parametrize("text", [b"", b" \n\n"])
@pytest.mark.parametrize("is_a_file", [False, True], ids=["stdin", "file"])
def test_a_script_without_anything_to_run_is_refused(tmp_path: Path, text: bytes, is_a_file: bool) -> None:
    """As in a Job: the program that should write it may have failed (R1)."""
    script = a_file(tmp_path, text.decode()) if is_a_file else "-"
    done = airflow_script("run", script, stdin=text)
    assert (done.returncode, b"script is empty" in done.stderr) == (2, True)


def test_the_script_may_come_from_stdin() -> None:
    """``-`` reads the script from stdin."""
    assert airflow_script("run", "-", stdin=b"print(6 * 7)").stdout == b"42\n"


@pytest.mark.parametrize(
    "script",
    [
        b"#!/bin/sh\nprintf '%s' 'a\rb\xc3\xa9'",
        b"#!/bin/sh\nprintf '%s' 'a\r\nb'",
        b"#!/bin/sh\nprintf '%s' 'a\xe9\rb'",
        b"#!/bin/sh\nprintf '%s' 'a\xe2\x80\xa8b'",
    ],
)
def test_a_script_is_the_same_from_a_file_from_stdin_and_as_text(tmp_path: Path, script: bytes) -> None:
    """Its bytes stay as they are: line ends, and what is not UTF-8 (R23, R24)."""
    (tmp_path / "x.sh").write_bytes(script)
    ways = [str(tmp_path / "x.sh"), "-", os.fsdecode(script)]
    for way in ways:
        done = airflow_script("run", way, *LOCAL, stdin=script if way == "-" else b"")
        assert (done.returncode, done.stdout) == (0, script.split(b"'")[3]), (way, done.stderr)


def test_json_is_the_result_on_stdout(tmp_path: Path) -> None:
    """With ``--output json`` stdout has only the result, and stderr the output."""
    script = a_file(tmp_path, "import sys; print('{\"rows\": 3}'); print('warned', file=sys.stderr); sys.exit(4)")
    done = airflow_script("run", script, "--output", "json")
    result = json.loads(done.stdout)
    seen = {name: result[name] for name in ("status", "exit_code", "value", "stdout_tail", "stderr_tail", "error")}
    assert (done.returncode, seen) == (
        4,
        {
            "status": "failed",
            "exit_code": 4,
            "value": {"rows": 3},
            "stdout_tail": '{"rows": 3}\n',
            "stderr_tail": "warned\n",
            "error": "script failed: exit code 4",
        },
    )
    assert done.stderr == b'{"rows": 3}\nwarned\nairflow-script: script failed: exit code 4\n'


@pytest.mark.parametrize("child", ["sleep 3600", "timeout 3600 sleep 3600"], ids=["one group", "a group of its own"])
def test_a_timeout_ends_the_whole_session(child: str, tmp_path: Path) -> None:
    """``--timeout`` ends the script and its children with TERM, and the exit code is 124."""
    script = f"trap 'echo ended; exit 0' TERM; {child} & echo $!; wait"
    run = ("run", a_file(tmp_path, script, "x.sh"), "--timeout")
    seconds, done = with_time_to_begin(lambda seconds: airflow_script(*run, str(seconds)), lambda run: run.stdout, 0.5)
    pid, *last_words = done.stdout.decode().split()
    assert (done.returncode, last_words) == (124, ["ended"])
    wait_until_gone(int(pid))
    assert f"ended after its timeout of {seconds:g} s" in done.stderr.decode()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGQUIT, 131)]
)
def test_whoever_ends_us_ends_the_script(tmp_path: Path, number: int, code: int) -> None:
    """Ctrl+C, SIGTERM, SIGHUP and SIGQUIT end the script; its last output is still shown."""
    script = "trap 'echo ended; exit 0' TERM; echo $$; sleep 3600 & wait"
    ended, out, _ = interrupted(started("run", a_file(tmp_path, script, "x.sh")), number)
    pid, *last_words = out.decode().split()
    assert (ended, last_words) == (code, ["ended"])
    wait_until_gone(int(pid))


def test_a_background_job_can_be_ended(tmp_path: Path) -> None:
    """A background job ignores SIGINT; SIGTERM still ends it and its script."""
    script = a_file(tmp_path, "trap 'echo ended; exit 0' TERM; echo $$; sleep 3600 & wait", "x.sh")
    shell = '"$0" run "$1" & pid=$!; read go; kill -TERM $pid; wait $pid'
    job = subprocess.Popen(
        ["sh", "-c", shell, str(PROGRAM), script], env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert job.stdout is not None
    pid = job.stdout.readline()
    out, _ = job.communicate(b"go\n", timeout=PATIENCE)
    assert (job.returncode, out) == (128 + signal.SIGTERM, b"ended\n")
    wait_until_gone(int(pid))


def test_nohup_is_heeded(tmp_path: Path) -> None:
    """A program that nohup starts goes on after SIGHUP."""
    script = a_file(tmp_path, "echo up; sleep 1; echo over", "x.sh")
    command = ["sh", "-c", 'trap "" HUP; exec "$0" run "$1"', str(PROGRAM), script]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert interrupted(process, signal.SIGHUP) == (0, b"up\nover\n", b"")


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """The script's children and its folder are gone after the run."""
    script = a_file(tmp_path, "sleep 3600 & echo $!; echo $0", "x.sh")
    done = airflow_script("run", script, env={"TMPDIR": str(tmp_path)})
    child, path = done.stdout.decode().split()
    wait_until_gone(int(child))
    assert Path(path).parent.parent == tmp_path
    assert not Path(path).parent.exists()


def test_the_script_is_where_it_says_it_is(tmp_path: Path) -> None:
    """The path that a script is run by is its resolved path, also if the temporary folder is a link."""
    (tmp_path / "link").symlink_to(tmp_path)
    script = a_file(tmp_path, 'echo "$0"; readlink -f "$0"', "x.sh")
    done = airflow_script("run", script, env={"TMPDIR": str(tmp_path / "link")})
    path, resolved = done.stdout.decode().split()
    assert path == resolved


def test_a_reader_that_goes_away_ends_the_script(tmp_path: Path) -> None:
    """``airflow-script … | head -1`` ends at once, without a traceback."""
    script = a_file(tmp_path, "import time\nfor n in range(10**6): print(n, flush=True); time.sleep(0.01)")
    process = started("run", script)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"0\n"
    process.stdout.close()
    assert (process.wait(PATIENCE), process.stderr.read()) == (128 + signal.SIGPIPE, b"")
    process.stderr.close()


@pytest.mark.parametrize(
    "arguments", [("run", "print(1); print(2)", "--output", "json"), ("render", "print(1); print(2)", "-n", "x")]
)
def test_nobody_reads_what_is_printed_at_the_end(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """``… --output json | true`` and ``render | true`` end without a traceback."""
    process = started(*arguments)
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, b"Traceback" in err) == (128 + signal.SIGPIPE, False), err


def onto_a_full_disk(*arguments: str) -> tuple[int, str]:
    """Run with a full disk as stdout; return exit code and last line of stderr."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [str(PROGRAM), *arguments],
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            timeout=PATIENCE,
        )
    return done.returncode, done.stderr.decode().splitlines()[-1]


def test_a_full_disk_ends_the_script(tmp_path: Path) -> None:
    """A full disk ends the script; one line says why, and the exit code is 125."""
    endless = a_file(tmp_path, "import time\nprint(1, flush=True)\ntime.sleep(300)")
    said = "airflow-script: {}: No space left on device"
    assert onto_a_full_disk("run", endless) == (125, said.format("stdout"))
    done = airflow_script("run", endless, "--log-file", "/dev/full")
    assert (done.returncode, done.stderr.decode().strip()) == (125, said.format("/dev/full"))


def test_a_result_that_cannot_be_written_is_said() -> None:
    """A full disk is also reported for the result of ``--output json``."""
    ended = onto_a_full_disk("run", "print(1); print(2)", "--output", "json")
    assert ended == (125, "airflow-script: stdout: No space left on device")


def test_too_much_for_this_machine_is_said(tmp_path: Path) -> None:
    """An environment that is too large gives one line, not a traceback."""
    file = a_file(tmp_path, "".join(f"A{n}={'x' * 120_000}\n" for n in range(3)), "env")
    run = 'ulimit -s 256; exec "$0" run "$1" -x local --env-file "$2"'
    command = ["sh", "-c", run, str(PROGRAM), a_file(tmp_path, "pass"), file]
    done = subprocess.run(command, env=environment(), capture_output=True, check=False, timeout=PATIENCE)
    words = b"airflow-script: this machine cannot start 'python3': Argument list too long\n"
    assert (done.returncode, done.stderr) == (125, words)


def test_the_log_file_keeps_output_and_notes(tmp_path: Path) -> None:
    """``--log-file`` keeps the output and the notes."""
    script = a_file(tmp_path, "import sys; print('out', flush=True); print('err', file=sys.stderr); sys.exit(1)")
    log = tmp_path / "log"
    done = airflow_script("run", script, "--log-file", str(log))
    assert log.read_bytes() == done.stdout + done.stderr == b"out\nerr\nairflow-script: script failed: exit code 1\n"


def test_the_working_directory_is_entered(tmp_path: Path) -> None:
    """The script starts in the folder of ``--workdir``."""
    done = airflow_script("run", "pwd ; true", "--interpreter", "sh", "-w", str(tmp_path))
    assert done.stdout.decode() == f"{tmp_path}\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run"], 2, "SCRIPT is missing"),
        (["run", "missing.py"], 2, "SCRIPT 'missing.py' is neither a file, a task nor a URI"),
        (["run", "true", "-x", "moon"], 2, "invalid choice: 'moon'"),
        (["run", "echo 1", "--args", "{"], 2, "--args is not valid JSON"),
        (["run", "echo 1", "--args", "[" * 100_000], 2, "--args is not valid JSON: it is nested too deeply"),
        (["run", "echo 1", "--arg", "a"], 2, "--arg must be NAME=VALUE"),
        (["run", "echo 1", "--arg", "a=1", "--", "x"], 2, "exclude arguments after --"),
        (["run", "echo 1", "-e", "NOT_SET_HERE"], 2, "NOT_SET_HERE is not set in this environment"),
        (["run", "echo 1", "-x", "local", "--deployment", "d"], 2, "--deployment only works with kubernetes"),
        (["run", "echo 1", "--timeout", "0"], 2, "0 is not a finite number above 0"),
        (["run", "echo 1", "--timeout", "1m"], 2, "'1m' is not a number of seconds"),
        (["run", "echo 1", "--interpreter", "sh '"], 2, "--interpreter sh ' cannot be split into words"),
        (["run", "echo 1", "--image", "x", "-c", "y"], 2, "--image and --container exclude each other"),
        (["run", "echo 1", "-t"], 2, "-t needs a terminal on stdin"),
        (["run", "echo 1", "--log-file", "/nowhere/log"], 2, "--log-file /nowhere/log cannot be written"),
        (["run", "-f", "/nowhere.yaml"], 2, "/nowhere.yaml cannot be read: No such file or directory"),
        (["run", "x", "--flavor", "y"], 2, "--flavor needs a task file"),
        (
            ["run", "x y", "--interpreter", "nothing-of-that-name"],
            125,
            "command not found on this machine: 'nothing-of-that-name'",
        ),
        (["run", "x y", "-x", "local", "-w", "/nowhere"], 125, "no such directory on this machine: '/nowhere'"),
        (["run", "x y", "-x", "kubernetes"], 125, "'kubernetes' is not available: no Deployment is set"),
        (["run", "x y", "-x", "container"], 125, "'container' is not available: no container is set"),
    ],
)
def test_errors_are_one_line(tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    """Misuse is exit code 2, a failed start 125, each with one line of advice."""
    done = airflow_script(*arguments, folder=tmp_path)
    said = done.stderr.decode()
    assert (done.returncode, words in said, said.count("\n"), done.stdout) == (code, True, 1, b"")


def test_no_engine_is_said_with_its_address() -> None:
    """The error names the address of the Docker engine that does not answer."""
    done = airflow_script("run", "true ;", "-x", "container", "--image", "x", env={"DOCKER_HOST": "unix:///nowhere"})
    assert (done.returncode, b"no Docker engine answers at unix:///nowhere" in done.stderr) == (125, True)


def test_a_local_run_does_not_import_airflow(tmp_path: Path) -> None:
    """A local run imports neither Airflow nor a client of Kubernetes or Docker."""
    program = (
        "import sys; from airflow_script_provider.cli.main import main; code = main(sys.argv[1:]); "
        "loaded = sorted({'airflow', 'kubernetes_asyncio', 'aiohttp', 'docker', 'rich'} & set(sys.modules)); "
        "print(loaded, code, file=sys.stderr)"
    )
    command = [sys.executable, "-c", program, "run", a_file(tmp_path, "print('ran')")]
    done = subprocess.run(command, capture_output=True, check=True, cwd=tempfile.gettempdir())
    assert (done.stdout, done.stderr) == (b"ran\n", b"[] 0\n")
