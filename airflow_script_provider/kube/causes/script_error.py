"""The error that a script printed: the last line of its traceback, its category, and advice."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from airflow_script_provider.kube.causes import signs
from airflow_script_provider.kube.causes.patterns import compiled_later
from airflow_script_provider.kube.causes.signs import Sign
from airflow_script_provider.kube.labels import SCRIPT_FOLDER
from airflow_script_provider.kube.wording import signal_name
from airflow_script_provider.result import Category

LINES = 400
"""Lines from the end of the output in which a traceback is sought; it may be deep."""
NEAR = 20
"""Lines from the end in which the error itself must stand: what is older was handled."""
_LOOKED_AT = 1000
"""Characters of a line that are looked at."""
_AT_THE_END = 2
"""Lines from the end that tell a cause where no error does: what is older was handled."""
_CODES = {126: Category.NOT_EXECUTABLE, 127: Category.COMMAND_NOT_FOUND}
_KILLED = 137
# Signals that stop a script from outside, or that a crash sends. Programs use the codes of others for
# their own ends, as git does 129.
_STOPPING = frozenset(
    {"SIGINT", "SIGQUIT", "SIGKILL", "SIGTERM", "SIGXCPU", "SIGXFSZ", "SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGSYS"}
)

_FRAME = compiled_later(r'^[\s|]*File ".*", line \d+')
_IN_GROUP = compiled_later(r"^\s*\| ")
_NODE_FRAME = compiled_later(r"^\s+at .+[:)]")
_NAMED = compiled_later(
    r"^(Uncaught |Caused by: )?([A-Za-z_$][\w$]*\.)*(_*[A-Z]\w*)?(Error|Exception|Interrupt|Exit)\b"
)
_RAISED = compiled_later(r"^(\w+\.)*[A-Z]\w*[a-z]\w*: ")
_HEAD = "Traceback (most recent call last):"
# A record of a logger before a traceback: its error was handled.
_LOGGED = compiled_later(
    r"(^|[\s\[|])(WARN|WARNING|ERROR|CRITICAL|EXCEPTION)([\s\]:|,]|$)|\[(warning|error|critical)\s*\]|"
    r"^(warning|error|critical):|^\[?[WEFC] ?\d{4}|\b(level|severity)\W{1,4}(warning|error|critical)\b",
)
_NOT_THE_END = compiled_later(r"^Exception ignored |^future: |exception was never retrieved")
_ENDS = (
    compiled_later(r"^\S+: (-c: )?(line )?\d+: \S.*"),  # a shell: "script.sh: line 3: foo: not found"
    compiled_later(r"^(\S*/)?\w*sh: syntax error\b"),  # BusyBox
    compiled_later(r"^ERROR \d+ \(\w{5}\)"),  # MySQL
    compiled_later(r"^(\S+: )?(ERROR|FATAL|PANIC|error|fatal|E): +\S.*"),  # psql, git, apt
    compiled_later(r"^curl: \(\d+\) .+"),
    compiled_later(r"^\S*python[\d.]*: (No module named|can't open file) .+"),
    compiled_later(r".+ at \S+ line \d+\.$"),  # Perl
    compiled_later(r"^\S+:\d+:(in .+:)? .+ \([A-Z]\w*(::\w+)*\)$"),  # Ruby
    compiled_later(r"^(PHP )?(Fatal|Parse|Compile) error: +\S.*"),
)
# What a program prints below its error: Perl, psql, bash with the line it could not read, R, PHP,
# curl and wget about certificates.
_BELOW = compiled_later(
    r"^\s|^LINE \d+:|^BEGIN failed--|^Execution of \S+ aborted|^\S+: line \d+: `.*'$|"
    r"^Execution halted$|^Calls: |^Stack trace:$|^#\d+ |"
    r"^More details here: https?://curl\.|^curl failed to verify the legitimacy of the server|"
    r"^establish a secure connection to it\.|^how to fix it, please visit the web ?page mentioned above|"
    r"^curl performs SSL certificate verification by default|^If this HTTPS server uses a certificate signed by|"
    r"^If you'd like to turn off curl's verification|^HTTPS-proxy has similar options --proxy|"
    r"^To connect to \S+ insecurely, use "
)
# How Go and Rust end a process that panics: exit codes, the error's line, and one below it.
_PANICS = (
    ((1, 2), compiled_later(r"^(panic|fatal error): "), compiled_later(r"^goroutine \d+ ")),
    ((101, 134), compiled_later(r"^thread '.*' (\(\d+\) )?panicked at "), compiled_later("")),
)
_DETAIL = compiled_later(r"[}{]|- |Require stack:")
_NODE_VERSION = compiled_later(r"^Node\.js v\d")
# Errors whose text is data of the script.
_OF_DATA = compiled_later(r"^(\w+\.)*(KeyError|IndexError|AssertionError|ValueError|\w*ValidationError)\b")
_MISSING_SIGNS = compiled_later(r"no such file|not found|cannot open|can't open|enoent", re.IGNORECASE)
# The home of a user without an entry in the image's passwd is /, as in '//.cache' and '/.local/bin'.
_HOME_IS_ROOT = compiled_later(r"(?:^|[\s'‘\":])//?\.[a-z]", re.IGNORECASE)
_DENIED_SIGNS = compiled_later(r"permission denied|cannot create|read-only file system", re.IGNORECASE)
_MAX_WRITTEN = 20
# Bytes of a message that Kubernetes has cut at its start: of a log, and of a file. A character
# that is cut there makes it a few bytes longer.
_TORN_SIZES = ((2048, 2060), (4096, sys.maxsize))
_TORN_FROM = 512
"""Bytes from which a single line may be cut: all containers of a pod together have 12 KiB."""
_WRAPPERS = compiled_later(r"^(subprocess\.)?CalledProcessError\b")


@dataclass(frozen=True)
class ScriptError:
    """What the output of a failed script says about it.

    ``line`` is the one that tells the cause, ``advice`` what to do; both are empty if unknown.
    ``telling`` are all lines that may tell it, the most telling one first.
    """

    line: str
    category: Category
    advice: str
    telling: Sequence[str]


def of_output(exit_code: int, lines: Sequence[str], last_lines: Sequence[str]) -> ScriptError:
    """What an output says. The error is sought in ``lines``, other signs in ``last_lines``."""
    error = last_error(lines, exit_code)
    return ScriptError(
        _deciding_line(exit_code, error, last_lines),
        category_of(exit_code, error, last_lines),
        advice_for(exit_code, error, last_lines),
        [line for _, line in _telling(exit_code, error, last_lines)],
    )


def last_error(lines: Sequence[str], exit_code: int) -> str:
    """The line with the error that ended the script, empty if its output has none.

    An error with other output after it may have been handled. It counts for exit code 1, with
    which interpreters end after an error that was not, if the output does not end with another. A
    script that was killed or crashed was ended by no error; one that aborts (SIGABRT) was.
    """
    whole = [line.rstrip() for line in lines if line.strip()]
    lines = _without_what_ends_nothing([line[:_LOOKED_AT] for line in whole])
    if lines and _NODE_VERSION.match(lines[-1]):
        lines = lines[:-1]
    if not lines:
        return ""
    if (at := _panic(lines, exit_code)) is not None:
        return _with_text_below(whole, at)
    if signal_name(exit_code) in _STOPPING:
        return ""
    last = _last_message(lines)
    at = _python_error(lines)
    at = _node_error(lines) if at is None else at
    if at is not None and len(lines) - at <= NEAR + _details(lines, at):
        is_last = at + 1 + _details(lines, at) >= len(lines)
        if is_last or (exit_code == 1 and last is None and not _is_logged(lines, at)):
            return whole[at].strip(" |")
    return "" if last is None else _with_text_below(whole, last)


def _panic(lines: Sequence[str], exit_code: int) -> int | None:
    """The index of the line with the panic that ended a program in Go or Rust."""
    for codes, head, below in _PANICS:
        for at in reversed(range(len(lines))) if exit_code in codes else ():
            if head.match(lines[at]) and any(below.match(line) for line in lines[at + 1 : at + 5]):
                return at
    return None


def _with_text_below(lines: Sequence[str], at: int) -> str:
    """The error in a line, with the next line where its text stands there: Rust, R."""
    line = lines[at].strip()
    return f"{line} {lines[at + 1].strip()}" if line.endswith(":") and at + 1 < len(lines) else line


def _is_logged(lines: Sequence[str], at: int) -> bool:
    """Whether a logger printed the traceback of this error, below a record."""
    return _LOGGED.search(_line_above(lines, at)) is not None


def _line_above(lines: Sequence[str], at: int) -> str:
    """The line above the traceback of this error, empty without one."""
    head = next((i for i in reversed(range(at)) if lines[i].strip() == _HEAD), 0)
    return lines[head - 1] if head > 0 else ""


def _last_message(lines: Sequence[str]) -> int | None:
    """The index of the last line, or of one above what belongs to it, if it names an error."""
    last = len(lines) - 1
    while last > 0 and _BELOW.match(lines[last]):
        last -= 1
    is_error = _NAMED.match(lines[last]) or any(end.match(lines[last]) for end in _ENDS)
    return last if is_error else None


def _without_what_ends_nothing(lines: list[str]) -> list[str]:
    """The lines before tracebacks at the end that ended nothing: of a destructor or a task."""
    while True:
        head = next((i for i in reversed(range(len(lines))) if lines[i].strip() == _HEAD), None)
        if head is None or head == 0 or not _NOT_THE_END.search(lines[head - 1]):
            return lines
        first = head - 1
        while first > 0 and _NOT_THE_END.search(lines[first - 1]):
            first -= 1
        lines = lines[:first]


def _deciding_line(exit_code: int, error: str, lines: Sequence[str]) -> str:
    """The line that tells the cause: the error, otherwise the last line that tells one."""
    if error or exit_code in _CODES:
        return error
    telling = _crash_lines(lines) or (() if signal_name(exit_code) else _end_of(lines))
    return next((line.strip() for line in reversed(telling) if _category(signs.OF_OUTPUT, line)), "")


def advice_for(exit_code: int, error: str, lines: Sequence[str]) -> str:
    """What to do, by the line that tells the category; empty if unknown."""
    found = _sign(exit_code, error, lines)
    return found.advice if found else ""


def advice_on_files(lines: Sequence[str], files: Collection[str]) -> str:
    """Advice about the first line that shows what the script did not find or could not write.

    ``lines`` are telling ones. ``files`` are the paths of files beside the script.
    """
    for line in lines:
        named = re.findall(r"[^\s'\"`:,]+", line) if _MISSING_SIGNS.search(line) else ()
        if path := next((word.removeprefix("./") for word in named if word.removeprefix("./") in files), ""):
            return f"{path} is beside the script, not in the working directory: write {SCRIPT_FOLDER}/{path}."
        if _HOME_IS_ROOT.search(line) and _DENIED_SIGNS.search(line):
            return "The user's home is /: set run_as_uid instead of runAsUser, or HOME in env."
    return ""


def termination_message(message: str, printed: Sequence[str]) -> list[str]:
    """What a script wrote as its message, not what Kubernetes took from its log.

    That is the end of the log (``FallbackToLogsOnError``). It begins inside a line if it is long,
    and ends inside one if the pod has many containers.
    """
    size = len(message.encode())
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    known = {line.strip() for line in printed}
    may_be_torn = len(lines) > 1 or size >= _TORN_FROM
    edges = {lines[0], lines[-1]} if lines and may_be_torn else set()
    torn = {edge for edge in edges if any(edge in line for line in known)}
    if all(line in known or line in torn for line in lines):
        return []
    begins_torn = any(least <= size <= most for least, most in _TORN_SIZES)  # perhaps inside a secret
    return lines[int(begins_torn) :][-_MAX_WRITTEN:]


def category_of(exit_code: int, error: str, lines: Sequence[str]) -> Category:
    """Why a script failed: by an exit code that shells give a meaning, by its error, by its end.

    Lines before an error may be of what was handled. Without an error, or with one that only
    says that a program failed, the last line that tells a cause counts.
    """
    if exit_code in _CODES:
        return _CODES[exit_code]
    found = _sign(exit_code, error, lines)
    if found and found.category:
        return found.category
    if exit_code == _KILLED:
        return Category.KILLED
    return Category.SIGNALED if signal_name(exit_code) else Category.ERROR


def _sign(exit_code: int, error: str, lines: Sequence[str]) -> Sign | None:
    """The sign in the most telling line."""
    found = (signs.first(known, line[:_LOOKED_AT].rstrip()) for known, line in _telling(exit_code, error, lines))
    return next((sign for sign in found if sign), None)


def _telling(exit_code: int, error: str, lines: Sequence[str]) -> Iterator[tuple[Sequence[Sign], str]]:
    """The lines that tell why a script ended, the most telling one first, and their signs."""
    for line in reversed(_crash_lines(lines, error)):
        yield signs.OF_A_CRASH, line
    if error and _OF_DATA.match(error):
        yield (), error
    elif error:
        yield signs.OF_AN_ERROR, error
        yield signs.OF_OUTPUT, error
        yield from ((signs.OF_OUTPUT, line) for line in lines[_index(lines, error) + 1 :])
    if _WRAPPERS.match(error) or (not error and not signal_name(exit_code)):
        yield from ((signs.OF_OUTPUT, line) for line in reversed(lines if error else _end_of(lines)))


def _crash_lines(lines: Sequence[str], error: str = "") -> list[str]:
    """What ends a process. Above an error of the script's own, it was handled."""
    at = _index(lines, error) if error and not _WRAPPERS.match(error) else 0
    return [line for line in (lines[at:] or lines) if signs.first(signs.OF_A_CRASH, line[:_LOOKED_AT])]


