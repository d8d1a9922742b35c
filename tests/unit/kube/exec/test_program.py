"""The code that is sent through stdin, run by this machine's shells."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_script_provider.kube.exec import program as stdin_program
from airflow_script_provider.kube.exec.own_lines import OwnLines, RemoteProcess
from airflow_script_provider.kube.exec.program import Invocation, encode
from airflow_script_provider.kube.request import interpreters
from airflow_script_provider.kube.request.payload import Payload
from airflow_script_provider.script import Script
from tests.builders import a_script

SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]
EVERY_CHARACTER = "".join(map(chr, range(1, 0x250))) + "'\"$(id)`\\\n\n"
SHOWS = "import json, os, sys\nprint(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd(), sys.stdin.read()]))\n"


@dataclass(frozen=True)
class Ended:
    """The end of a program, and its output without our lines."""

    code: int
    out: bytes
    err: str
    own_lines: OwnLines


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder of programs in which ``sh`` is this shell."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = shutil.which(request.param)
    is_busybox = request.param == "busybox"
    for name in ("sh", "head", "mkdir", "rm", "sleep", "stty", "dd"):
        (folder / name).symlink_to(str(program) if is_busybox or name == "sh" else str(shutil.which(name)))
    for name in ("python3", "node", "perl", "bash"):
        (folder / name).symlink_to(sys.executable if name == "python3" else str(shutil.which(name)))
    return str(folder)


def an_invocation(script: str | Script = SHOWS, **changes: Any) -> Invocation:
    """A Python script without arguments."""
    values: dict[str, Any] = {"interpreter": None, "payload": Payload()} | changes
    script = a_script(script) if isinstance(script, str) else script
    interpreter = interpreters.choose(script, "python:3.11-slim", values.pop("interpreter"))
    return Invocation.of_script(script, interpreter, values.pop("payload"), **values)


def started(shell: str, data: bytes, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start the constant program with this stdin, which stays open, in its own group."""
    program = stdin_program.argv()
    process = subprocess.Popen(
        [f"{shell}/sh", *program[1:]], env={"PATH": shell} | dict(env or {}), start_new_session=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(data)
    process.stdin.flush()
    return process


def run(shell: str, invocation: Invocation, env: Mapping[str, str] | None = None) -> Ended:
    """Run to the end; stdin is not closed before."""
    process = started(shell, encode(invocation), env)
    assert process.stdout is not None
    out = process.stdout.read()
    _, err = process.communicate()
    own_lines = OwnLines(invocation.nonce)
    shown = (own_lines.feed(out) if out else b"") + own_lines.rest()
    assert not left_over(invocation)
    return Ended(process.returncode, shown, err.decode(), own_lines)


def left_over(invocation: Invocation) -> list[Path]:
    """The files that an invocation has left."""
    return [path for folder in ("/dev/shm", "/tmp") if (path := Path(folder) / invocation.folder_name).exists()]


def test_script_and_arguments_arrive_byte_for_byte(shell: str) -> None:
    """Any character but NUL arrives in arguments, environment and script (R24)."""
    payload = Payload.of([EVERY_CHARACTER], None, {"ALL": EVERY_CHARACTER, "EMPTY": ""})
    text = f"import os, sys, json\nassert json.loads(sys.argv[1]) == [os.environ['ALL']] == [{EVERY_CHARACTER!r}]\n"
    ended = run(shell, an_invocation(text + "print(os.environ['EMPTY'] + 'same')", payload=payload))
    assert (ended.code, ended.out) == (0, b"same\n"), ended.err


def test_files_are_any_bytes(shell: str) -> None:
    """Also those that are no text, in any order (R24)."""
    data = bytes(range(256)) + bytes(reversed(range(256))) + b"'\\\n\n"
    files = {"key.p12": Script.from_bytes(data, origin="x", name="x")}
    text = "import os\nprint(open(os.environ['AIRFLOW_SCRIPT_FILES'] + '/key.p12', 'rb').read().hex())"
    ended = run(shell, an_invocation(text, files=files))
    assert ended.out.decode().strip() == data.hex(), ended.err


@pytest.mark.parametrize("with_files", [False, True])
def test_a_script_may_have_another_encoding(shell: str, with_files: bool) -> None:
    """The first lines of a Python script name it (R24)."""
    data = b"# -*- coding: latin-1 -*-\nprint(ascii('\xe9'))\n"
    script = Script.from_bytes(data, origin="x", name="x.py")
    ended = run(shell, an_invocation(script, files={"a": a_script("a")} if with_files else {}))
    assert (ended.code, ended.out) == (0, b"'\\xe9'\n"), ended.err


def test_a_script_may_be_an_archive(shell: str) -> None:
    """Python finds the modules in it by its path (R24)."""
    archive = io.BytesIO(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(archive, "a") as packed:
        packed.writestr("__main__.py", "import inner")
        packed.writestr("inner.py", "print('packed')")
    ended = run(shell, an_invocation(Script.from_bytes(archive.getvalue(), origin="x", name="app.pyz")))
    assert (ended.code, ended.out) == (0, b"packed\n"), ended.err


@pytest.mark.parametrize(
    ("text", "out"),
    [
        ("\n#!/bin/bash\nset -euo pipefail\n[[ 1 == 1 ]] && echo ok\n", b"ok\n"),
        ("\n    #!/bin/bash\n    read -r x <<X\n    ok\n    X\n    echo $x", b"ok\n"),
        ("\ufeff#!/bin/bash\n[[ 1 == 1 ]] && echo ok", b"ok\n"),
        ("\n    #!/usr/bin/env python3\n    if 1:\n        print('ok')\n", b"ok\n"),
        ("\n#!/usr/bin/env node\nconsole.log('ok')", b"ok\n"),
        ("\ufeff#!/usr/bin/env node\nconsole.log('ok')", b"ok\n"),
        ("\ufeffprint('ok')", b"ok\n"),
    ],
)
def test_a_shebang_may_come_after_blanks(shell: str, text: str, out: bytes) -> None:
    """The program that the ``#!`` line names runs the script, which it understands (R23)."""
    ended = run(shell, an_invocation(a_script(text).as_run()))
    assert (ended.code, ended.out) == (0, out), ended.err


def test_each_argument_is_one_word(shell: str) -> None:
    """Arguments are not split, joined or read as options (R24)."""
    words = ["-n", "", "a b", "it's", '"', "$HOME", "*", "ünï", "a\nb"]
    ended = run(shell, an_invocation(SHOWS, payload=Payload.of(None, words, None)))
    assert json.loads(ended.out)[0] == words


def test_environment_is_the_containers_and_the_callers(shell: str) -> None:
    """The caller's variables replace the container's, and stdin is empty."""
    ended = run(shell, an_invocation(payload=Payload.of(None, None, {"A": "ours"})), {"A": "theirs", "B": "theirs"})
    _, environment, _, stdin = json.loads(ended.out)
    assert (environment["A"], environment["B"], stdin) == ("ours", "theirs", "")


def test_variables_of_the_container_keep_their_values(shell: str) -> None:
    """Variables of the container with short names also keep their values."""
    theirs = dict.fromkeys("abcdefghijklmnopqrstuvwxyz", "theirs")
    environment = json.loads(run(shell, an_invocation(), theirs).out)[1]
    assert {name: environment[name] for name in theirs} == theirs


def test_nothing_of_ours_is_in_the_environment(shell: str) -> None:
    """The script sees no variable of our code."""
    environment = json.loads(run(shell, an_invocation()).out)[1]
    assert not [name for name in environment if name.lower().startswith("airflow")]


def test_arguments_alone_are_no_json(shell: str) -> None:
    """Without args and arguments the script gets no argument."""
    assert json.loads(run(shell, an_invocation()).out)[0] == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("s.sh", 'printf "%s" "$1"'),
        ("s.bash", 'printf "%s" "${@:1:1}"'),
        ("s.pl", "print $ARGV[0]"),
        ("s.js", "process.stdout.write(process.argv[2])"),
        ("s.mjs", "import process from 'node:process'; process.stdout.write(process.argv[2])"),
    ],
)
def test_languages(shell: str, name: str, text: str) -> None:
    """Every interpreter reads its script, from the open file or from the folder."""
    invocation = an_invocation(a_script(text, name=name), payload=Payload.of({"a": 1}, None, None))
    ended = run(shell, invocation)
    assert (ended.code, ended.out) == (0, b'{"a": 1}'), ended.err


