"""The error that a script printed: the last line of its traceback, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Sequence

LINES = 400
"""Lines from the end of the output in which a traceback is sought; it may be deep."""
NEAR = 20
"""Lines from the end in which the error itself must stand: what is older was handled."""
_LOOKED_AT = 1000
"""Characters of a line that are looked at."""

_FRAME = re.compile(r'^[\s|]*File ".*", line \d+')
_IN_GROUP = re.compile(r"^\s*\| ")
_NODE_FRAME = re.compile(r"^\s+at .+[:)]")
_NAMED = re.compile(r"^(Uncaught |Caused by: )?([A-Za-z_$][\w$]*\.)*([A-Z]\w*)?(Error|Exception|Interrupt|Exit)\b")
_RAISED = re.compile(r"^(\w+\.)*[A-Z]\w*(: |:?$)")
_ENDS = (
    re.compile(r"^\S+: (line )?\d+: \S.*"),  # a shell: "script.sh: line 3: foo: not found"
    re.compile(r"^(\S+: )?(ERROR|FATAL|PANIC|error|fatal|E): +\S.*"),  # psql, git, apt
    re.compile(r"^curl: \(\d+\) .+"),
    re.compile(r"^\S*python[\d.]*: (No module named|can't open file) .+"),
    re.compile(r".+ at \S+ line \d+\.$"),  # Perl
)
_DETAIL = re.compile(r"[}{]|- |Require stack:")
_NODE_VERSION = re.compile(r"^Node\.js v\d")

# Advice about the error itself, and about any of the last lines. The more telling signs come first.
_HINTS_FOR_ERROR = (
    (
        re.compile(r"ModuleNotFoundError: No module named|python[\d.]*: No module named"),
        "Add it to install_dependencies.",
    ),
    (re.compile(r"Cannot find (module|package) '[^./]"), "Use an image that has it, or add it to files."),
    (re.compile(r"^MemoryError\b|heap out of memory"), "Raise container_resources limits memory."),
)
_HINTS_FOR_LINES = (
    (
        re.compile(
            r"setgroups|setegid|seteuid|\b_apt\b|/var/(lib|cache)/(apt|dpkg)|dpkg:|Unable to lock database|"
            r"superuser privileges|rpmdb|apk-tools"
        ),
        "Use install_packages.",
    ),
    (
        re.compile(r"operation not permitted", re.IGNORECASE),
        "The container has no capabilities; add the one it needs in pod_overrides.",
    ),
    (
        re.compile(r"\bEACCES\b|\[Errno 13\]|Permission denied(:? '[^']*')?$"),
        "Its user may not: set run_as_uid, or add the capability DAC_OVERRIDE in pod_overrides.",
    ),
    (re.compile(r"\bEROFS\b|\[Errno 30\]|Read-only file system"), "Write to /tmp, or mount a volume."),
    (re.compile(r"\bENOSPC\b|\[Errno 28\]|No space left on device"), "Free space, or mount a larger volume."),
)


def last_error(lines: Sequence[str], exit_code: int) -> str:
    """The line with the error that ended the script, empty if its output has none.

    An error with other output after it may have been handled. It counts for exit code 1, with
    which interpreters end after an error that was not.
    """
    whole = [line.rstrip() for line in lines if line.strip()]
    lines = [line[:_LOOKED_AT] for line in whole]
    if lines and _NODE_VERSION.match(lines[-1]):
        lines = lines[:-1]
    if not lines:
        return ""
    at = _python_error(lines)
    at = _node_error(lines) if at is None else at
    if at is not None and len(lines) - at <= NEAR + _details(lines, at):
        is_last = at + 1 + _details(lines, at) >= len(lines)
        if is_last or exit_code == 1:
            return whole[at].strip(" |")
    last = len(lines) - 1
    is_error = _NAMED.match(lines[last]) or any(end.match(lines[last]) for end in _ENDS)
    return whole[last].strip() if is_error else ""


def advice_for(error: str, lines: Sequence[str]) -> str:
    """What to do, by the error and then by the last lines; empty without advice."""
    error = error[:_LOOKED_AT]
    found = _first_hint(error, (*_HINTS_FOR_ERROR, *_HINTS_FOR_LINES))
    return found or next(
        (hint for line in reversed(lines) if (hint := _first_hint(line[:_LOOKED_AT], _HINTS_FOR_LINES))), ""
    )


def _first_hint(text: str, hints: Sequence[tuple[re.Pattern[str], str]]) -> str:
    return next((hint for sign, hint in hints if sign.search(text.rstrip())), "")


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