def _index(lines: Sequence[str], error: str) -> int:
    """Where the error stands, the end of the lines if it stands further above."""
    return next((i for i in reversed(range(len(lines))) if error in lines[i]), len(lines))


def _end_of(lines: Sequence[str]) -> Sequence[str]:
    """The last lines of an output without an error.

    A traceback was handled if a logger printed it, or a line that ends with a colon announces it.
    """
    at = _python_error(lines)
    if at is None or not (_is_logged(lines, at) or _line_above(lines, at).rstrip().endswith(":")):
        return lines[-_AT_THE_END:]
    return lines[at + 1 :][-_AT_THE_END:]


def _category(known: Sequence[Sign], line: str) -> Category | None:
    return signs.category_of(known, line[:_LOOKED_AT].rstrip(), None)


def _python_error(lines: Sequence[str]) -> int | None:
    """The index of the line after the frames of the last traceback, perhaps one of a group.

    Lines of the other stream may stand between, so a line that names an exception comes first.
    """
    frame = next((i for i in reversed(range(len(lines))) if _FRAME.match(lines[i])), None)
    if frame is None:
        return None
    found = _IN_GROUP.match(lines[frame])
    margin = found[0] if found else ""
    after = ((i, lines[i].removeprefix(margin)) for i in range(frame + 1, len(lines)) if lines[i].startswith(margin))
    rests = [(i, rest) for i, rest in after if rest and not rest[0].isspace()][:NEAR]
    named = (i for i, rest in rests if _NAMED.match(rest) or _RAISED.match(rest))
    return next(named, rests[0][0] if rests else None)


def _node_error(lines: Sequence[str]) -> int | None:
    """The index of the line above the last stack, which names the error."""
    frame = next((i for i in reversed(range(len(lines))) if _NODE_FRAME.match(lines[i])), None)
    if frame is None:
        return None
    return next((i for i in reversed(range(frame)) if _NAMED.match(lines[i])), None)


def _details(lines: Sequence[str], at: int) -> int:
    """The number of lines after the error that belong to it: frames, and their object's fields."""
    rest = lines[at + 1 :]
    others = (i for i, line in enumerate(rest) if not line[0].isspace() and not _DETAIL.match(line))
    return next(others, len(rest))