def test_python_imports_nothing_from_a_shared_folder(shell: str) -> None:
    """Python first imports from a folder that other users cannot write to."""
    ended = run(shell, an_invocation("import sys; print(sys.path[0])"))
    assert Path(ended.out.decode().strip()).name.startswith("airflow-script-")


def test_a_traceback_shows_the_scripts_lines(shell: str) -> None:
    """Python's traceback shows lines of a script whose file was removed."""
    assert "1 / 0  # here" in run(shell, an_invocation("1 / 0  # here")).err


def test_files_lie_beside_the_script(shell: str) -> None:
    """Import and the variable find the files, whose bytes are unchanged, even NUL."""
    text = "import os, lib.util; print(open(os.environ['AIRFLOW_SCRIPT_FILES'] + '/a b.txt').read() == lib.util.text)"
    files = {"lib/util.py": a_script("text = 'x\\0y\\n\\n'\n"), "a b.txt": a_script("x\0y\n\n")}
    ended = run(shell, an_invocation(text, files=files))
    assert (ended.code, ended.out) == (0, b"True\n"), ended.err


def test_a_file_of_many_nuls(shell: str) -> None:
    """A file of many NULs is written, as UTF-16 text has."""
    once = r"x\0\c%s" + "\0" + "7'\n"
    script = f"import os; print(open(os.environ['AIRFLOW_SCRIPT_FILES'] + '/data').read() == {once!r} * 60_000)"
    ended = run(shell, an_invocation(script, files={"data": a_script(once * 60_000)}))
    assert (ended.code, ended.out) == (0, b"True\n"), ended.err


