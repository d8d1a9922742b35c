"""Run a program in a running container, and send its script, values and files through stdin.

The command line of an exec stands in the API server's audit log and in ``ps``. So it is a
constant, ``argv``, which reads a number of bytes from stdin and runs them as shell code.
``encode`` makes that code. The code announces its process, sets folder and environment, runs the
script's interpreter, and reports its exit code. It never waits for the end of stdin, because the
older protocol of Kubernetes has none. It works with dash, busybox's sh and bash, and needs
``head``, ``mkdir`` and ``rm``.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Self

from airflow_script_provider.kube.exec.own_lines import RemoteProcess
from airflow_script_provider.kube.request.interpreters import Interpreter
from airflow_script_provider.kube.request.payload import Payload
from airflow_script_provider.kube.request.provision import program
from airflow_script_provider.kube.request.sizes import check_files, is_archive
from airflow_script_provider.kube.syntax import check_shell_names
from airflow_script_provider.script import Script

_SHELL_SETS = ", because a shell sets the variables in a running container"
MAX_SENT = 16 * 1024 * 1024
"""Bytes that script and files may have together; the shell keeps some copies of them in memory."""
FILES_VARIABLE = "AIRFLOW_SCRIPT_FILES"
"""Environment variable that names the folder of the files, for script and command."""
NOT_STARTED = 125
"""Exit code of our code if it cannot start the program; ``OwnLines.failure`` says why."""

# If stdin breaks off, the code is an incomplete command, and the shell runs nothing of it. Without
# head, eval would run nothing and succeed. The variable has a name of ours, because a variable of
# the container would be changed for the program.
_PROGRAM = 'IFS= read -r airflow_size && eval "$(head -c "$airflow_size" || echo exit 127)"'
# A terminal would show the code and cut its lines. There, bash's read takes more than one line,
# and busybox' head takes more bytes than it is asked for. So dd reads the length, and nothing may
# follow the code before the code has announced itself.
_TERMINAL_PROGRAM = (
    "airflow_tty=$(stty -g) && stty raw -echo && printf 'airflow-script ready\\n' && "
    'airflow_size=$(dd bs=1 count=10 2>/dev/null) && airflow_code=$(head -c "$airflow_size") && '
    'stty "$airflow_tty" && eval "$airflow_code"'
)
# These interpreters can read a file that was removed after it was opened. Node.js looks for the
# file's real path.
_READ_OPEN_FILES = frozenset(["python", "sh", "dash", "ash", "bash", "perl", "ruby", "psql"])


@dataclass(frozen=True)
class Invocation:
    """What runs: ``argv``, then the script's path if there is one, then the payload's arguments.

    With ``keeps_stdin`` the process reads what is sent after its announcement. Without it, stdin
    is empty. ``nonce`` marks the announcement, and names the folder. A command has no
    ``interpreter``.
    """

    argv: Sequence[str]
    payload: Payload = field(default_factory=Payload)
    script: Script | None = None
    script_file: str = "script"
    files: Mapping[str, Script] = field(default_factory=dict)
    working_dir: str | None = None
    keeps_stdin: bool = False
    interpreter: Interpreter | None = None
    nonce: str = field(default_factory=lambda: secrets.token_hex(16))

    def __post_init__(self) -> None:
        _check_files(self)
        check_shell_names(self.payload.environment, "env", _SHELL_SETS)
        folder = self.working_dir
        if folder is not None and (not isinstance(folder, str) or not folder or "\0" in folder):
            raise ValueError(f"working_dir={folder!r} is not a path")

    @classmethod
    def of_script(
        cls,
        script: Script,
        interpreter: Interpreter,
        payload: Payload,
        *,
        files: Mapping[str, Script] | None = None,
        working_dir: str | None = None,
        keeps_stdin: bool = False,
    ) -> Self:
        """Run a script with an interpreter, which was chosen for the container."""
        if interpreter.chosen_by != "default":  # the container's image may still choose another
            interpreter.check_encoding(script)
        return cls(
            interpreter.argv,
            payload,
            script,
            interpreter.script_file(script),
            files or {},
            working_dir,
            keeps_stdin,
            interpreter=interpreter,
        )

    @property
    def folder_name(self) -> str:
        """Name of the private folder.

        It is made in /dev/shm or in a folder for temporary files.
        """
        return f"airflow-script-{self.nonce}"

    @property
    def has_folder(self) -> bool:
        """Whether the folder exists while the program runs; otherwise it is removed before."""
        needs_file_name = self.interpreter is not None and self.interpreter.program not in _READ_OPEN_FILES
        return bool(self.files) or needs_file_name or (self.script is not None and is_archive(self.script))


def argv(*, terminal: bool = False) -> list[str]:
    """The command line of the exec. It is the same for every run.

    With ``terminal``, the code may only be sent after ``OwnLines.is_ready``.
    """
    return ["sh", "-c", _TERMINAL_PROGRAM if terminal else _PROGRAM]


def encode(invocation: Invocation) -> bytes:
    """The bytes for stdin: a line of ten bytes with the code's length, then the code.

    The code contains every secret value of the invocation.
    """
    code = b"\n".join([b"{", *_code_lines(invocation), b"}"])
    return b"%09d\n%s" % (len(code), code)


def end_argv(process: RemoteProcess, invocation: Invocation, grace: float) -> list[str]:
    """The command line of the exec that ends a process and its session.

    It sends TERM, and KILL after ``grace`` seconds, and removes the folder. It prints ``gone``
    (the process had ended before), ``ended``, ``killed``, or ``left`` (the process cannot be
    killed).
    """
    tenths = str(max(0, round(grace * 10)))
    return [*_end_program("end"), str(process.group), str(process.started), tenths, invocation.folder_name]


def check_argv(process: RemoteProcess) -> list[str]:
    """The command line of the exec that prints whether a process is ``running`` or ``gone``."""
    return [*_end_program("look"), str(process.group), str(process.started)]


def _code_lines(invocation: Invocation) -> list[bytes]:
    """The lines of the code. In single quotes, a shell takes every byte of a value as it is."""
    has_script = invocation.script is not None
    lines = [b"airflow_nonce=" + _quoted(invocation.nonce), b"airflow_folder="]
    lines.append(program("run_from_stdin.sh").encode())
    if invocation.working_dir is not None:
        lines += [b"airflow_dir=" + _quoted(invocation.working_dir), b"(airflow_enter) || airflow_fail working_dir"]
    if has_script or invocation.files:
        lines += [b"airflow_make_folder", *_write_lines(invocation)]
    if has_script and not invocation.has_folder:
        opened = b'exec 3<"$airflow_folder"/%s' % _quoted(invocation.script_file)
        lines += [opened, b'rm -rf -- "$airflow_folder"']
    # A signal to the group is meant for the program. The shell stays to report the exit code and to
    # remove the folder, and prints no message about the signal. The program inherits no trap, but
    # would inherit a signal that is ignored. SIGTERM is reported: it may have stopped the program.
    lines += [
        b"airflow_say",
        b"airflow_term= && trap 'airflow_term=\" TERM\"' TERM",
        b"trap : INT HUP QUIT USR1 USR2 ALRM PIPE",
        b"exec 4>&2 2>/dev/null",
        b"(",
        b"exec 2>&4 4>&-",
        *_exec_lines(invocation),
        b")",
        b"airflow_code=$?",
    ]
    lines += [b'rm -rf -- "$airflow_folder"'] if invocation.has_folder else []
    return [*lines, b'airflow_report "$airflow_code$airflow_term"', b'exit "$airflow_code"']


def _exec_lines(invocation: Invocation) -> list[bytes]:
    """Enter the working directory, export the environment, and become the program."""
    words = [_quoted(word) for word in invocation.argv]
    if invocation.script is not None:
        in_folder = b'"$airflow_folder"/' + _quoted(invocation.script_file)
        words.append(in_folder if invocation.has_folder else b"/dev/fd/3")
    words += [_quoted(word) for word in invocation.payload.arguments]
    lines = [b"set -- " + b" ".join(words)]  # before the environment, which may contain any name
    lines += [b"airflow_enter"] if invocation.working_dir is not None else []
    lines += [b'export %s="$airflow_folder"' % FILES_VARIABLE.encode()] if invocation.files else []
    lines += [b"export %s=%s" % (n.encode(), _quoted(v)) for n, v in invocation.payload.environment.items()]
    return [*lines, b'exec "$@"' if invocation.keeps_stdin else b'exec "$@" </dev/null']


def _write_lines(invocation: Invocation) -> list[bytes]:
    """Write script and files with the shell's printf; some images have neither tar nor base64."""
    files = {path: file.data for path, file in invocation.files.items()}
    if invocation.script is not None:
        files[invocation.script_file] = invocation.script.data
    folders = {str(PurePosixPath(path).parent) for path in files} - {"."}
    lines = [b'mkdir -p -- "$airflow_folder"/%s || airflow_fail write' % _quoted(folder) for folder in sorted(folders)]
    return lines + [_write_line(path, data) for path, data in files.items()]