def test_a_command_needs_no_script(shell: str) -> None:
    """A command runs with arguments, environment and folder, and leaves no folder."""
    command = ["python3", "-c", SHOWS]
    ended = run(shell, Invocation(command, Payload.of(None, None, {"A": "1"}), working_dir="/usr"))
    assert json.loads(ended.out)[1]["A"] == "1"
    assert json.loads(ended.out)[2] == "/usr"


def test_command_finds_its_files(shell: str) -> None:
    """The variable leads a command to its files."""
    command = ["sh", "-c", 'read -r line < "$AIRFLOW_SCRIPT_FILES/x"; echo "$line"']
    assert run(shell, Invocation(command, files={"x": a_script("found\n")})).out == b"found\n"


@pytest.mark.parametrize("files", [{}, {"x": a_script("x")}], ids=["open file", "folder"])
@pytest.mark.parametrize(
    ("script", "code", "out"),
    [
        ("raise SystemExit(7)", 7, b""),
        ("pass", 0, b""),
        ("import sys; sys.stdout.write('no line end')", 0, b"no line end"),
        ("import os; os.close(1); os.close(2)", 0, b""),
        ("import os; os.kill(os.getpid(), 9)", 137, b""),
        ("import os; os.kill(os.getpid(), 15)", 143, b""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGRTMIN)", 128 + 34, b""),
        ("import os, time\nif not os.fork(): time.sleep(.5); print('late')", 0, b"late\n"),
    ],
    ids=["code", "silent", "no line end", "closes stdout", "KILL", "TERM", "real time", "descendant"],
)
def test_the_shell_reports_the_exit_code(
    shell: str, script: str, code: int, out: bytes, files: dict[str, Script]
) -> None:
    """The exit code passes through and is reported; nothing of the report is in the output (R1, R22)."""
    ended = run(shell, an_invocation(script, files=files))
    assert (ended.code, ended.own_lines.exit_code, ended.out, ended.err) == (code, code, out, "")


def test_a_shell_that_dies_reports_nothing(shell: str) -> None:
    """If the shell is killed beside its program, no exit code is reported (R1)."""
    ended = run(shell, an_invocation("import os; os.killpg(0, 9)"))
    assert (ended.code, ended.own_lines.exit_code) == (-9, None)


@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "ALRM", "PIPE"])
def test_a_signal_to_the_group_leaves_the_shell(shell: str, name: str) -> None:
    """A script may signal its own group, as one that reloads its children does (R1, R22)."""
    script = f"import os, signal\nsignal.signal(signal.SIG{name}, lambda *_: None)\nos.killpg(0, signal.SIG{name})\n"
    ended = run(shell, an_invocation(script + "raise SystemExit(3)"))
    assert (ended.code, ended.own_lines.exit_code, ended.out, ended.err) == (3, 3, b"", "")
    assert ended.own_lines.got_sigterm == (name == "TERM")


def test_a_script_ignores_no_signal(shell: str) -> None:
    """It would inherit what our shell ignores, and live on where it should end."""
    script = (
        "#!/bin/sh\nwhile read -r name value; do case $name in SigIgn:) echo $value;; esac; done </proc/self/status\n"
    )
    ignored = int(run(shell, an_invocation(script)).out, 16)
    trapped = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGPIPE)
    assert not ignored & sum(1 << (number - 1) for number in trapped)


def test_a_closed_stdout_ends_the_shell(shell: str) -> None:
    """The connection is gone then, and no later try of the report can reach it (R27)."""
    script = "import time; print('up', flush=True); time.sleep(0.2)"
    invocation = an_invocation(script, files={"x": a_script("x")})
    process = started(shell, encode(invocation))
    announced(process, invocation)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=2) == -signal.SIGPIPE
    process.communicate()


def test_a_full_stdout_that_does_not_block_loses_no_report(shell: str) -> None:
    """A program may leave stdout full and non-blocking, as Node.js does; the report waits (R1)."""
    script = (
        "import os\nos.set_blocking(1, False)\ntry:\n  while True: os.write(1, b'x' * 4096)\nexcept OSError: pass\n"
    )
    invocation = an_invocation(script)
    process = started(shell, encode(invocation))
    assert process.stdout is not None
    assert process.stderr is not None
    time.sleep(0.5)  # the report fails meanwhile
    own_lines = OwnLines(invocation.nonce)
    shown = own_lines.feed(process.stdout.read()) + own_lines.rest()
    assert (own_lines.exit_code, set(shown), process.stderr.read()) == (0, set(b"x"), b"")
    process.communicate()


@pytest.mark.parametrize("files", [{}, {"x": a_script("x")}], ids=["open file", "folder"])
def test_missing_interpreter_is_127(shell: str, files: dict[str, Script]) -> None:
    """A missing interpreter ends with 127 and is named, as in a shell."""
    ended = run(shell, an_invocation(interpreter=["php"], files=files))
    assert ended.code == 127
    assert "php" in ended.err


def test_missing_working_dir_is_told(shell: str) -> None:
    """Nothing starts if the folder does not exist."""
    ended = run(shell, an_invocation(working_dir="/no/such"))
    assert (ended.code, ended.out, ended.own_lines.failure) == (stdin_program.NOT_STARTED, b"", "working_dir")


def test_stdin_that_breaks_off_runs_nothing(shell: str) -> None:
    """No prefix of the code runs, wherever stdin breaks off (R1, R36)."""
    data = encode(an_invocation("print('ran')", payload=Payload.of(None, ["a", "b"], None)))
    for missing in (1, 2, 3, 10, 40, 100, 1000):
        process = started(shell, data[:-missing])
        out, _ = process.communicate()
        assert (out, process.returncode == 0) == (b"", False), missing


def test_code_that_cannot_be_read_is_no_success(shell: str) -> None:
    """If head is missing or killed, nothing runs, and the exit code is not 0 (R1, R36)."""
    (Path(shell) / "head").unlink()
    (Path(shell) / "head").symlink_to(str(shutil.which("false")))
    ended = run(shell, an_invocation("print('ran')"))
    assert (ended.code, ended.out, ended.own_lines.is_silent) == (127, b"", True)