def _write_line(path: str, data: bytes) -> bytes:
    """The command that writes a file. An argument cannot hold a NUL, so printf makes it.

    The data is one word. A shell parses a chain of some ten thousand commands recursively, and
    crashes.
    """
    form = b"%s"
    if b"\0" in data:
        form, data = b"%b", data.replace(b"\\", b"\\\\").replace(b"\0", b"\\0000")
    return b'printf %s %s > "$airflow_folder"/%s || airflow_fail write' % (form, _quoted_bytes(data), _quoted(path))


def _check_files(invocation: Invocation) -> None:
    check_files(invocation.files, invocation.script_file)
    scripts = [*invocation.files.values(), *([invocation.script] if invocation.script else [])]
    total = sum(script.size for script in scripts)
    if total > MAX_SENT:
        raise ValueError(
            f"script and files have {total:,} bytes; at most {MAX_SENT:,} are sent into a running pod. "
            "Put large data onto a volume or into an object store"
        )


def _end_program(action: str) -> list[str]:
    return ["sh", "-c", program("end_process.sh"), "airflow-script", action]


def _quoted(text: str) -> bytes:
    return _quoted_bytes(text.encode("utf-8"))


def _quoted_bytes(data: bytes) -> bytes:
    return b"'" + data.replace(b"'", b"'\\''") + b"'"