def test_kept_stdin_is_the_scripts(shell: str) -> None:
    """The script's stdin is everything after the announcement."""
    invocation = an_invocation("print(input())", keeps_stdin=True)
    process, own_lines = started(shell, encode(invocation)), OwnLines(invocation.nonce)
    assert process.stdout is not None
    while not own_lines.has_begun:
        own_lines.feed(process.stdout.read1())  # type: ignore[attr-defined]  # a buffered reader
    assert own_lines.feed(process.communicate(b"typed\n")[0]) == b"typed\n"


def test_no_value_is_in_any_command_line(shell: str) -> None:
    """No command line of the exec or its processes has a value of env (R26)."""
    script = "import pathlib\nfor p in pathlib.Path('/proc').glob('[0-9]*/cmdline'):\n  print(p.read_bytes())"
    ended = run(shell, an_invocation(script, payload=Payload.of(None, None, {"A": "very-secret"})))
    assert b"very-secret" not in ended.out
    constant = 'IFS= read -r airflow_size && eval "$(head -c "$airflow_size" || echo exit 127)"'
    assert stdin_program.argv() == ["sh", "-c", constant]


def without_our_lines(invocation: Invocation, end: bytes) -> bytes:
    """The end of an output, after our first line."""
    own_lines = OwnLines(invocation.nonce)
    own_lines.skip_first()
    return (own_lines.feed(end) + own_lines.rest()).strip()


def announced(process: subprocess.Popen[bytes], invocation: Invocation) -> RemoteProcess:
    """The process that the program announces, once the script has printed."""
    assert process.stdout is not None
    own_lines = OwnLines(invocation.nonce)
    shown = b""
    while b"up" not in shown:
        shown += own_lines.feed(process.stdout.read1())  # type: ignore[attr-defined]  # a buffered reader
    assert own_lines.process is not None
    return own_lines.process


def ends(shell: str, command: list[str]) -> str:
    """The output of the program that ends or checks a process."""
    done = subprocess.run([f"{shell}/sh", *command[1:]], env={"PATH": shell}, capture_output=True, check=True)
    assert not done.stderr
    return done.stdout.decode().strip()


WAITS = """import subprocess, signal, sys
{first}
child = subprocess.Popen(['sleep', '60'])
print('up', flush=True)
child.wait()
"""


@pytest.mark.parametrize("files", [{}, {"x": a_script("x")}], ids=["open file", "folder"])
@pytest.mark.parametrize(
    ("first", "said"), [("", "ended"), ("signal.signal(signal.SIGTERM, signal.SIG_IGN)", "killed")]
)
def test_the_whole_group_ends(shell: str, files: dict[str, Script], first: str, said: str) -> None:
    """TERM ends script and children, KILL those that ignore it; no folder stays (R27)."""
    invocation = an_invocation(WAITS.format(first=first), files=files)
    process = started(shell, encode(invocation))
    remote = announced(process, invocation)
    assert ends(shell, stdin_program.check_argv(remote)) == "running"
    assert ends(shell, stdin_program.end_argv(remote, invocation, 0.2)) == said
    out, err = process.communicate()
    assert (without_our_lines(invocation, out), err) == (b"", b""), "the shell tells nothing of the signal"
    assert ends(shell, stdin_program.check_argv(remote)) == "gone"
    assert not left_over(invocation)


@pytest.mark.parametrize("ignored", [False, True], ids=["ended", "killed"])
def test_a_child_with_a_group_of_its_own_ends_as_well(shell: str, ignored: bool) -> None:
    """Programs such as ``timeout`` lead a group of their own in the script's session (R2, R27)."""
    first = "import os; signal.signal(signal.SIGTERM, signal.SIG_IGN)" if ignored else "import os"
    script = WAITS.format(first=first).replace("'60']", "'60'], preexec_fn=os.setpgrp")
    invocation = an_invocation(script)
    process = started(shell, encode(invocation))
    remote = announced(process, invocation)
    assert ends(shell, stdin_program.end_argv(remote, invocation, 0.2)) == ("killed" if ignored else "ended")
    process.communicate(timeout=2)  # the child would hold the output open
    assert ends(shell, stdin_program.check_argv(remote)) == "gone"


def test_a_child_that_outlives_the_script_in_a_group_of_its_own_is_running(shell: str) -> None:
    """Work goes on there, so a retry would run beside it (R2, R36)."""
    script = "import os, subprocess\nchild = subprocess.Popen(['sleep', '60'], preexec_fn=os.setpgrp)\nprint('up')"
    invocation = an_invocation(script)
    process = started(shell, encode(invocation))
    remote = announced(process, invocation)
    process.wait()
    assert ends(shell, stdin_program.check_argv(remote)) == "running"
    assert ends(shell, stdin_program.end_argv(remote, invocation, 5)) == "ended"
    process.communicate(timeout=2)


def test_each_group_gets_a_signal_once(shell: str) -> None:
    """A script counts the signals that it gets, whatever number of children it has (R27)."""
    first = (
        "import time; got = []; signal.signal(signal.SIGTERM, lambda *_: got.append(1))\n"
        "[subprocess.Popen(['sleep', '0.3']) for _ in range(3)]"
    )
    script = WAITS.format(first=first).replace("'60'", "'0.3'") + "time.sleep(0.5)\nprint(len(got))"
    invocation = an_invocation(script)
    process = started(shell, encode(invocation))
    remote = announced(process, invocation)
    assert ends(shell, stdin_program.end_argv(remote, invocation, 5)) == "ended"
    assert without_our_lines(invocation, process.communicate()[0]) == b"1"


def test_script_that_handles_term_clears_up_and_its_code_counts(shell: str) -> None:
    """A script with a folder also has its grace period and its own exit code (R27)."""
    first = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))"
    invocation = an_invocation(WAITS.format(first=first), files={"x": a_script("x")})
    process = started(shell, encode(invocation))
    remote = announced(process, invocation)
    assert ends(shell, stdin_program.end_argv(remote, invocation, 5)) == "ended"
    process.communicate()
    assert process.returncode == 9


def test_another_process_of_that_number_is_left_alone(shell: str) -> None:
    """A process that has got the same number is not ended."""
    invocation = an_invocation(WAITS.format(first=""))
    process = started(shell, encode(invocation))
    remote = announced(process, invocation)
    assert ends(shell, stdin_program.end_argv(remote._replace(started=1), invocation, 0)) == "gone"
    os.killpg(remote.group, signal.SIGKILL)
    process.communicate()


def test_too_much_is_refused() -> None:
    """Script and files have a size limit (R25)."""
    with pytest.raises(ValueError, match="Put large data onto a volume"):
        an_invocation("x" * (stdin_program.MAX_SENT + 1))


def test_names_that_a_shell_cannot_set_are_refused() -> None:
    """In a running container a shell sets the variables (R26)."""
    with pytest.raises(ValueError, match=r"env has an illegal name 'a\.b': .* because a shell sets the variables"):
        an_invocation(payload=Payload.of(None, None, {"a.b": "x"}))


def test_files_cannot_leave_the_folder() -> None:
    """A path out of the folder, or the script's own path, is refused by name."""
    for path in ("../x", "/x", "script.py"):
        with pytest.raises(ValueError, match="files has"):
            an_invocation(files={path: a_script("x")})


def test_a_terminal_shows_nothing_of_the_code(shell: str) -> None:
    """A terminal does not show the code, and has its old settings afterwards."""
    invocation = an_invocation("import os; print(input(), os.isatty(0))", keeps_stdin=True)
    ours, theirs = os.openpty()
    program = [f"{shell}/sh", *stdin_program.argv(terminal=True)[1:]]
    process = subprocess.Popen(
        program, env={"PATH": shell}, start_new_session=True, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    own_lines, shown, to_send = OwnLines(invocation.nonce), b"", [b"typed\n", encode(invocation)]
    while own_lines.exit_code is None:
        shown += own_lines.feed(os.read(ours, 4096))
        if (own_lines.is_ready and len(to_send) == 2) or (own_lines.has_begun and to_send):
            threading.Thread(target=_write_all, args=(ours, to_send.pop())).start()
    assert (process.wait(), own_lines.exit_code) == (0, 0)
    assert shown.replace(b"\r\n", b"\n").strip() == b"typed\ntyped True", "a terminal shows what is typed"
    os.close(ours)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
